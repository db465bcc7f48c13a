package kumogateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/etolabo/kumofs/kumogateway"
)

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

// openGateway starts a gateway on the given servers, with options changed by
// the functions, and waits until it knows the ring.
func openGateway(t testing.TB, servers []string, change ...func(*kumogateway.Options)) *kumogateway.Gateway {
	t.Helper()
	g := openUnready(t, servers, change...)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := g.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return g
}

func openUnready(t testing.TB, servers []string, change ...func(*kumogateway.Options)) *kumogateway.Gateway {
	t.Helper()
	o := kumogateway.Defaults()
	o.Cluster = "test"
	o.Managers = servers
	o.Listen = []string{"127.0.0.1:0"}
	o.CloseTimeout = time.Second
	o.Log = testLog(t)
	for _, f := range change {
		f(&o)
	}
	g, err := kumogateway.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// client is a memcached client that sees every byte.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func dial(t testing.TB, g *kumogateway.Gateway) *client {
	t.Helper()
	network, addr := "tcp", g.Addrs()[0]
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	nc, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { nc.Close() })
	return &client{t: t, nc: nc, r: bufio.NewReader(nc)}
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.nc, format, args...); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// expect reads exactly these bytes.
func (c *client) expect(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.r, got)
	if string(got[:n]) != want {
		c.t.Fatalf("got %q, want %q (%v)", short(string(got[:n])), short(want), err)
	}
}

func short(s string) string {
	if len(s) > 200 {
		return s[:100] + "…" + s[len(s)-100:]
	}
	return s
}

// line reads one line without its end.
func (c *client) line() string {
	c.t.Helper()
	s, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read a line: %q, %v", s, err)
	}
	return strings.TrimSuffix(s, "\r\n")
}

// rest reads until the other side closes.
func (c *client) rest() string {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	if err != nil {
		c.t.Fatalf("read to the end: %v", err)
	}
	return string(b)
}

// do sends a command and reads exactly the answer.
func (c *client) do(command, want string) {
	c.t.Helper()
	c.send("%s", command)
	c.expect(want)
}

// stats reads all of a stats answer.
func (c *client) stats(args string) map[string]string {
	c.t.Helper()
	c.send("stats%s\r\n", args)
	m := map[string]string{}
	for {
		l := c.line()
		if l == "END" {
			return m
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(l, "STAT "), " ")
		if !ok && !strings.HasPrefix(l, "STAT ") {
			c.t.Fatalf("odd line of stats: %q", l)
		}
		m[name] = value
	}
}
