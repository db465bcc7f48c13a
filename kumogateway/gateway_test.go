package kumogateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/subjects"
)

func TestCommands(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 3)
	c := dial(t, openGateway(t, servers))
	for _, step := range []struct{ send, want string }{
		{"get a\r\n", "END\r\n"},
		{"set a 7 0 5\r\nhello\r\n", "STORED\r\n"},
		{"get a\r\n", "VALUE a 7 5\r\nhello\r\nEND\r\n"},
		{"add a 0 0 1\r\nx\r\n", "NOT_STORED\r\n"},
		{"add b 0 0 1\r\nx\r\n", "STORED\r\n"},
		{"replace c 0 0 1\r\nx\r\n", "NOT_STORED\r\n"},
		{"append a 0 0 1\r\n!\r\n", "STORED\r\n"},
		{"prepend a 0 0 1\r\n>\r\n", "STORED\r\n"},
		{"get a b c\r\n", "VALUE a 7 7\r\n>hello!\r\nVALUE b 0 1\r\nx\r\nEND\r\n"},
		{"get c a c\r\n", "VALUE a 7 7\r\n>hello!\r\nEND\r\n"},
		{"gat 100 a\r\n", "VALUE a 7 7\r\n>hello!\r\nEND\r\n"},
		{"touch a 100\r\n", "TOUCHED\r\n"},
		{"touch c 100\r\n", "NOT_FOUND\r\n"},
		{"cas a 0 0 1 1\r\nx\r\n", "EXISTS\r\n"},
		{"cas a 0 0 1 0\r\nx\r\n", "EXISTS\r\n"},
		{"cas c 0 0 1 0\r\nx\r\n", "NOT_FOUND\r\n"},
		{"set n 0 0 2\r\n10\r\n", "STORED\r\n"},
		{"incr n 5\r\n", "15\r\n"},
		{"decr n 100\r\n", "0\r\n"},
		{"incr a 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"},
		{"incr c 1\r\n", "NOT_FOUND\r\n"},
		{"delete a\r\n", "DELETED\r\n"},
		{"delete a\r\n", "NOT_FOUND\r\n"},
		{"set q 0 0 1 noreply\r\nx\r\nget q\r\n", "VALUE q 0 1\r\nx\r\nEND\r\n"},
		{"flush_all\r\n", "CLIENT_ERROR flush_all not allowed\r\n"},
		{"version\r\n", "VERSION 1.6.40\r\n"},
		{"verbosity 1\r\n", "OK\r\n"},
		{"shutdown\r\n", "ERROR: shutdown not enabled\r\n"},
		{"mn\r\n", "MN\r\n"},
		{"nonsense\r\n", "ERROR\r\n"},
	} {
		c.do(step.send, step.want)
	}
	c.send("quit\r\n")
	if got := c.rest(); got != "" {
		t.Errorf("after quit: %q", got)
	}
}

func TestCAS(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers))
	c.do("set a 0 0 1\r\nx\r\n", "STORED\r\n")
	c.send("gets a\r\n")
	var token uint64
	if _, err := fmt.Sscanf(c.line(), "VALUE a 0 1 %d", &token); err != nil {
		t.Fatal(err)
	}
	c.expect("x\r\nEND\r\n")
	cas := fmt.Sprintf("cas a 0 0 1 %d\r\ny\r\n", token)
	c.do(cas, "STORED\r\n")
	c.do(cas, "EXISTS\r\n")
}

func TestTooLargeValueGoesAndTakesTheOldOneAlong(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers, func(o *kumogateway.Options) { o.MaxItemSize = 100 }))
	c.do("set a 0 0 1\r\nx\r\n", "STORED\r\n")
	c.do("append a 0 0 101\r\n"+strings.Repeat("v", 101)+"\r\n", "SERVER_ERROR object too large for cache\r\n")
	c.do("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n")
	c.do("set a 0 0 101\r\n"+strings.Repeat("v", 101)+"\r\n", "SERVER_ERROR object too large for cache\r\n")
	c.do("get a\r\n", "END\r\n")
}

func TestLargestValue(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 2)
	c := dial(t, openGateway(t, servers))
	value := strings.Repeat("0123456789abcdef", subjects.DefaultMaxItem/16)
	for range 3 {
		c.do(fmt.Sprintf("set a 0 0 %d\r\n%s\r\n", len(value), value), "STORED\r\n")
		c.do("get a\r\n", fmt.Sprintf("VALUE a 0 %d\r\n%s\r\nEND\r\n", len(value), value))
	}
}

// Pipelined requests are answered in order, and what concerns one key happens
// in order too.
func TestPipeline(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 3)
	c := dial(t, openGateway(t, servers))
	var send, want strings.Builder
	for i := range 300 {
		fmt.Fprintf(&send, "set k%d 0 0 4\r\n%04d\r\nget k%d\r\n", i%50, i, i%50)
		fmt.Fprintf(&want, "STORED\r\nVALUE k%d 0 4\r\n%04d\r\nEND\r\n", i%50, i)
		if i%7 == 0 {
			send.WriteString("version\r\nbad\r\n")
			want.WriteString("VERSION 1.6.40\r\nERROR\r\n")
		}
	}
	c.do(send.String(), want.String())
}

func TestManyKeysInOneGet(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 3)
	c := dial(t, openGateway(t, servers))
	var keys, want, sets strings.Builder
	for i := range 5000 {
		if i%3 != 0 {
			fmt.Fprintf(&sets, "set key-%d %d 0 3 noreply\r\nabc\r\n", i, i)
			fmt.Fprintf(&want, "VALUE key-%d %d 3\r\nabc\r\n", i, i)
		}
		fmt.Fprintf(&keys, " key-%d", i)
	}
	c.send("%s", sets.String())
	c.do("get"+keys.String()+"\r\n", want.String()+"END\r\n")
	c.do("mn\r\n", "MN\r\n")
}

func TestHalfClose(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers))
	c.send("set a 0 0 1\r\nx\r\nget a\r\n")
	c.nc.(*net.TCPConn).CloseWrite()
	if got, want := c.rest(), "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestKeyPrefix(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers, func(o *kumogateway.Options) { o.KeyPrefix = "app:" }))
	c.do("set a 0 0 1\r\nx\r\n", "STORED\r\n")
	c.do("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n")
	c.do("gat 0 a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n")
	c.do("get "+strings.Repeat("k", 247)+"\r\n", "CLIENT_ERROR bad command line format\r\n")
	nodes[0].mu.Lock()
	defer nodes[0].mu.Unlock()
	if _, ok := nodes[0].items["app:a"]; !ok {
		t.Errorf("stored as something else: %v", nodes[0].items)
	}
}

func TestFlushAll(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 3)
	c := dial(t, openGateway(t, servers, func(o *kumogateway.Options) { o.EnableFlushAll = true }))
	c.send("set a 0 0 1 noreply\r\nx\r\nset b 0 0 1 noreply\r\nx\r\nflush_all\r\nget a b\r\n")
	c.expect("OK\r\nEND\r\n")
	c.do("flush_all x\r\n", "CLIENT_ERROR invalid exptime argument\r\n")
	c.do("set a 0 0 1\r\nx\r\nflush_all 1\r\nget a\r\n", "STORED\r\nOK\r\nVALUE a 0 1\r\nx\r\nEND\r\n")
	eventually(t, "the delayed flush", func() bool {
		c.send("get a\r\n")
		l := c.line()
		if l == "END" {
			return true
		}
		c.expect("x\r\nEND\r\n")
		return false
	})
}

func TestRubbish(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	var log syncBuffer
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	const strange = "CLIENT_ERROR not a memcached command\r\n"
	for name, c := range map[string]struct{ in, want string }{
		"TLS":                              {"\x16\x03\x01\x02\x00\x01\x00", strange},
		"Redis":                            {"*1\r\n$4\r\nPING\r\n", strange},
		"an endless line":                  {strings.Repeat("x", 100000), "CLIENT_ERROR line too long\r\n"},
		"a browser":                        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		"a browser made to send a command": {"POST / HTTP/1.1\r\nHost: x\r\n\r\nset a 0 0 1\r\nx\r\n", ""},
		"a browser, late":                  {"mn\r\nPOST / HTTP/1.1\r\n\r\n", "MN\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := dial(t, g)
			cl.send("%s", c.in)
			if got := cl.rest(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if n := strings.Count(log.String(), "does not speak memcached's protocol"); n != 1 {
		t.Errorf("%d log lines:\n%s", n, log.String())
	}
	dial(t, g).do("get a\r\n", "END\r\n")
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestTooManyConnections(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.MaxConnections = 2 })
	a, b := dial(t, g), dial(t, g)
	a.do("mn\r\n", "MN\r\n")
	b.do("mn\r\n", "MN\r\n")
	if got := dial(t, g).rest(); got != "ERROR Too many open connections\r\n" {
		t.Errorf("the third is told %q", got)
	}
	a.nc.Close()
	eventually(t, "a place is free again", func() bool {
		c := dial(t, g)
		c.send("mn\r\n")
		return c.line() == "MN"
	})
}

func TestIdleTimeout(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.IdleTimeout = 50 * time.Millisecond })
	c := dial(t, g)
	c.do("mn\r\n", "MN\r\n")
	if got := c.rest(); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestStats(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers))
	c.do("set a 0 0 1\r\nx\r\n", "STORED\r\n")
	c.do("get a b\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n")
	got := c.stats("")
	for name, want := range map[string]string{
		"cmd_get": "2", "cmd_set": "1", "get_hits": "1", "get_misses": "1",
		"curr_connections": "1", "total_connections": "1", "version": "1.6.40", "pointer_size": "64",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	c.do("stats reset\r\n", "RESET\r\n")
	if got := c.stats("")["cmd_get"]; got != "0" {
		t.Errorf("cmd_get after a reset is %s", got)
	}
	if got := c.stats(" settings")["item_size_max"]; got != "1048576" {
		t.Errorf("item_size_max is %s", got)
	}
	c.stats(" conns")
	c.stats(" items")
	c.do("stats nonsense\r\n", "ERROR\r\n")
}

func TestListen(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.Listen = []string{"127.0.0.1:0", "[::1]:0"} })
	for _, addr := range g.Addrs() {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	o := kumogateway.Defaults()
	o.Listen = g.Addrs()[:1]
	_, err := kumogateway.Open(o)
	if want := "listen for memcached clients on " + g.Addrs()[0]; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error of a taken port is %v", err)
	}
	g.Close()
	g.Close()
}

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*kumogateway.Options){
		"cluster":    func(o *kumogateway.Options) { o.Cluster = "a.b" },
		"no manager": func(o *kumogateway.Options) { o.Managers = nil },
		"no port":    func(o *kumogateway.Options) { o.Listen = nil },
		"prefix":     func(o *kumogateway.Options) { o.KeyPrefix = "a b" },
		"item size":  func(o *kumogateway.Options) { o.MaxItemSize = subjects.MaxValue + 1 },
		"limits":     func(o *kumogateway.Options) { o.MaxOutstanding = 0 },
	} {
		o := kumogateway.Defaults()
		o.Listen = []string{"127.0.0.1:0"}
		change(&o)
		if g, err := kumogateway.Open(o); err == nil {
			g.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

// The cluster hears that the gateway lives, and can ask it what it counts.
func TestTellsTheCluster(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	beats := make(chan subjects.Heartbeat, 100)
	_, err := nodes[0].bus.Subscribe(testCluster.GatewayHeartbeat("*"), func(m *bus.Msg) {
		var h subjects.Heartbeat
		if err := json.Unmarshal(m.Data, &h); err != nil {
			t.Errorf("heartbeat: %v", err)
		}
		select {
		case beats <- h:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	g := openGateway(t, servers)
	dial(t, g).do("get a\r\n", "END\r\n")
	var beat subjects.Heartbeat
	var took subjects.Took
	eventually(t, "heartbeats with the load, and how long it took", func() bool {
		beat = <-beats
		if beat.Load.Took != (subjects.Took{}) { // of the last second or so
			took = beat.Load.Took
		}
		return beat.Load.Get == 1 && beat.Load.At > 0 && took.Read50 > 0
	})
	if took.Read99 < took.Read50 || took.Write50+took.Write99 > 0 {
		t.Errorf("one read took %+v", took)
	}
	if beat.Role != subjects.RoleGateway || beat.Node != g.Node() || beat.Listen[0] != g.Addrs()[0] || beat.Revision != 1 {
		t.Errorf("heartbeat %+v", beat)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m, err := nodes[0].bus.Request(ctx, testCluster.GatewayAdmin(g.Node(), subjects.NodeStat), nil)
	if err != nil {
		t.Fatal(err)
	}
	var rep subjects.AdminReply
	var stat map[string]any
	if err := json.Unmarshal(m.Data, &rep); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(rep.Data, &stat); err != nil || stat["cmd_get"] != 1.0 {
		t.Errorf("stat %v, %v", stat, err)
	}
	g.Close()
	eventually(t, "the last heartbeat says so", func() bool { return (<-beats).Stopping })
}
