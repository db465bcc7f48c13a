package proof

import (
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience is how long facts are waited for.
const patience = 20 * time.Second

// process is a key as daemons have it.
type process struct{ store, boot uint64 }

func testLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// collect returns a watcher and where it puts those that ended.
func collect(t *testing.T) (*Watcher[process], chan process) {
	ended := make(chan process, 4)
	w := NewWatcher(testLog(), func(p process) { ended <- p })
	t.Cleanup(w.Close)
	return w, ended
}

func expect(t *testing.T, ended <-chan process, want process) {
	t.Helper()
	select {
	case p := <-ended:
		if p != want {
			t.Fatalf("%v was taken for gone instead of %v", p, want)
		}
	case <-time.After(patience):
		t.Fatal("the end of a process was not noticed")
	}
}

func TestProofOfDeath(t *testing.T) {
	w, ended := collect(t)
	l := listen(t, "127.0.0.1:0")
	me := process{1, 2}
	w.Watch(1, me, "") // nothing to watch
	w.Watch(1, me, l.Addr().String())
	w.Watch(1, me, l.Addr().String()) // the same again is nothing new

	// A connection that is closed while the listener stays proves nothing: it is
	// made again.
	for range 3 {
		accept(t, l).Close()
	}
	c := accept(t, l)
	select {
	case p := <-ended:
		t.Fatalf("%v was taken for gone while its listener was there", p)
	default:
	}
	l.Close()
	c.Close()
	expect(t, ended, me)
}

func TestRefusedDialAloneProvesNothing(t *testing.T) {
	var ended atomic.Int32
	w := NewWatcher(testLog(), func(process) { ended.Add(1) })
	defer w.Close()
	l := listen(t, "127.0.0.1:0")
	addr := l.Addr().String()
	l.Close() // nobody was ever there
	w.Watch(1, process{1, 1}, addr)
	// The listener appears: had the refusal counted, nobody would dial any more.
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skip("the port was taken meanwhile")
	}
	defer l.Close()
	accept(t, l)
	// A successor on the same port is watched in its place.
	w.Watch(1, process{1, 2}, addr)
	next := accept(t, l)
	w.Close()
	next.Close()
	l.Close()
	if ended.Load() > 0 {
		t.Fatal("a process was taken for gone")
	}
}

func TestEvidence(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)} }
	for _, tt := range []struct {
		name string
		was  evidence
		errs []error
		want bool
	}{
		{"refused after a connection that was closed", evidence{closed: true}, []error{syscall.ECONNREFUSED}, true},
		{"refused, and nothing before", evidence{}, []error{syscall.ECONNREFUSED, syscall.ECONNREFUSED}, false},
		{"reset while it was accepted, then refused", evidence{closed: true}, []error{syscall.ECONNRESET, syscall.ECONNREFUSED}, true},
		{"reset alone", evidence{closed: true}, []error{syscall.ECONNRESET, syscall.ECONNRESET}, false},
		{"no room here in between", evidence{closed: true}, []error{syscall.EMFILE, syscall.ECONNREFUSED}, true},
		{"no way there", evidence{closed: true}, []error{syscall.EHOSTUNREACH, syscall.ETIMEDOUT}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen, gone := tt.was, false
			for _, err := range tt.errs {
				if gone {
					t.Fatalf("gone before %v", err)
				}
				_, gone = seen.failed(dial(err))
			}
			if gone != tt.want {
				t.Errorf("gone: %v, want %v", gone, tt.want)
			}
		})
	}
}

func TestForget(t *testing.T) {
	w, ended := collect(t)
	l := listen(t, "127.0.0.1:0")
	w.Watch(1, process{1, 1}, l.Addr().String())
	c := accept(t, l)
	w.Forget(1)
	w.Forget(1)
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("a watcher said something")
	}
	// What was forgotten may be watched again.
	w.Watch(1, process{1, 1}, l.Addr().String())
	again := accept(t, l)
	l.Close()
	again.Close()
	expect(t, ended, process{1, 1})
	w.Close()
	w.Close()
	w.Watch(2, process{2, 1}, "127.0.0.1:1") // nothing any more
	if len(ended) > 0 {
		t.Fatal("the end of one process was told twice")
	}
}
