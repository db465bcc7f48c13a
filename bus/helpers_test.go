package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/etolabo/kumofs/bus"
)

const clusterID = 0x0123456789abcdef

func id() uint64 { return clusterID }

// noLeaks fails the test if it leaves goroutines behind.
func noLeaks(t testing.TB) {
	t.Helper()
	already := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, already) })
}

// testLog writes to the test's log until the test ends.
func testLog(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.stop)
	return slog.New(slog.NewTextHandler(w, nil))
}

type testWriter struct {
	mu sync.Mutex
	t  testing.TB
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Logf("%s", p)
	}
	return len(p), nil
}

func (w *testWriter) stop() {
	w.mu.Lock()
	w.t = nil
	w.mu.Unlock()
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func options(t testing.TB, name string) bus.Options {
	return bus.Options{
		Name: name, Mesh: "test",
		Listen: "127.0.0.1:0", RouteListen: "127.0.0.1:0",
		Log: testLog(t),
	}
}

func open(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	b, err := bus.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	return b
}

func closeBus(t testing.TB, b *bus.Bus) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func dial(t testing.TB, urls ...string) *bus.Bus {
	t.Helper()
	b, err := bus.Dial(bus.DialOptions{Name: "client", URLs: urls, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	return b
}

// mesh opens n members; all but the first know of the first only.
func mesh(t testing.TB, n int) []*bus.Bus {
	t.Helper()
	var members []*bus.Bus
	for i := range n {
		o := options(t, fmt.Sprintf("member-%d", i))
		if i > 0 {
			o.Routes = []string{members[0].RouteAddr()}
		}
		members = append(members, open(t, o))
	}
	for _, m := range members {
		eventually(t, "all members are routed", func() bool { return len(m.Peers()) == n-1 })
	}
	return members
}

// timeout is a context for one request.
func timeout(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// freePort draws an address that is free now, below those that the system gives
// to whoever asks for any.
func freePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 12000+rand.IntN(7000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free ports")
	return ""
}

// result is a Pending that remembers.
type result struct {
	done chan struct{}
	body []byte
	err  error
}

func newResult() *result { return &result{done: make(chan struct{})} }

func (r *result) Done(body []byte, err error, _ *bus.Batch) {
	r.body, r.err = body, err
	close(r.done) // panics when called twice
}

func (r *result) wait(t testing.TB) ([]byte, error) {
	t.Helper()
	select {
	case <-r.done:
		return r.body, r.err
	case <-time.After(10 * time.Second):
		t.Fatal("call never ended")
		return nil, nil
	}
}

// echo serves frames on a subject, answering each item with its own body.
func echo(t testing.TB, b *bus.Bus, subject string) {
	t.Helper()
	out := b.NewOutbox(id)
	_, err := b.Handle(subject, id, func(f *bus.Frame) {
		for {
			n, body, ok := f.Next()
			if !ok {
				break
			}
			if n != 0 {
				out.End(append(out.Begin(f.Reply, f.Reply, "", n), body...))
			}
		}
		if err := out.Flush(); err != nil {
			t.Log("echo:", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	// Or a call from another connection may be there first.
	if err := b.Flush(timeout(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
}
