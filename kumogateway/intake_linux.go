package kumogateway

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// intake reads a socket and tells whether there is more, which the kernel says
// with what it gives (TCP_INQ), so that nobody has to try.
type intake struct {
	msg  unix.Msghdr
	iov  unix.Iovec
	oob  [24]byte // the header of a control message and an int, as aligned
	hint bool     // the kernel says it
}

// begin asks for it. Sockets that are none of TCP do not have it.
func (t *intake) begin(fd uintptr) {
	t.hint = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_INQ, 1) == nil
}

// take reads what fits into b. If it returns without more, all was taken that was
// there, be it an end of input. The call never waits, so the scheduler need not be
// told of it.
func (t *intake) take(fd int, b []byte) (n int, more bool, err error) {
	t.iov.Base = &b[0]
	t.iov.SetLen(len(b))
	t.msg.Iov, t.msg.Iovlen = &t.iov, 1
	for {
		if t.hint {
			t.msg.Control = &t.oob[0]
			t.msg.SetControllen(len(t.oob))
		}
		got, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&t.msg)), unix.MSG_DONTWAIT) // #nosec G103 -- how the system call is made
		if errno == syscall.EINTR {
			continue
		}
		t.iov.Base = nil // or an idle connection would keep the buffer
		if errno != 0 {
			return 0, true, errno
		}
		return int(got), !t.drained(), nil
	}
}

// give writes what a socket takes at once, of b that is not empty. It does not wait
// either.
func give(fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0) // #nosec G103 -- how the system call is made
		switch {
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return 0, errno
		}
		return int(n), nil
	}
}

// drained tells whether the kernel said that nothing is left. It counts an end of
// input, too.
func (t *intake) drained() bool {
	const size = unix.SizeofCmsghdr
	if !t.hint || t.msg.Controllen < size+4 {
		return false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&t.oob[0])) // #nosec G103 -- which the kernel wrote
	return h.Level == unix.IPPROTO_TCP && h.Type == unix.TCP_CM_INQ && binary.NativeEndian.Uint32(t.oob[size:]) == 0
}
