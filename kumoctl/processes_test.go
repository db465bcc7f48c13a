package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary stand for kumoctl, so that tests can start and
// kill it as a process; it in turn starts itself for each daemon.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"up", "daemon", "top"}, os.Args[1]) {
		main()
	}
	testscript.Main(m, map[string]func(){"kumoctl": main}) // in scripts
}

// upProcess is "kumoctl up --processes" as a process.
type upProcess struct {
	*exec.Cmd
	pids map[string]int
	mu   sync.Mutex
	text strings.Builder // guarded by mu
	end  chan struct{}
}

var pidOf = regexp.MustCompile(`^  (\S+) .* pid (\d+) `)

// startProcesses runs it and returns once it is up.
func startProcesses(t *testing.T, args ...string) *upProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	u := &upProcess{Cmd: exec.Command(self, append([]string{"up", "--processes"}, args...)...), pids: map[string]int{}, end: make(chan struct{})}
	out, err := u.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		defer close(u.end)
		defer close(ready)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if m := pidOf.FindStringSubmatch(lines.Text()); m != nil {
				u.pids[m[1]], _ = strconv.Atoi(m[2])
			}
			if strings.Contains(lines.Text(), "nats -s") {
				ready <- true
			}
			u.mu.Lock()
			u.text.WriteString(lines.Text() + "\n")
			u.mu.Unlock()
		}
		io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() { u.stop() })
	if !<-ready {
		t.Fatalf("not up: %s", u.said())
	}
	return u
}

func (u *upProcess) said() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.text.String()
}

// stop presses Ctrl-C and returns the exit code.
func (u *upProcess) stop() int {
	if u.ProcessState == nil {
		u.Process.Signal(syscall.SIGINT)
		<-u.end
		u.Wait()
	}
	return u.ProcessState.ExitCode()
}

// A daemon that was killed is told and does not make Ctrl-C a failure; when
// kumoctl itself is killed its daemons end too, and nothing is lost.
func TestUpWithProcesses(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs many loopback addresses")
	}
	host := fmt.Sprintf("127.%d.%d.1", 1+rand.IntN(253), rand.IntN(256))
	gateway := host + ":11211"
	args := []string{"--dir", t.TempDir(), "--host", host, "--partitions", "16", "--restart-after", "0"}
	u := startProcesses(t, args...)
	if len(u.pids) != 5 {
		t.Fatalf("pids %v of %s", u.pids, u.said())
	}
	if got := say(t, gateway, "set k 0 0 5", "hello"); got != "STORED\r\n" {
		t.Errorf("the gateway says %q", got)
	}
	if err := syscall.Kill(u.pids["server2"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of server2 is told", func() bool { return strings.Contains(u.said(), "server2 ended: signal: killed") })
	if got := say(t, gateway, "get k"); got != "VALUE k 0 5\r\nhello\r\nEND\r\n" {
		t.Errorf("after a kill the gateway says %q", got)
	}
	if code := u.stop(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C: %s", code, u.said())
	}

	u = startProcesses(t, args...)
	if err := u.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	u.Wait()
	eventually(t, "the daemons of a kumoctl that was killed are gone", func() bool {
		for _, addr := range []string{gateway, host + ":19700", host + ":19801", host + ":19802", host + ":19803"} {
			if c, err := net.Dial("tcp", addr); err == nil {
				c.Close()
				return false
			}
		}
		return true
	})
	u = startProcesses(t, args...)
	if got := say(t, gateway, "get k"); got != "VALUE k 0 5\r\nhello\r\nEND\r\n" {
		t.Errorf("after a restart the gateway says %q", got)
	}
	if code := u.stop(); code != 0 {
		t.Errorf("exit code %d: %s%s", code, u.said(), endOfLogs(t, args[1]))
	}
}

// endOfLogs is what the daemons said last.
func endOfLogs(t *testing.T, dir string) (text string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text += "\n" + path + ":\n" + string(b[max(0, len(b)-1000):])
	}
	return text
}
