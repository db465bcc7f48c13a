package bus_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/etolabo/kumofs/bus"
)

func TestGossipMakesAFullMesh(t *testing.T) {
	noLeaks(t)
	members := mesh(t, 3)
	got := make(chan string, 1)
	_, err := members[1].Subscribe("hello.*", func(m *bus.Msg) {
		select {
		case got <- m.Subject + " " + string(m.Data):
		default: // one is enough, and the handler must end with the test
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	// Members 1 and 2 know of each other by gossip only.
	eventually(t, "a message crosses", func() bool {
		if err := members[2].Publish("hello.world", []byte("x")); err != nil {
			t.Fatal(err)
		}
		select {
		case s := <-got:
			return s == "hello.world x"
		default:
			return false
		}
	})
}

func TestMemberReturns(t *testing.T) {
	noLeaks(t)
	first := open(t, options(t, "a"))
	o := options(t, "b")
	o.Routes = []string{first.RouteAddr()}
	second := open(t, o)
	third := options(t, "c")
	third.Routes = []string{first.RouteAddr()}
	last := open(t, third)
	eventually(t, "c sees b", func() bool { return len(last.Peers()) == 2 })

	o.Listen, o.RouteListen = second.ClientAddr(), second.RouteAddr()
	closeBus(t, second)
	eventually(t, "b is gone", func() bool { return len(first.Peers()) == 1 && len(last.Peers()) == 1 })
	open(t, o)
	start := time.Now()
	eventually(t, "b is back", func() bool { return len(first.Peers()) == 2 && len(last.Peers()) == 2 })
	t.Logf("back after %v", time.Since(start))
}

func TestExplicitRouteReturns(t *testing.T) {
	noLeaks(t)
	o := options(t, "a")
	first := open(t, o)
	o.Listen, o.RouteListen = first.ClientAddr(), first.RouteAddr()
	p := options(t, "b")
	p.Routes = []string{first.RouteAddr(), "127.0.0.1:1"}
	second := open(t, p)
	eventually(t, "routed", func() bool { return len(second.Peers()) == 1 })
	closeBus(t, first)
	eventually(t, "a is gone", func() bool { return len(second.Peers()) == 0 })
	o.Routes = []string{o.RouteListen} // itself, which is fine
	first = open(t, o)
	start := time.Now()
	eventually(t, "a is back", func() bool { return len(second.Peers()) == 1 && len(first.Peers()) == 1 })
	t.Logf("back after %v", time.Since(start))
}

func TestForeignMeshIsRefused(t *testing.T) {
	noLeaks(t)
	ours := mesh(t, 2)
	o := options(t, "stranger")
	o.Mesh = "other"
	o.Routes = []string{ours[0].RouteAddr()}
	stranger := open(t, o)
	var heard atomic.Int32
	if _, err := stranger.Subscribe("secret", func(*bus.Msg) { heard.Add(1) }); err != nil {
		t.Fatal(err)
	}
	near := make(chan struct{}, 100)
	if _, err := ours[1].Subscribe("secret", func(*bus.Msg) { near <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 30 { // over half a second of attempts to connect
		<-tick.C
		if err := ours[0].Publish("secret", nil); err != nil {
			t.Fatal(err)
		}
		if n := len(stranger.Peers()); n != 0 {
			t.Fatalf("stranger has %d routes", n)
		}
	}
	<-near
	if heard.Load() != 0 {
		t.Fatal("stranger heard us")
	}
}

func TestTakenPorts(t *testing.T) {
	noLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for _, tt := range []struct {
		what string
		set  func(*bus.Options)
	}{
		{"client", func(o *bus.Options) { o.Listen = taken }},
		{"route", func(o *bus.Options) { o.RouteListen = taken }},
	} {
		o := options(t, "a")
		tt.set(&o)
		_, err := bus.Open(o)
		var le *bus.ListenError
		if !errors.As(err, &le) || le.What != tt.what || le.Addr != taken {
			t.Errorf("%s: got %v", tt.what, err)
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s: %v is not EADDRINUSE", tt.what, err)
		}
		if want := "listen for " + tt.what + "s on " + taken + ": address already in use"; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

func TestBadOptions(t *testing.T) {
	noLeaks(t)
	for name, set := range map[string]func(*bus.Options){
		"name":  func(o *bus.Options) { o.Name = "a.b" },
		"mesh":  func(o *bus.Options) { o.Mesh = "" },
		"port":  func(o *bus.Options) { o.Listen = "127.0.0.1:99999" },
		"route": func(o *bus.Options) { o.Routes = []string{"nowhere"} },
	} {
		o := options(t, "a")
		set(&o)
		if b, err := bus.Open(o); err == nil {
			t.Errorf("%s: accepted", name)
			b.Close()
		}
	}
	if _, err := bus.Dial(bus.DialOptions{}); err == nil {
		t.Error("dial without addresses: accepted")
	}
}

func TestAdvertise(t *testing.T) {
	noLeaks(t)
	o := options(t, "a")
	o.Advertise, o.RouteAdvertise = "localhost:0", "localhost:7"
	b := open(t, o)
	host, port, err := net.SplitHostPort(b.ClientAddr())
	if err != nil || host != "localhost" || port == "0" {
		t.Errorf("client address %q", b.ClientAddr())
	}
	if b.RouteAddr() != "localhost:7" {
		t.Errorf("route address %q", b.RouteAddr())
	}
}

func TestDialBeforeTheServer(t *testing.T) {
	noLeaks(t)
	addr := freePort(t)
	c := dial(t, addr)
	if c.Connected() {
		t.Fatal("connected to nobody")
	}
	if err := c.Publish("x", nil); !errors.Is(err, bus.ErrDisconnected) {
		t.Fatalf("publish: %v", err)
	}
	var up atomic.Bool
	c.OnState(up.Store)
	var got atomic.Bool
	if _, err := c.Subscribe("x", func(*bus.Msg) { got.Store(true) }); err != nil {
		t.Fatal(err)
	}
	o := options(t, "a")
	o.Listen = addr
	b := open(t, o)
	eventually(t, "client connects", func() bool { return c.Connected() && up.Load() })
	// The server may hear of the subscription a moment after the connection.
	eventually(t, "a message arrives", func() bool {
		if err := b.Publish("x", nil); err != nil {
			t.Fatal(err)
		}
		return got.Load()
	})
	closeBus(t, b)
	eventually(t, "client notices", func() bool { return !c.Connected() && !up.Load() })
	open(t, o)
	eventually(t, "client is back", c.Connected)
}

func TestAddURLs(t *testing.T) {
	noLeaks(t)
	c := dial(t, freePort(t))
	b := open(t, options(t, "a"))
	c.AddURLs([]string{"rubbish", b.ClientAddr()})
	eventually(t, "client connects", c.Connected)
}

func TestRequest(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	c := dial(t, b.ClientAddr())
	_, err := c.Request(timeout(t, time.Second), "nobody", nil)
	if !errors.Is(err, bus.ErrNoResponders) {
		t.Errorf("no responders: %v", err)
	}
	if _, err := b.Subscribe("silent", func(*bus.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(timeout(t, time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err = c.Request(timeout(t, 20*time.Millisecond), "silent", nil); !errors.Is(err, bus.ErrTimeout) {
		t.Errorf("timeout: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = c.Request(ctx, "silent", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := c.Publish("x", make([]byte, bus.MaxPayload+1)); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func TestService(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	stop, err := b.Service(bus.ServiceOptions{
		Name: "greeter", Version: "1.2.3", Description: "greets", Metadata: map[string]string{"node": "a"},
		Endpoints: []bus.Endpoint{{
			Name: "hello", Subject: "admin.hello",
			Handler: func(req []byte, subject string) ([]byte, error) {
				if len(req) == 0 {
					return nil, &bus.ServiceError{Code: "400", Description: "whom?"}
				}
				return []byte(subject + " " + string(req)), nil
			},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// Or a request from another connection may be there first.
	if err := b.Flush(timeout(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	c := dial(t, b.ClientAddr())
	m, err := c.Request(timeout(t, time.Second), "admin.hello", []byte("bob"))
	if err != nil || string(m.Data) != "admin.hello bob" {
		t.Fatalf("%v, %v", m, err)
	}
	_, err = c.Request(timeout(t, time.Second), "admin.hello", nil)
	var se *bus.ServiceError
	if !errors.As(err, &se) || se.Code != "400" || se.Description != "whom?" {
		t.Fatalf("error answer: %v", err)
	}
	m, err = c.Request(timeout(t, time.Second), "$SRV.INFO.greeter", nil)
	if err != nil || !strings.Contains(string(m.Data), `"version":"1.2.3"`) {
		t.Fatalf("info: %v, %v", m, err)
	}
	if err := errors.Join(stop(), stop()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nobody serves after stop", func() bool {
		_, err := c.Request(timeout(t, time.Second), "admin.hello", nil)
		return errors.Is(err, bus.ErrNoResponders)
	})
	// One that Close of the bus has to stop.
	if _, err := b.Service(bus.ServiceOptions{Name: "x", Version: "0.0.1"}); err != nil {
		t.Fatal(err)
	}
}

func TestSlowReceiverIsBounded(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	release := make(chan struct{})
	sub, err := b.Subscribe("flood", func(*bus.Msg) { <-release })
	if err != nil {
		t.Fatal(err)
	}
	defer close(release)
	big := make([]byte, 1<<20)
	for range 80 {
		if err := b.Publish("flood", big); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "messages are dropped and counted", func() bool {
		return sub.Dropped() > 0 && b.Stats().Overflows > 0
	})
}

func TestCloseIsBoundedAndSaysSo(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	release, entered := make(chan struct{}), make(chan struct{})
	if _, err := b.Subscribe("x", func(*bus.Msg) { close(entered); <-release }); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish("x", nil); err != nil {
		t.Fatal(err)
	}
	<-entered
	start := time.Now()
	err := b.Close()
	if err == nil || !strings.Contains(err.Error(), "still at work") {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	close(release)
	if err := b.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := b.Publish("x", nil); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("publish: %v", err)
	}
	if _, err := b.Subscribe("x", nil); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("subscribe: %v", err)
	}
}

func TestCloseFinishesWhatWasReceived(t *testing.T) {
	noLeaks(t)
	b, err := bus.Open(options(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int32
	if _, err := b.Subscribe("x", func(*bus.Msg) { n.Add(1) }); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if err := b.Publish("x", nil); err != nil {
			t.Fatal(err)
		}
	}
	closeBus(t, b)
	if n.Load() != 1000 {
		t.Errorf("handled %d of 1000", n.Load())
	}
}

// The in-process connection is a net.Pipe, which buffers nothing: were the
// server to write to a client from the goroutine that reads from it, a member
// that publishes to itself while it waits for PONGs would lock up.
func TestInProcessConnectionDoesNotLockUp(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	var got atomic.Int64
	if _, err := b.Subscribe("self", func(*bus.Msg) { got.Add(1) }); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		data := make([]byte, 8<<10)
		for {
			select {
			case <-stop:
				return
			default:
				if err := b.Publish("self", data); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	until := time.After(300 * time.Millisecond)
	worst := time.Duration(0)
loop:
	for {
		select {
		case <-until:
			break loop
		default:
			start := time.Now()
			if err := b.Flush(timeout(t, 4*time.Second)); err != nil {
				t.Error(err)
				break loop
			}
			worst = max(worst, time.Since(start))
		}
	}
	close(stop)
	<-done
	t.Logf("%d messages, slowest flush %v", got.Load(), worst)
	if worst > 2*time.Second {
		t.Errorf("a flush took %v", worst)
	}
}

func TestPlainNATSClient(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	nc, err := nats.Connect("nats://" + b.ClientAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("kumo.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish("kumo.x.ring", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsg(time.Second); err != nil || string(m.Data) != "{}" {
		t.Fatalf("%v, %v", m, err)
	}
}

// A connection that subscribes without end is told so, and nobody else notices.
func TestSubscriptionsHaveABound(t *testing.T) {
	noLeaks(t)
	b := open(t, options(t, "a"))
	refused := make(chan error, 1)
	greedy, err := nats.Connect("nats://"+b.ClientAddr(), nats.NoReconnect(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case refused <- err:
		default:
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer greedy.Close()
	for i := range 2000 {
		if _, err := greedy.SubscribeSync(fmt.Sprint("kumo.greedy.", i)); err != nil {
			break
		}
	}
	greedy.Flush()
	select {
	case err = <-refused:
	case <-time.After(10 * time.Second):
		t.Fatal("2,000 subscriptions were taken")
	}
	if !errors.Is(err, nats.ErrMaxSubscriptionsExceeded) {
		t.Errorf("it was told %v", err)
	}
	nc, err := nats.Connect("nats://" + b.ClientAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("kumo.greedy.>")
	if err == nil {
		err = nc.Flush()
	}
	if err == nil {
		err = b.Publish("kumo.greedy.0", []byte("x"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsg(10 * time.Second); err != nil {
		t.Errorf("another connection hears nothing: %v", err)
	}
}
