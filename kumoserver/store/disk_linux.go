package store

import (
	"errors"
	"math"
	"os"
	"syscall"
)

// datasync leaves out times and such: on a preallocated file half the work.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
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
