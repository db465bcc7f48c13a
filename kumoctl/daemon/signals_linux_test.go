package daemon_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// config writes a daemon's file.
func config(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// SIGHUP takes over what may change, tells of what may not, and leaves all as it
// was when the file is wrong.
func TestReload(t *testing.T) {
	t.Parallel()
	host, dir := newHost(t), t.TempDir()
	m := startProcess(t, "manager", []string{"-l", host, "-s", filepath.Join(dir, "m"), "-a", "-Rs", "0"})
	m.tells("READY=1", 0)
	file, log := filepath.Join(dir, "server.toml"), filepath.Join(dir, "log")
	const first = "memcached = 11211\nmax-connections = 7\nmemory = 64\nscrub-rate = 1000\n"
	config(t, file, strings.Replace(first, "11211", fmt.Sprintf("%q", host+":11211"), 1))
	s := startProcess(t, "server", []string{"-l", host, "-m", host, "-s", filepath.Join(dir, "s"), "-o", log, "--config", file})
	s.tells("READY=1", 0)
	stat := func(what string) string {
		var list []string
		for _, line := range strings.Split(stats(t, host+":11211"), "\r\n") {
			if name, ok := strings.CutPrefix(line, "STAT "+what+" "); ok {
				list = append(list, name)
			}
		}
		return strings.Join(list, "|")
	}
	if got := stat("max_connections"); got != "7" {
		t.Fatalf("at most %s clients", got)
	}
	again := func(text, says string) {
		t.Helper()
		config(t, file, strings.Replace(text, "11211", fmt.Sprintf("%q", host+":11211"), 1))
		before := len(read(t, log))
		s.signal(syscall.SIGHUP)
		eventually(t, "the log says "+says, func() bool { return strings.Contains(read(t, log)[before:], says) })
	}
	again(strings.Replace(first, "7", "9", 1)+"verbose = true\nslowlog-threshold = 2\nslowlog-size = 3\nread-rate = '1M'\n", "read the configuration again")
	if text := read(t, log); !strings.Contains(text, "option=slowlog-size value=3") || !strings.Contains(text, "option=read-rate value=1048576") {
		t.Errorf("the log does not tell of the slow log and the rate of reading")
	}
	if got := stat("max_connections"); got != "9" {
		t.Errorf("at most %s clients after a change", got)
	}
	if text := read(t, log); !strings.Contains(text, "option=max-connections value=9 from=\"file "+file+":2\"") || !strings.Contains(text, "option=verbose value=true") {
		t.Errorf("the log does not tell what changed")
	}
	again("memcached = 11211\nmax-connections = 9\nmemory = 65\n", "a restart is needed before these options change\" options=memory")
	again("memroy = 64\n", "unknown key")
	if got := stat("max_connections"); got != "9" {
		t.Errorf("at most %s clients after a file that is wrong", got)
	}
	again("memcached = 11211\nmemory = 65\n", "option=max-connections value=4096 from=default")
	s.tells("RELOADING=1", 0)
	seen := s.tells("MONOTONIC_USEC=", 0)
	s.tells("READY=1", seen)
}

// stats are what a server's or gateway's memcached port says of itself.
func stats(t *testing.T, addr string) string {
	t.Helper()
	return askAll(t, addr, "stats\r\nstats settings\r\nquit\r\n")
}

// SIGUSR1 opens the files again after they were moved away.
func TestReopen(t *testing.T) {
	t.Parallel()
	host, dir := newHost(t), t.TempDir()
	text, lines := filepath.Join(dir, "text"), filepath.Join(dir, "lines")
	m := startProcess(t, "manager", []string{"-l", host, "-s", "m", "-o", text, "-g", lines})
	m.tells("READY=1", 0)
	for _, f := range []string{text, lines} {
		if err := os.Rename(f, f+".1"); err != nil {
			t.Fatal(err)
		}
	}
	m.signal(syscall.SIGUSR1)
	eventually(t, "both files are there again", func() bool {
		return strings.Contains(read(t, text), "opened the log again") && strings.Contains(read(t, lines), "opened the log again")
	})
	if strings.Contains(read(t, text+".1"), "opened the log again") || !strings.Contains(read(t, text+".1"), "manager is up") {
		t.Errorf("the old file says %s", read(t, text+".1"))
	}
	if err := os.RemoveAll(dir); err != nil { // nothing can be opened now
		t.Fatal(err)
	}
	m.signal(syscall.SIGUSR1)
	m.signal(syscall.SIGTERM)
	if code := m.ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// systemd's watchdog hears of the real loops, and its status of what they do.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	host, dir := newHost(t), t.TempDir()
	const often = "WATCHDOG_USEC=300000"
	m := startProcess(t, "manager", []string{"-l", host, "-s", filepath.Join(dir, "m")}, often)
	g := startProcess(t, "gateway", []string{"-m", host, "-t", host + ":11211"}, often)
	s := startProcess(t, "server", []string{"-l", host, "-m", host, "-s", filepath.Join(dir, "s")}, often)
	s.tells("READY=1", 0)
	s.tells("STATUS=waits for kumoctl attach", 0)
	m.tells("STATUS=leads; 1 of 1 servers up", 0)
	g.tells("STATUS=0 clients; 256 of 256 partitions have no primary", 0)
	for _, p := range []*process{m, s, g} {
		p.tells("WATCHDOG=1", p.tells("WATCHDOG=1", 0))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, line := range g.told {
		if line == "READY=1" {
			t.Error("a gateway is ready before any partition has a primary")
		}
	}
}

// Without a terminal the log is JSON on standard error.
func TestLogWithoutTerminal(t *testing.T) {
	t.Parallel()
	host := newHost(t)
	for _, format := range []string{"auto", "text"} {
		m := startProcess(t, "manager", []string{"-l", host, "-s", "m", "--log-format", format})
		m.tells("READY=1", 0)
		m.signal(syscall.SIGTERM)
		if code := m.ends(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		line, _, _ := strings.Cut(m.err.String(), "\n")
		if json.Valid([]byte(line)) != (format == "auto") {
			t.Errorf("--log-format %s: %s", format, line)
		}
	}
}

// The end of its terminal ends a daemon, while a SIGHUP that somebody sends does not.
func TestTerminal(t *testing.T) {
	t.Parallel()
	host := newHost(t)
	master, slave := openTerminal(t)
	defer master.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	p := &process{t: t, cmd: exec.Command(self, "-l", host, "-s", "m", "-o", log), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "DAEMON_TEST_ROLE=manager")
	p.cmd.Stdin, p.cmd.Dir = slave, t.TempDir()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	// A signal that is caught here has its default there: under nohup the daemon would
	// inherit that SIGHUP is ignored, and rightly outlive its terminal.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	go func() { p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() { p.cmd.Process.Kill(); <-p.done })
	eventually(t, "it is up", func() bool { return strings.Contains(read(t, log), "manager is up") })
	p.signal(syscall.SIGHUP)
	eventually(t, "it reads its configuration", func() bool { return strings.Contains(read(t, log), "read the configuration again") })
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("it logged:\n%s", read(t, log))
		}
	})
	master.Close()
	if code := p.ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// openTerminal makes a pseudo-terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	var number, unlock int32
	for request, arg := range map[uintptr]*int32{unix.TIOCGPTN: &number, unix.TIOCSPTLCK: &unlock} {
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(arg))); e != 0 {
			t.Fatal(e)
		}
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	return master, slave
}

// A daemon whose limit nobody can stay below warns, and serves all the same.
func TestTinyLimit(t *testing.T) {
	p := startProcess(t, "manager", []string{"-l", newHost(t), "-s", t.TempDir()}, "GOMEMLIMIT=1")
	p.tells("READY=1", 0)
	p.signal(syscall.SIGTERM)
	<-p.done
	for _, want := range []string{"the memory is bounded by less than a daemon needs", `"bytes":1`} {
		if !strings.Contains(p.err.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
}
