//go:build !linux

package kumoserver

import "time"

var started = time.Now()

// boottime is nanoseconds of the monotonic clock, where there is no
// CLOCK_BOOTTIME.
func boottime() int64 { return int64(time.Since(started)) }
