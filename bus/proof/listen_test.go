//go:build unix

package proof

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asChild makes the test binary a process that listens and does nothing else.
const asChild = "PROOF_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		child()
	}
	goleak.VerifyTestMain(m)
}

// child prints its address, and a line for each watcher that has come. It ends
// when it is killed, or with its parent.
func child() {
	l, err := Listen("127.0.0.1", testLog())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	go func() {
		told := 0
		for range time.Tick(5 * time.Millisecond) {
			for ; told < l.watched(); told++ {
				fmt.Println("watched")
			}
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func (p *Listener) watched() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// start runs a child and returns it with its address and its further lines.
func start(t *testing.T) (cmd *exec.Cmd, addr string, out *bufio.Reader) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asChild+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		stdin.Close()
		_ = cmd.Wait()
	})
	out = bufio.NewReader(stdout)
	return cmd, line(t, out), out
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

func TestKilledProcessIsProvedGone(t *testing.T) {
	w, ended := collect(t)
	cmd, addr, out := start(t)
	w.Watch(7, process{7, 1}, addr)
	line(t, out) // watched
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	expect(t, ended, process{7, 1})
}

// A process that is killed closes its listener and its connections one by one.
// Every watcher sees another order, and all must be sure.
func TestKilledProcessIsProvedGoneToAll(t *testing.T) {
	const kills, watchers = 20, 32
	for range kills {
		cmd, addr, out := start(t)
		var all sync.WaitGroup
		for range watchers {
			all.Add(1)
			w := NewWatcher(testLog(), func(process) { all.Done() })
			t.Cleanup(w.Close)
			w.Watch(7, process{7, 1}, addr)
		}
		for range watchers {
			line(t, out) // watched: who comes after the kill has no proof
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		sure := make(chan struct{})
		go func() { all.Wait(); close(sure) }()
		select {
		case <-sure:
		case <-time.After(patience):
			t.Fatal("not every watcher noticed the end of the process")
		}
	}
}

func TestStoppedProcessIsNotProvedGone(t *testing.T) {
	w, ended := collect(t)
	cmd, addr, out := start(t)
	w.Watch(7, process{7, 1}, addr)
	line(t, out) // watched
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// It is stopped once the kernel says so.
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &ws, syscall.WUNTRACED, nil); err != nil || !ws.Stopped() {
		t.Fatal(ws, err)
	}
	// Who comes only now is in no better place: the kernel takes the connection.
	w.Watch(8, process{8, 1}, addr)
	select {
	case p := <-ended:
		t.Fatalf("%v was taken for gone while it was only stopped", p)
	case <-time.After(3 * pauseBefore):
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for p := (process{}); p.store != 7; { // the other may have had no time to come
		select {
		case p = <-ended:
		case <-time.After(patience):
			t.Fatal("the end of a stopped process was not noticed")
		}
	}
}

func TestCloseIsAnEnd(t *testing.T) {
	l, err := Listen("127.0.0.1", testLog())
	if err != nil {
		t.Fatal(err)
	}
	w, ended := collect(t)
	w.Watch(1, process{1, 1}, l.Addr())
	until := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for l.watched() == 0 {
		select {
		case <-tick.C:
		case <-until:
			t.Fatal("no watcher came")
		}
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, ended, process{1, 1})
}

func TestNoAddressInParticular(t *testing.T) {
	for _, host := range []string{"", "0.0.0.0"} {
		l, err := Listen(host, testLog())
		if err != nil {
			t.Fatal(err)
		}
		if addr := l.Addr(); addr != "" {
			t.Errorf("others are told to dial %s", addr)
		}
		l.Close()
	}
	if l, err := Listen("no.such.host.invalid", testLog()); err == nil {
		l.Close()
		t.Error("listens on a host that is not there")
	}
}
