package bus_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
)

// proxy passes TCP on until it is frozen: then it takes nothing and says
// nothing, as a machine that lost its power does.
type proxy struct {
	l  net.Listener
	to string
	wg sync.WaitGroup

	mu     sync.Mutex
	thaw   chan struct{} // nil while not frozen
	closed bool
	conns  []net.Conn
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) accept() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		if p.closed {
			in.Close()
			out.Close()
		}
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		p.wg.Go(func() { p.copy(in, out) })
		p.wg.Go(func() { p.copy(out, in) })
	}
}

func (p *proxy) copy(dst, src net.Conn) {
	buf := make([]byte, 4<<10)
	for {
		p.mu.Lock()
		thaw := p.thaw
		p.mu.Unlock()
		if thaw != nil {
			<-thaw
		}
		n, err := src.Read(buf)
		if err == nil {
			_, err = dst.Write(buf[:n])
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				src.Close()
			}
			dst.Close()
			return
		}
	}
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.thaw = make(chan struct{})
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	if p.thaw != nil {
		close(p.thaw)
		p.thaw = nil
	}
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.l.Close()
	p.wg.Wait()
}

func TestSilentRouteIsNoticed(t *testing.T) {
	noLeaks(t)
	first := open(t, options(t, "a"))
	p := newProxy(t, first.RouteAddr())
	o := options(t, "b")
	o.Routes = []string{p.addr()}
	second := open(t, o)
	eventually(t, "routed", func() bool { return len(first.Peers()) == 1 && len(second.Peers()) == 1 })
	p.freeze()
	start := time.Now()
	eventually(t, "both notice", func() bool { return len(first.Peers()) == 0 && len(second.Peers()) == 0 })
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("noticed after %v", d)
	} else {
		t.Logf("noticed after %v", d)
	}
}

// A destination that takes nothing any more must not hold up calls to others,
// nor for long those to itself.
func TestHungDestination(t *testing.T) {
	noLeaks(t)
	members := mesh(t, 3)
	echo(t, members[1], "one")
	echo(t, members[2], "two")
	p := newProxy(t, members[1].ClientAddr())
	c := caller(t, members[0], bus.CallerOptions{})
	hung, well := c.Lane("1", p.addr()), c.Lane("2", members[2].ClientAddr())
	ready(t, hung, "one")
	ready(t, well, "two")
	p.freeze()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		big := append([]byte{0xc6, 0, 0x04, 0, 0}, make([]byte, 256<<10)...)
		for {
			select {
			case <-stop:
				return
			default:
				start := time.Now()
				hung.Call("one", time.Now().Add(100*time.Millisecond), big, pendingFunc(func([]byte, error) {}))
				if d := time.Since(start); d > 2*time.Second {
					t.Errorf("Call held its caller up for %v", d)
				}
			}
		}
	})
	worst := time.Duration(0)
	for range 500 {
		r := newResult()
		start := time.Now()
		well.Call("two", soon(), body(1), r)
		if _, err := r.wait(t); err != nil {
			t.Error(err)
		}
		worst = max(worst, time.Since(start))
	}
	close(stop)
	wg.Wait()
	t.Logf("slowest call to the other destination: %v", worst)
	if worst > time.Second {
		t.Errorf("a call to the other destination took %v", worst)
	}
	// By the bus's own connection the hung one is still reached.
	ready(t, hung, "one")
}
