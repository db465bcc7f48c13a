package store

import (
	"errors"
	"math"
	"os"
	"runtime"
	"syscall"
	_ "unsafe" // for linkname
)

// datasync leaves out times and such: on a preallocated file half the work.
func datasync(f *os.File) error {
	for {
		errno := waitFor(syscall.SYS_FDATASYNC, f.Fd())
		runtime.KeepAlive(f)
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return errno
		}
	}
}

// entersyscallblock and exitsyscall are what the runtime does around a system call
// of which it knows that it will wait. It has agreed to keep both
// (https://go.dev/issue/67401).
//
//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// waitFor makes a system call that waits for a disk, and gives the processor to
// other goroutines before. syscall.Syscall would keep it until Go's monitor takes it
// away, 20 µs later and more, and the monitor would look that often for
// milliseconds afterwards: a fifth of a server's processor time with --sync always.
// In between nothing may grow the stack or be interrupted.
//
//go:nosplit
//go:norace
func waitFor(call, fd uintptr) syscall.Errno {
	entersyscallblock()
	_, _, errno := syscall.RawSyscall(call, fd, 0, 0)
	exitsyscall()
	return errno
}

func preallocate(f *os.File, size int64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return f.Truncate(size)
	}
	return err
}

// writtenUpTo returns where the last bytes end that were ever written to a file
// of a size; where the file system does not know, that is the size.
func writtenUpTo(f *os.File, size int64) int64 {
	const seekData, seekHole = 3, 4
	end := int64(0)
	for end < size {
		data, err := f.Seek(end, seekData)
		if errors.Is(err, syscall.ENXIO) { // no more
			return end
		}
		if err != nil {
			return size
		}
		if end, err = f.Seek(data, seekHole); err != nil {
			return size
		}
	}
	return size
}

// freeBytes is what statfs says.
func freeBytes(dir string) int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return math.MaxInt64
	}
	return int64(st.Bavail) * st.Bsize
}
