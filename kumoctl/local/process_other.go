//go:build !linux

package local

import "syscall"

// attributes are those of a daemon's process. If we end without having stopped
// it, it goes on here.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
