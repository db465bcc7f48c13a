//go:build !linux

package kumogateway

import (
	"errors"
	"syscall"
)

// intake reads a socket. Whether there is more is for others to find out.
type intake struct{}

func (intake) begin(uintptr) {}

// give writes what a socket takes at once.
func give(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Write(fd, b)
		if !errors.Is(err, syscall.EINTR) {
			return max(n, 0), err
		}
	}
}

func (intake) take(fd int, b []byte) (n int, more bool, err error) {
	for {
		n, err = syscall.Read(fd, b)
		if !errors.Is(err, syscall.EINTR) {
			return max(n, 0), true, err
		}
	}
}
