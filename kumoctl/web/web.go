// Package web is the HTTP port that a daemon may have, the same for all roles:
//
//	/metrics        Prometheus's text format (docs/metrics.md)
//	/healthz        200 while the process lives
//	/readyz         200 while it can do its work, else 503 and why not
//	/statusz        what it knows of itself, or of the cluster, in JSON
//	/debug/pprof/   Go's profiles, only if that was asked for
//	/               what else the daemon shows, such as a dashboard
//
// The port is opened before the daemon, so that a daemon that reads a long log
// is seen to live, and so that it can tell others where its port is.
package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The bounds of a port. Further connections are closed, further scrapes and
// questions told to come again (503), and an answer that its client does not take is cut off.
const (
	maxConnections = 128
	maxScrapes     = 4
	maxQuestions   = 4 // for the status, which may take a while
	maxHeader      = 16 << 10
	headerTimeout  = 5 * time.Second
	writeTimeout   = 10 * time.Second
	idleTimeout    = time.Minute
	profileTimeout = 2 * time.Minute
)

// Options say where a port listens.
type Options struct {
	Listen string // host:port; port 0 takes a free one
	// Host is under which others reach the port, for Addr; by default Listen's,
	// or the machine's name where that is none.
	Host  string
	Pprof bool // show profiles, which tell a lot and take time
	Log   *slog.Logger
}

// Node is what a daemon tells of itself. Its functions are called from any
// goroutine, and a client waits for them.
type Node struct {
	Role    string // manager, server or gateway
	Version string
	Metrics []prometheus.Collector
	Unready func() error        // why it cannot do its work; nil: it can
	Status  func() (any, error) // becomes JSON
	// Root answers what the port does not answer itself, at / and below; nil: a
	// list of the pages. Answers that take longer than 10 s to write, such as a
	// stream of events, need SetWriteDeadline of an http.ResponseController.
	Root http.Handler
}

// Port is an open port.
type Port struct {
	o     Options
	seen  string
	srv   *http.Server
	open  atomic.Int64 // connections
	shown atomic.Pointer[pages]
	wg    sync.WaitGroup
}

// Open listens. Until Show, only /healthz answers with 200.
func Open(o Options) (*Port, error) {
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP on %s: %w", o.Listen, cause(err))
	}
	p := &Port{o: o, seen: seenAt(l, o.Host)}
	p.srv = &http.Server{
		Handler: http.HandlerFunc(p.serve), ConnState: p.count,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	p.wg.Go(func() {
		if err := p.srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Warn("the HTTP port has closed", "addr", o.Listen, "err", err)
		}
	})
	return p, nil
}

// seenAt is the address of a listener as others see it.
func seenAt(l net.Listener, host string) string {
	own, port, _ := net.SplitHostPort(l.Addr().String())
	if host == "" {
		if ip := net.ParseIP(own); ip != nil && ip.IsUnspecified() {
			own, _ = os.Hostname()
		}
		host = own
	}
	return net.JoinHostPort(host, port)
}

// cause strips the address and the system call, which the caller names.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// count bounds the connections.
func (p *Port) count(c net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		if p.open.Add(1) > maxConnections {
			_ = c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		p.open.Add(-1)
	}
}

// Addr is host:port as others see it; empty for a nil Port.
func (p *Port) Addr() string {
	if p == nil {
		return ""
	}
	return p.seen
}

// Show begins to tell of a daemon. The error is one of its metrics: two of the
// same name, or a name that Prometheus does not take.
func (p *Port) Show(n Node) error {
	if p == nil {
		return nil
	}
	shown, err := newPages(n, p.o)
	if err != nil {
		return fmt.Errorf("metrics of the %s: %w", n.Role, err)
	}
	p.shown.Store(shown)
	return nil
}

// Close ends all connections and waits for their handlers. It may be called
// twice, and for a nil Port.
func (p *Port) Close() error {
	if p == nil {
		return nil
	}
	err := p.srv.Close()
	p.wg.Wait()
	return err
}
