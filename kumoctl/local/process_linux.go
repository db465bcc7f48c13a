package local

import "syscall"

// attributes are those of a daemon's process. It is told to stop if we end
// without having stopped it: it would keep its ports and its folder, and nobody
// would know of it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
