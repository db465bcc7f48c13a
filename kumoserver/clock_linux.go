package kumoserver

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Every read asks for the time since boot, and a system call costs a
// microsecond or more where the kernel is itself a guest. So it is reckoned from
// the two clocks that Go reads without one: the monotonic clock stands still
// while the machine is suspended, the wall clock does not. As long as both have
// gone on equally since the kernel was last asked, there was no suspension, and
// CLOCK_BOOTTIME has gone on as the monotonic clock did; else the kernel is asked
// again, also after the wall clock was set.
const (
	apart = int64(time.Millisecond)       // what clocks may differ before the kernel is asked
	exact = int64(100 * time.Microsecond) // how exactly a reading tells when it was made
)

// A reading is what the clocks showed at one moment, in nanoseconds: the wall
// clock, the monotonic clock, and CLOCK_BOOTTIME.
type reading struct{ wall, mono, boot int64 }

var (
	started = time.Now()
	last    atomic.Pointer[reading]
)

// since is the time since boot at wall and mono. It is not ok if the machine
// may have been suspended after the reading.
func (r *reading) since(wall, mono int64) (boot int64, ok bool) {
	passed := mono - r.mono
	if d := wall - r.wall - passed; d < -apart || d > apart {
		return 0, false
	}
	return r.boot + passed, true
}

func clocks() (wall, mono int64) {
	t := time.Now()
	return t.UnixNano(), int64(t.Sub(started))
}

// boottime is CLOCK_BOOTTIME in nanoseconds, up to 0.1 ms off and late by up to
// the millisecond of a suspension that is not noticed.
func boottime() int64 {
	wall, mono := clocks()
	if r := last.Load(); r != nil {
		if boot, ok := r.since(wall, mono); ok {
			return boot
		}
	}
	boot, err := askBoottime()
	if err != nil {
		return time.Now().UnixNano()
	}
	// Whoever was held up on the way knows the time since boot, but not that of
	// the other clocks.
	if _, after := clocks(); after-mono < exact {
		last.Store(&reading{wall, mono, boot})
	}
	return boot
}

func askBoottime() (int64, error) {
	var ts unix.Timespec
	// The call never waits, so the scheduler need not be told as by unix.ClockGettime.
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 { // #nosec G103 -- how the system call is made
		return 0, errno
	}
	return ts.Nano(), nil
}
