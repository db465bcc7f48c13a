package cli

import "golang.org/x/sys/unix"

// dup makes one file descriptor the same as another.
func dup(from, to int) error { return unix.Dup3(from, to, 0) }
