package kumoserver

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// boottime is CLOCK_BOOTTIME in nanoseconds: unlike Go's monotonic clock it goes
// on while the machine is suspended. Every read asks for it, and the call never
// waits, so the scheduler need not be told of it as by unix.ClockGettime.
func boottime() int64 {
	var ts unix.Timespec
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 { // #nosec G103 -- how the system call is made
		return time.Now().UnixNano()
	}
	return ts.Nano()
}
