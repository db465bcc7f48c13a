package bus

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A route that neither of its ends makes again comes back by Rejoin, and the
// others stay.
func TestRejoin(t *testing.T) {
	open := func(name string, routes ...string) *Bus {
		b, err := Open(Options{Name: name, Mesh: "m", Listen: "127.0.0.1:0", RouteListen: "127.0.0.1:0", Routes: routes})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		return b
	}
	peers := func(b *Bus, n int) {
		t.Helper()
		until(t, fmt.Sprintf("%s has routes to %d", b.name, n), func() bool { return len(b.Peers()) == n })
	}
	a := open("a")
	b := open("b", a.RouteAddr())
	c := open("c", a.RouteAddr())
	for _, m := range []*Bus{a, b, c} {
		peers(m, 2)
	}
	// A route that both ends have in their configuration, and then not, is closed,
	// and nobody dials.
	ends := map[*Bus]*Bus{b: c, c: b}
	for m, other := range ends {
		if err := m.reroute(append(slices.Clone(m.srvOptions.Routes), &url.URL{Scheme: "nats-route", Host: other.RouteAddr()})); err != nil {
			t.Fatal(err)
		}
	}
	for m, other := range ends {
		until(t, "the route is one of the configuration", func() bool {
			z, err := m.srv.Routez(nil)
			return err == nil && slices.ContainsFunc(z.Routes, func(r *server.RouteInfo) bool { return r.RemoteName == other.name && r.IsConfigured })
		})
	}
	for m := range ends {
		if err := m.reroute(m.srvOptions.Routes); err != nil {
			t.Fatal(err)
		}
	}
	peers(c, 1)
	peers(b, 1)
	// The two may dial each other at once again: whoever misses a route repeats it.
	var last time.Time
	until(t, "all have routes to 2", func() bool {
		if time.Since(last) >= 2*time.Second {
			last = time.Now()
			if err := c.Rejoin(); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range []*Bus{a, b, c} {
			if len(m.Peers()) != 2 {
				return false
			}
		}
		return true
	})
	got := make(chan struct{}, 1)
	if _, err := b.Subscribe("x", func(*Msg) {
		select {
		case got <- struct{}{}:
		default:
		}
	}); err != nil {
		t.Fatal(err)
	}
	until(t, "a message crosses the route that came back", func() bool {
		if err := c.Publish("x", nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-got:
			return true
		default:
			return false
		}
	})
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
