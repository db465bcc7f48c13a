package daemon_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumoctl/daemon"
)

// TestMain lets the test binary stand for the daemons, so that tests can start
// them as processes and send them signals.
func TestMain(m *testing.M) {
	if role := os.Getenv("DAEMON_TEST_ROLE"); role != "" {
		os.Exit(daemon.Main(role, "kumo-"+role, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// patience bounds what a test waits for: a busy machine takes its time.
const patience = 2 * time.Minute

// newHost is an address of this machine's own on which all ports are free.
func newHost(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs many loopback addresses")
	}
	return fmt.Sprintf("127.%d.%d.1", 1+rand.IntN(253), rand.IntN(256))
}

// process is a daemon as a process, with a supervisor's socket.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}
	err  bytes.Buffer // standard error; read it after done

	mu   sync.Mutex
	told []string // guarded by mu: what came through the socket
	news chan struct{}
}

// startProcess runs a daemon; env is added to the environment.
func startProcess(t *testing.T, role string, args []string, env ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(self, args...), done: make(chan struct{}), news: make(chan struct{}, 1)}
	dir, err := os.MkdirTemp("", "kumo") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Env = append(os.Environ(), append([]string{"DAEMON_TEST_ROLE=" + role, "NOTIFY_SOCKET=" + socket.LocalAddr().String()}, env...)...)
	p.cmd.Stderr = &p.err
	p.cmd.Dir = t.TempDir()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	heard := make(chan struct{})
	go p.hear(socket, heard)
	go func() { p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		socket.Close()
		<-heard
		os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("%s said %s\nand told %q", role, &p.err, p.told)
		}
	})
	return p
}

func (p *process) hear(socket *net.UnixConn, heard chan struct{}) {
	defer close(heard)
	buf := make([]byte, 4096)
	for {
		n, err := socket.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.told = append(p.told, strings.Split(string(buf[:n]), "\n")...)
		p.mu.Unlock()
		select {
		case p.news <- struct{}{}:
		default:
		}
	}
}

// tells waits until the process has told what begins so, after what it had told
// when seen were told, and returns how many were told by then.
func (p *process) tells(what string, seen int) int {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		at := slices.IndexFunc(p.told[seen:], func(s string) bool { return strings.HasPrefix(s, what) })
		p.mu.Unlock()
		if at >= 0 {
			return seen + at + 1
		}
		select {
		case <-p.news:
		case <-p.done:
			select {
			case <-p.news: // its last words
				continue
			default:
			}
			p.t.Fatalf("the daemon ended and never told %s", what)
		case <-deadline:
			p.t.Fatalf("the daemon does not tell %s", what)
		}
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// ends waits until the process has ended, and returns its exit code.
func (p *process) ends() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatal("the daemon does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// eventually waits until f is so.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

// ask sends a memcached client's request and returns the first line of the answer.
func ask(t *testing.T, addr, request string) string {
	t.Helper()
	line, _, _ := strings.Cut(askAll(t, addr, request+"quit\r\n"), "\r\n")
	return line
}

// askAll sends requests, the last of which is quit, and returns all answers.
func askAll(t *testing.T, addr, requests string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(c, requests)
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}
