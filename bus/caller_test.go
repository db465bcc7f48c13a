package bus_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
)

func caller(t testing.TB, b *bus.Bus, o bus.CallerOptions) *bus.Caller {
	t.Helper()
	if o.ReplyPrefix == "" {
		o.ReplyPrefix = "reply." + b.Name()
	}
	o.ClusterID = id
	c, err := b.NewCaller(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// body is a msgpack uint64.
func body(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{0xcf}, n) }

func soon() time.Time { return time.Now().Add(5 * time.Second) }

// ready waits until a call over a lane is answered: interest spreads over the
// mesh in its own time.
func ready(t testing.TB, l *bus.Lane, subject string) {
	t.Helper()
	eventually(t, "the lane answers", func() bool {
		r := newResult()
		l.Call(subject, time.Now().Add(50*time.Millisecond), body(0), r)
		_, err := r.wait(t)
		return err == nil
	})
}

func TestCallsAcrossTheMesh(t *testing.T) {
	noLeaks(t)
	members := mesh(t, 2)
	echo(t, members[1], "echo.*")
	for _, tt := range []struct{ name, addr string }{
		{"own connection", ""},
		{"direct connection", members[1].ClientAddr()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := caller(t, members[0], bus.CallerOptions{ReplyPrefix: "reply." + tt.name[:3]})
			l := c.Lane("one", tt.addr)
			if c.Lane("one", tt.addr) != l {
				t.Error("two lanes of one name")
			}
			ready(t, l, "echo.0")
			var wg sync.WaitGroup
			for g := range 32 {
				wg.Go(func() {
					for i := range 200 {
						r := newResult()
						want := body(uint64(g)<<32 | uint64(i))
						l.Call("echo.1", soon(), want, r)
						got, err := r.wait(t)
						if err != nil || string(got) != string(want) {
							t.Errorf("got %x, %v", got, err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestClientCalls(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	echo(t, b, "echo")
	g := dial(t, b.ClientAddr())
	l := caller(t, g, bus.CallerOptions{}).Lane("a", b.ClientAddr())
	r := newResult()
	l.Call("echo", soon(), body(1), r)
	if _, err := r.wait(t); err != nil {
		t.Fatal(err)
	}
}

func TestCallTimesOut(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	l := caller(t, b, bus.CallerOptions{}).Lane("x", "")
	start := time.Now()
	late, early := newResult(), newResult()
	l.Call("nobody", start.Add(80*time.Millisecond), body(1), late)
	l.Call("nobody", start.Add(20*time.Millisecond), body(1), early)
	if _, err := early.wait(t); !errors.Is(err, bus.ErrTimeout) {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 20*time.Millisecond {
		t.Errorf("early ended after %v", d)
	}
	if _, err := late.wait(t); !errors.Is(err, bus.ErrTimeout) {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 80*time.Millisecond {
		t.Errorf("late ended after %v", d)
	}
	past := newResult()
	l.Call("nobody", time.Time{}, body(1), past)
	if _, err := past.wait(t); !errors.Is(err, bus.ErrTimeout) {
		t.Fatal(err)
	}
}

// heldEcho keeps frames until it is told to answer.
type heldEcho struct {
	mu     sync.Mutex
	frames [][]heldCall
}

type heldCall struct {
	id    uint64
	reply string
	body  []byte
}

func (h *heldEcho) take(f *bus.Frame) {
	var calls []heldCall
	for n, p, ok := f.Next(); ok; n, p, ok = f.Next() {
		calls = append(calls, heldCall{n, f.Reply, p})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frames = append(h.frames, calls)
}

func (h *heldEcho) lens() (n []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, calls := range h.frames {
		n = append(n, len(calls))
	}
	return n
}

func (h *heldEcho) answerAll(t *testing.T, b *bus.Bus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := b.NewOutbox(id)
	for _, calls := range h.frames {
		for _, c := range calls {
			out.Add(c.reply, c.reply, "", c.id, func(b []byte) []byte { return append(b, c.body...) })
		}
	}
	h.frames = nil
	if err := out.Flush(); err != nil {
		t.Error(err)
	}
}

// Calls are gathered up to a bound that every member takes; a larger one travels alone.
func TestFramesHaveABound(t *testing.T) {
	noLeaks(t)
	members := mesh(t, 2)
	h := &heldEcho{}
	if _, err := members[1].Handle("hold", id, h.take); err != nil {
		t.Fatal(err)
	}
	echo(t, members[1], "echo")
	l := caller(t, members[0], bus.CallerOptions{MaxInFlight: 1}).Lane("x", members[1].ClientAddr())
	ready(t, l, "echo")
	large := func(n int) []byte {
		return append([]byte{0xc6, 0, byte(n >> 16), byte(n >> 8), byte(n)}, make([]byte, n)...)
	}
	var all []*result
	for _, n := range []int{10, 300 << 10, 300 << 10, 300 << 10, 300 << 10, 3 << 20, 10, 300 << 10} {
		r := newResult()
		l.Call("hold", soon(), large(n), r)
		all = append(all, r)
	}
	calls := func() (n int) {
		for _, frame := range h.lens() {
			n += frame
		}
		return n
	}
	eventually(t, "all calls arrive", func() bool { return calls() == len(all) })
	h.mu.Lock()
	for _, frame := range h.frames {
		size := 0
		for _, c := range frame {
			size += len(c.body)
		}
		if len(frame) > 1 && size > 1100<<10 {
			t.Errorf("%d calls of %d bytes in a frame", len(frame), size)
		}
	}
	h.mu.Unlock()
	h.answerAll(t, members[1])
	for i, r := range all {
		if _, err := r.wait(t); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestCallsCoalesce(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	h := &heldEcho{}
	if _, err := b.Handle("hold", id, h.take); err != nil {
		t.Fatal(err)
	}
	l := caller(t, b, bus.CallerOptions{MaxInFlight: 1}).Lane("x", "")
	var all []*result
	for i := range 50 {
		r := newResult()
		l.Call("hold", soon(), body(uint64(i)), r)
		all = append(all, r)
		if i == 0 {
			eventually(t, "a lone call leaves at once", func() bool { return len(h.lens()) == 1 })
		}
	}
	// The others leave after the first counted as answered.
	eventually(t, "all calls arrive", func() bool {
		sum := 0
		for _, n := range h.lens() {
			sum += n
		}
		return sum == 50
	})
	if n := h.lens(); n[0] != 1 || len(n) > 10 {
		t.Errorf("frames of %v", n)
	}
	h.answerAll(t, b)
	for i, r := range all {
		if got, err := r.wait(t); err != nil || string(got) != string(body(uint64(i))) {
			t.Fatalf("call %d: %x, %v", i, got, err)
		}
	}
}

// An answer that comes after its call's deadline must not be taken for the
// answer to the call that got the same slot.
func TestLateAnswersFindNobody(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	h := &heldEcho{}
	if _, err := b.Handle("hold", id, h.take); err != nil {
		t.Fatal(err)
	}
	l := caller(t, b, bus.CallerOptions{}).Lane("x", "")
	first := newResult()
	l.Call("hold", time.Now().Add(10*time.Millisecond), body(1), first)
	if _, err := first.wait(t); !errors.Is(err, bus.ErrTimeout) {
		t.Fatal(err)
	}
	second := newResult()
	l.Call("other", time.Now().Add(300*time.Millisecond), body(2), second)
	eventually(t, "the first call arrives", func() bool { return len(h.lens()) == 1 })
	h.answerAll(t, b)
	if got, err := second.wait(t); !errors.Is(err, bus.ErrTimeout) {
		t.Fatalf("got %x, %v", got, err)
	}
}

func TestOverload(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	l := caller(t, b, bus.CallerOptions{MaxInFlight: 1, MaxQueued: 100 << 10}).Lane("x", "")
	big := append([]byte{0xc5, 0x40, 0}, make([]byte, 16<<10)...)
	var n atomic.Int32
	var wg sync.WaitGroup
	for range 200 {
		wg.Add(1)
		l.Call("nobody", time.Now().Add(100*time.Millisecond), big, pendingFunc(func(_ []byte, err error) {
			if errors.Is(err, bus.ErrOverloaded) {
				n.Add(1)
			} else if !errors.Is(err, bus.ErrTimeout) {
				t.Error(err)
			}
			wg.Done()
		}))
	}
	wg.Wait()
	if n.Load() == 0 {
		t.Error("nothing was refused")
	}
	// The frames of calls that timed out leave a little later than those end.
	var err error
	eventually(t, "the queue has room", func() bool {
		huge := newResult()
		l.Call("nobody", soon(), make([]byte, bus.MaxPayload), huge)
		_, err = huge.wait(t)
		return !errors.Is(err, bus.ErrOverloaded)
	})
	if !errors.Is(err, bus.ErrTooLarge) {
		t.Error(err)
	}
}

type pendingFunc func([]byte, error)

func (f pendingFunc) Done(body []byte, err error, _ *bus.Batch) { f(body, err) }

func TestBigCallsAreSplit(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	echo(t, b, "echo")
	l := caller(t, b, bus.CallerOptions{MaxInFlight: 1, MaxQueued: 64 << 20}).Lane("x", "")
	big := append([]byte{0xc6, 0, 0x08, 0, 0}, make([]byte, 512<<10)...)
	var all []*result
	for range 20 {
		r := newResult()
		l.Call("echo", soon(), big, r)
		all = append(all, r)
	}
	for _, r := range all {
		if got, err := r.wait(t); err != nil || len(got) != len(big) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}

func TestDirectConnectionBreaks(t *testing.T) {
	noLeaks(t)
	members := mesh(t, 2)
	h := &heldEcho{}
	if _, err := members[1].Handle("hold", id, h.take); err != nil {
		t.Fatal(err)
	}
	echo(t, members[1], "echo")
	c := caller(t, members[0], bus.CallerOptions{})
	l := c.Lane("1", members[1].ClientAddr())
	ready(t, l, "echo")
	// Which connection carried it does not show but in the reply subject.
	eventually(t, "the direct connection is used", func() bool {
		r := newResult()
		l.Call("hold", time.Now().Add(20*time.Millisecond), body(1), r)
		_, _ = r.wait(t)
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, calls := range h.frames {
			if calls[0].reply == "reply.member-0.1" {
				return true
			}
		}
		return false
	})
	lost := newResult()
	l.Call("hold", soon(), body(1), lost)
	closeBus(t, members[1])
	if _, err := lost.wait(t); !errors.Is(err, bus.ErrDisconnected) {
		t.Fatal(err)
	}
	// The bus's own connection still works, and says nothing of the loss.
	r := newResult()
	l.Call("echo", time.Now().Add(20*time.Millisecond), body(1), r)
	if _, err := r.wait(t); !errors.Is(err, bus.ErrTimeout) {
		t.Fatal(err)
	}
	// A changed address replaces the connection.
	o := options(t, "member-2")
	o.Routes = []string{members[0].RouteAddr()}
	other := open(t, o)
	echo(t, other, "echo")
	if c.Lane("1", other.ClientAddr()) != l {
		t.Fatal("another lane")
	}
	ready(t, l, "echo")
}

func TestClosedCaller(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	c := caller(t, b, bus.CallerOptions{})
	l, gone := c.Lane("x", "127.0.0.1:1"), c.Lane("gone", "127.0.0.1:1")
	r, s := newResult(), newResult()
	gone.Call("nobody", soon(), body(1), s)
	c.Forget("gone")
	if _, err := s.wait(t); !errors.Is(err, bus.ErrClosed) {
		t.Error(err)
	}
	if c.Lane("gone", "") == gone {
		t.Error("a forgotten lane came back")
	}
	l.Call("nobody", soon(), body(1), r)
	closeBus(t, b)
	if _, err := r.wait(t); !errors.Is(err, bus.ErrClosed) {
		t.Error(err)
	}
	for _, l := range []*bus.Lane{l, c.Lane("y", "")} {
		r := newResult()
		l.Call("nobody", soon(), body(1), r)
		if _, err := r.wait(t); !errors.Is(err, bus.ErrClosed) {
			t.Error(err)
		}
	}
	if _, err := b.NewCaller(bus.CallerOptions{ReplyPrefix: "r", ClusterID: id}); !errors.Is(err, bus.ErrClosed) {
		t.Error(err)
	}
}

func TestForeignFramesAreRefused(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	var got atomic.Int32
	if _, err := b.Handle("data", id, func(*bus.Frame) { got.Add(1) }); err != nil {
		t.Fatal(err)
	}
	foreign := b.NewOutbox(func() uint64 { return clusterID + 1 })
	foreign.Add("x", "data", "", 1, func(b []byte) []byte { return append(b, 1) })
	ours := b.NewOutbox(id)
	ours.Add("x", "data", "", 1, func(b []byte) []byte { return append(b, 1) })
	if err := errors.Join(foreign.Flush(), b.Publish("data", []byte("rubbish")), ours.Flush()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one is taken and two refused", func() bool {
		return got.Load() == 1 && b.Stats().RefusedFrames == 2
	})
}

func TestOutbox(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	frames := make(chan string, 100)
	sizes := make(chan int, 100)
	if _, err := b.Handle("to.>", id, func(f *bus.Frame) {
		s := fmt.Sprintf("%s<%s", f.Subject, f.Reply)
		n := 0
		for {
			id, body, ok := f.Next()
			if !ok {
				break
			}
			n += len(body)
			s += fmt.Sprintf(" %d", id)
		}
		frames <- s
		sizes <- n
	}); err != nil {
		t.Fatal(err)
	}
	out := b.NewOutbox(id)
	one := func(b []byte) []byte { return append(b, 1) }
	big := func(b []byte) []byte {
		return append(append(b, 0xc6, 0, 0x08, 0, 0), make([]byte, 512<<10)...)
	}
	out.Add("n1", "to.n1.p1", "r", 1, one)
	out.Add("n2", "to.n2.p1", "r", 2, one)
	out.Add("n1", "to.n1.p2", "r", 3, one)
	out.Add("n1", "to.n1.p3", "q", 4, one) // another reply subject: another frame
	for i := range 3 {
		out.Add("n3", fmt.Sprintf("to.n3.p%d", i), "", 10+uint64(i), big)
	}
	for range 2 { // the second Flush has nothing to send
		if err := out.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"to.n3.p0< 10 11", "to.n1.p1<r 1 3", "to.n2.p1<r 2", "to.n1.p3<q 4", "to.n3.p2< 12"}
	for _, w := range want {
		if got := <-frames; got != w {
			t.Errorf("got %q, want %q", got, w)
		}
		<-sizes
	}
	// An item without an End, since what makes it has failed, leaves no trace.
	out.Begin("n4", "to.n4.p1", "r", 20)
	out.Add("n4", "to.n4.p1", "r", 21, one)
	for range 2 {
		if err := out.Flush(); err != nil {
			t.Fatal(err)
		}
		out.Add("n5", "to.n5.p1", "r", 22, one)
	}
	for _, w := range []string{"to.n4.p1<r 21", "to.n5.p1<r 22"} {
		if got := <-frames; got != w {
			t.Errorf("got %q, want %q", got, w)
		}
		<-sizes
	}
	if n := b.Stats().RefusedFrames; n != 0 {
		t.Errorf("%d frames refused", n)
	}
	few := b.NewOutbox(id).Limit(100)
	for i := range 3 {
		few.Add("n6", "to.n6", "", 30+uint64(i), func(b []byte) []byte { return append(append(b, 0xc4, 40), make([]byte, 40)...) })
	}
	if err := few.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if got, want := <-frames, fmt.Sprintf("to.n6< %d", 30+i); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	out.Add("n1", "to.n1.p1", "r", 1, func(b []byte) []byte {
		return append(append(b, 0xc6, 1, 0x10, 0, 0), make([]byte, 17<<20)...)
	})
	if err := out.Flush(); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

// Whatever breaks, every call ends, and ends once.
func TestEveryCallEndsOnce(t *testing.T) {
	noLeaks(t)
	first := open(t, options(t, "a"))
	o := options(t, "b")
	o.Routes = []string{first.RouteAddr()}
	second := open(t, o)
	o.Listen, o.RouteListen = second.ClientAddr(), second.RouteAddr()
	echo(t, second, "echo")
	c := caller(t, first, bus.CallerOptions{})
	lanes := []*bus.Lane{c.Lane("direct", o.Listen), c.Lane("same", o.Listen), c.Lane("routed", "")}
	ready(t, lanes[2], "echo")

	stop := make(chan struct{})
	var good, bad atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			l := lanes[g%len(lanes)]
			for i := uint64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				rs := make([]*result, 10)
				for j := range rs {
					rs[j] = newResult()
					l.Call("echo", time.Now().Add(200*time.Millisecond), body(i), rs[j])
				}
				for _, r := range rs {
					got, err := r.wait(t)
					switch {
					case err == nil && string(got) == string(body(i)):
						good.Add(1)
					case err == nil:
						t.Errorf("an answer to another call: %x", got)
					default:
						bad.Add(1)
					}
				}
			}
		})
	}
	for range 3 {
		before := good.Load()
		eventually(t, "calls are answered", func() bool { return good.Load() > before+1000 })
		closeBus(t, second)
		second = open(t, o)
		echo(t, second, "echo")
	}
	before := good.Load()
	eventually(t, "calls are answered again", func() bool { return good.Load() > before+1000 })
	close(stop)
	wg.Wait()
	t.Logf("%d answered, %d failed", good.Load(), bad.Load())
}
