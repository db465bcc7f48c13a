package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// With -d a daemon goes on in a session of its own once it is open, and the command
// ends; what keeps it from opening is told, and the exit code with it.
func TestLeavesTheTerminal(t *testing.T) {
	t.Parallel()
	host, dir := newHost(t), t.TempDir()
	pidFile, log := filepath.Join(dir, "pid"), filepath.Join(dir, "log")
	args := []string{"-l", host, "-s", filepath.Join(dir, "m"), "-o", log, "-d", pidFile}
	first := startProcess(t, "manager", args)
	if code := first.ends(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, pidFile)))
	if err != nil || pid == first.cmd.Process.Pid {
		t.Fatalf("the file says %q", read(t, pidFile))
	}
	ended := func() bool { return syscall.Kill(pid, 0) != nil || state(t, pid) == "Z" }
	t.Cleanup(func() {
		if !ended() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if session, err := unix.Getsid(pid); err != nil || session != pid {
		t.Errorf("its session is %d (%v), and not its own", session, err)
	}
	for fd := range 3 {
		if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); err != nil || to != os.DevNull {
			t.Errorf("its file %d is %s (%v)", fd, to, err)
		}
	}
	eventually(t, "the log goes on", func() bool { return strings.Contains(read(t, log), "manager is up") })

	second := startProcess(t, "manager", []string{"-l", host, "-s", filepath.Join(dir, "m2"), "-d", pidFile + "2"})
	if code := second.ends(); code != 1 || !strings.Contains(second.err.String(), "address already in use") {
		t.Errorf("with the port taken: exit code %d, %s", code, &second.err)
	}
	third := startProcess(t, "manager", []string{"-l", host, "-d", pidFile, "--pid-file", pidFile})
	if code := third.ends(); code != 2 {
		t.Errorf("with both files: exit code %d", code)
	}

	// A start with the file of one that runs, be it of another daemon, leaves it alone.
	for _, a := range [][]string{args, {"-l", newHost(t), "-s", filepath.Join(dir, "m3"), "--pid-file", pidFile}} {
		again := startProcess(t, "manager", a)
		if code := again.ends(); code != 1 || !strings.Contains(again.err.String(), fmt.Sprintf("is that of process %d, which runs", pid)) {
			t.Errorf("%v: exit code %d, %s", a, code, &again.err)
		}
	}
	if got := strings.TrimSpace(read(t, pidFile)); got != strconv.Itoa(pid) {
		t.Errorf("the file says %q after another start, want %d", got, pid)
	}

	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has ended, and its file is gone", func() bool { return ended() && read(t, pidFile) == "" })

	// What one that was killed has left is written over, at once.
	says := func(p *process) func() bool {
		return func() bool { return strings.TrimSpace(read(t, pidFile)) == strconv.Itoa(p.cmd.Process.Pid) }
	}
	args = []string{"-l", host, "-s", filepath.Join(dir, "m"), "--pid-file", pidFile}
	killed := startProcess(t, "manager", args)
	eventually(t, "the file is there", says(killed))
	killed.cmd.Process.Kill()
	eventually(t, "the file is written over", says(startProcess(t, "manager", args)))
}

// state is a process's, a letter as ps has it: nobody here waits for one that left.
func state(t *testing.T, pid int) string {
	text := read(t, fmt.Sprintf("/proc/%d/stat", pid))
	if i := strings.LastIndex(text, ") "); i >= 0 {
		return text[i+2 : i+3]
	}
	return ""
}
