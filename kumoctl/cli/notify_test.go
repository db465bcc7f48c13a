package cli_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/cli"
)

// reporter is a daemon that says of itself what a test wants.
type reporter struct {
	mu    sync.Mutex
	ready bool
	doing string
	err   error
	asked int // how often Alive was called
}

func (r *reporter) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (r *reporter) Close() error                  { return nil }

func (r *reporter) CanServe() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready
}

func (r *reporter) Doing() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.doing
}

func (r *reporter) Alive(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return r.err
}

func (r *reporter) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// supervisor is the socket's other end.
type supervisor struct {
	t    *testing.T
	conn *net.UnixConn
	told []string
}

func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	dir, err := os.MkdirTemp("", "kumo") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &supervisor{t: t, conn: conn}
}

// hears waits for a line.
func (s *supervisor) hears(line string) {
	s.t.Helper()
	s.conn.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 4096)
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			s.t.Fatalf("never told %s, but %q: %v", line, s.told, err)
		}
		lines := strings.Split(string(buf[:n]), "\n")
		s.told = append(s.told, lines...)
		if slices.Contains(lines, line) {
			return
		}
	}
}

// serve runs a daemon until the function that it returns is called.
func serve(t *testing.T, d cli.Daemon, log string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var c cli.Common
	cmd := &cobra.Command{Use: "kumo-test", RunE: func(cmd *cobra.Command, _ []string) error {
		return c.Serve(cmd, cli.Service{Open: func(*slog.Logger) (cli.Daemon, error) { return d, nil }})
	}}
	c.Flags(cmd.Flags())
	ended := make(chan int, 1)
	go func() { ended <- cli.Execute(ctx, cmd, []string{"-o", log}, os.Stderr) }()
	return func() {
		t.Helper()
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

// A supervisor is told that a daemon is ready when it is, what it does, that it
// lives as long as it does, and that it stops.
func TestNotify(t *testing.T) {
	s := newSupervisor(t)
	t.Setenv("WATCHDOG_USEC", "30000")
	d := &reporter{doing: "waits", err: errors.New("the loop hangs")}
	log := filepath.Join(t.TempDir(), "log")
	stop := serve(t, d, log)
	s.hears("STATUS=waits")
	for said := ""; !strings.Contains(said, "the loop hangs"); {
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		said = string(b)
		d.set(func() { d.doing += "." })
		s.hears("STATUS=" + d.Doing())
	}
	if slices.Contains(s.told, "WATCHDOG=1") || slices.Contains(s.told, "READY=1") {
		t.Errorf("told %q of a daemon whose loop hangs and that cannot serve", s.told)
	}
	d.set(func() { d.err = nil })
	s.hears("WATCHDOG=1")
	if slices.Contains(s.told, "READY=1") {
		t.Errorf("told %q of a daemon that cannot serve", s.told)
	}
	d.set(func() { d.doing = "rebalancing 40%" })
	s.hears("STATUS=rebalancing 40%")
	d.set(func() { d.ready = true }) // not before: either may be told first
	s.hears("READY=1")
	stop()
	s.hears("STOPPING=1")
}

// A socket that is gone is no reason not to serve.
func TestNotifyNobody(t *testing.T) {
	for _, socket := range []string{"", "/nonexistent/socket"} {
		t.Setenv("NOTIFY_SOCKET", socket)
		log := filepath.Join(t.TempDir(), "log")
		serve(t, &reporter{}, log)()
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "NOTIFY_SOCKET"); n > 1 || n == 1 && socket == "" {
			t.Errorf("NOTIFY_SOCKET=%s: the log says %s", socket, b)
		}
	}
}
