//go:build !linux

package chaos

import "os/exec"

// Isolate is for Linux.
func Isolate(*exec.Cmd) {}

// MayIsolate returns an error: network namespaces are Linux's.
func MayIsolate() error { return ErrNoNamespaces }

// Inside is for Linux.
func Inside() error { return ErrNoNamespaces }
