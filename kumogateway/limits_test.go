package kumogateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumogateway"
)

// Limits that change while clients are there hold for what these do next.
func TestSetLimits(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.MaxConnections = 2 })
	if !g.CanServe() || g.Alive(t.Context()) != nil {
		t.Errorf("it serves: %v, it lives: %v", g.CanServe(), g.Alive(t.Context()))
	}
	a, b := dial(t, g), dial(t, g)
	a.do("mn\r\n", "MN\r\n")
	b.do("flush_all\r\n", "CLIENT_ERROR flush_all not allowed\r\n")
	if s := g.Doing(); s != "2 clients" {
		t.Errorf("it says %q", s)
	}
	l := kumogateway.Limits{MaxConnections: 1, OpTimeout: time.Hour, EnableFlushAll: true}
	g.SetLimits(l)
	b.do("flush_all\r\n", "OK\r\n")
	if got := dial(t, g).rest(); !strings.Contains(got, "Too many") {
		t.Errorf("the third is told %q", got)
	}
	if s := a.stats(" settings"); s["maxconns"] != "1" || s["op_timeout"] != "1h0m0s" || s["flush_enabled"] != "yes" {
		t.Errorf("settings %v", s)
	}
	l.IdleTimeout = 50 * time.Millisecond
	g.SetLimits(l)
	a.do("mn\r\n", "MN\r\n") // from here on it must not be silent
	if got := a.rest(); got != "" {
		t.Errorf("a silent client gets %q", got)
	}
	l.IdleTimeout = time.Hour
	g.SetLimits(l)
	b.do("mn\r\n", "MN\r\n")
	l.IdleTimeout = 0
	g.SetLimits(l)
	b.do("mn\r\n", "MN\r\n")
}
