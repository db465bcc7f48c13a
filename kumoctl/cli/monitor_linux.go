package cli

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// monitorEnv tells a process that KeepMonitor started it anew: the number of its
// standard error if that was put aside, a colon, and what GODEBUG was.
const monitorEnv = "KUMOFS_MONITOR"

// tracePeriod is the longest there is, in milliseconds: 24 days.
const tracePeriod = 1<<31 - 1

// traced is at the end of the GODEBUG of a process that KeepMonitor started anew.
var traced = "schedtrace=" + strconv.Itoa(tracePeriod)

// KeepMonitor starts this program anew in the same process, with a monitor of
// Go's scheduler that never sleeps for long. A daemon has nothing to do and
// becomes busy again many thousand times a second. Each time, Go's monitor goes to
// sleep on a futex, and the next system call wakes it: two switches of threads for
// a frame, which can be a third of a server's processor time. Only
// GODEBUG=schedtrace keeps it from that, which the runtime reads when a process
// begins. The price is a hundred short wake-ups a second at rest, and that one which
// panics prints a line for each of its goroutines before it says why.
//
// A GODEBUG that names schedtrace is left alone, and where the program cannot be
// started anew it goes on as it is. To be called once, first thing.
func KeepMonitor() {
	if was, ok := os.LookupEnv(monitorEnv); ok {
		monitorKept(was)
		return
	}
	was := os.Getenv("GODEBUG")
	self, err := os.Executable()
	if err != nil || strings.Contains(was, "schedtrace=") {
		return
	}
	// A trace is due whenever the machine has been up for another period: at once
	// on one that has been up for longer. That goes where nobody sees it.
	aside, mark := -1, ":"+was
	if upFor() >= tracePeriod {
		if aside = putAside(2); aside < 0 {
			return
		}
		mark = strconv.Itoa(aside) + mark
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GODEBUG=") })
	env = append(env, "GODEBUG="+strings.TrimPrefix(was+","+traced, ","), monitorEnv+"="+mark)
	// Where that fails, it has taken back that Go had raised the limit of open files.
	var files syscall.Rlimit
	known := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil
	if syscall.Exec(self, os.Args, env) == nil { // #nosec G204 -- this program, again
		return
	}
	if aside >= 0 {
		takeBack(aside, 2)
	}
	if known {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files) // as it was a moment ago
	}
}

// monitorKept makes the environment what it was before, for the processes that this
// one starts, and standard error too.
func monitorKept(mark string) {
	os.Unsetenv(monitorEnv)
	if !strings.HasSuffix(os.Getenv("GODEBUG"), traced) {
		return // somebody else has set it
	}
	aside, debug, _ := strings.Cut(mark, ":")
	if debug == "" {
		os.Unsetenv("GODEBUG")
	} else {
		os.Setenv("GODEBUG", debug)
	}
	if fd, err := strconv.Atoi(aside); err == nil && fd > 2 {
		takeBack(fd, 2)
	}
}

// upFor is for how many milliseconds the monotonic clock of the runtime has run.
func upFor() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return ts.Nano() / 1e6
}

// putAside has a file descriptor discard what is written, and returns the number
// under which the file goes on, in programs that are started too; or -1.
func putAside(fd int) int {
	null, err := unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	defer unix.Close(null)
	aside, err := unix.Dup(fd)
	if err != nil {
		return -1
	}
	if dup(null, fd) != nil {
		unix.Close(aside)
		return -1
	}
	return aside
}

func takeBack(aside, fd int) {
	if dup(aside, fd) == nil {
		unix.Close(aside)
	}
}
