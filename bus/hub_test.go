package bus_test

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
)

// join dials with options of its own.
func join(t testing.TB, o bus.DialOptions) *bus.Bus {
	t.Helper()
	b, err := bus.Dial(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// Calls between a client and a member of one hub do not touch NATS; those of a
// client without it go on by NATS, into the same handler, one at a time.
func TestHub(t *testing.T) {
	noLeaks(t)
	hub := bus.NewHub()
	o := options(t, "member")
	o.Hub = hub
	m := open(t, o)
	var seen, inside atomic.Int64
	if _, err := m.Subscribe("part.*.read", func(*bus.Msg) { seen.Add(1) }); err != nil {
		t.Fatal(err)
	}
	out := m.NewOutbox(id)
	if _, err := m.Handle("part.*.read", id, func(f *bus.Frame) {
		if inside.Add(1) != 1 {
			t.Error("two frames in one handler")
		}
		for n, body, ok := f.Next(); ok; n, body, ok = f.Next() {
			out.End(append(out.Begin(f.Reply, f.Reply, "", n), body...))
		}
		if err := out.Flush(); err != nil {
			t.Error(err)
		}
		inside.Add(-1)
	}); err != nil {
		t.Fatal(err)
	}
	local := join(t, bus.DialOptions{Name: "local", URLs: []string{m.ClientAddr()}, Hub: hub})
	remote := join(t, bus.DialOptions{Name: "remote", URLs: []string{m.ClientAddr()}})
	calls := func(b *bus.Bus) {
		l := caller(t, b, bus.CallerOptions{}).Lane("member", m.ClientAddr())
		ready(t, l, "part.7.read")
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 200 {
					r, want := newResult(), body(uint64(g)<<32|uint64(i))
					l.Call("part.7.read", soon(), want, r)
					if got, err := r.wait(t); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%x, want %x: %v", got, want, err)
					}
				}
			})
		}
		wg.Wait()
	}
	calls(local)
	if n := seen.Load(); n != 0 {
		t.Fatalf("%d frames went by NATS", n)
	}
	var wg sync.WaitGroup
	wg.Go(func() { calls(remote) })
	l := caller(t, local, bus.CallerOptions{ReplyPrefix: "reply.again"}).Lane("member", m.ClientAddr())
	for i := range 500 {
		r, want := newResult(), body(uint64(i))
		l.Call("part.8.read", soon(), want, r)
		if got, err := r.wait(t); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%x, want %x: %v", got, want, err)
		}
	}
	wg.Wait()
	eventually(t, "frames of the other client went by NATS", func() bool { return seen.Load() > 0 })
}

// A member that is gone is not handed anything, and one that comes is.
func TestHubMembersComeAndGo(t *testing.T) {
	noLeaks(t)
	hub := bus.NewHub()
	first := options(t, "first")
	first.Hub = hub
	a := open(t, first)
	client := join(t, bus.DialOptions{Name: "client", URLs: []string{a.ClientAddr()}, Hub: hub})
	c := caller(t, client, bus.CallerOptions{})
	o := options(t, "second")
	o.Hub, o.Routes = hub, []string{a.RouteAddr()}
	for range 3 {
		b, err := bus.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		echo(t, b, "echo.*")
		l := c.Lane("second", b.ClientAddr())
		ready(t, l, "echo.1")
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		r := newResult()
		l.Call("echo.1", time.Now().Add(50*time.Millisecond), body(1), r)
		if _, err := r.wait(t); err == nil {
			t.Fatal("a member that is closed answers")
		}
		c.Forget("second")
	}
}
