package bus

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// limiter lets one event through per period, for log lines about things that
// happen in bursts.
type limiter struct{ next atomic.Int64 }

// allow tells whether to log now.
func (l *limiter) allow(period time.Duration) bool {
	now := time.Now().UnixNano()
	next := l.next.Load()
	return now >= next && l.next.CompareAndSwap(next, now+int64(period))
}

// serverLog hands the embedded server's warnings and errors to slog. NATS
// repeats some of them every second (a route that refuses, say), so each kind
// is let through once a minute; a kind is its format string, without the connection
// that NATS puts before it.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]*limiter
	last  string // the last fatal message
}

const (
	serverLogPeriod = time.Minute
	// logPeriod paces lines about overflows and broken connections.
	logPeriod = 10 * time.Second
	// The format strings are NATS's own, a few hundred at most.
	serverLogKinds = 1000
)

func newServerLog(l *slog.Logger) *serverLog {
	return &serverLog{log: l, kinds: make(map[string]*limiter)}
}

func (l *serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Maximum payloads over") {
		return // which is advice to operators; see MaxPayload
	}
	l.emit(slog.LevelWarn, format, v)
}

func (l *serverLog) Errorf(format string, v ...any) { l.emit(slog.LevelWarn, format, v) }

// Fatalf is called where the nats-server command would exit. We do not: Open
// notices that the server is not ready.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	l.last = fmt.Sprintf(format, v...)
	l.mu.Unlock()
	l.emit(slog.LevelError, format, v)
}

func (l *serverLog) Noticef(string, ...any) {}
func (l *serverLog) Debugf(string, ...any)  {}
func (l *serverLog) Tracef(string, ...any)  {}

// fatal returns the last fatal message.
func (l *serverLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *serverLog) emit(level slog.Level, format string, v []any) {
	kind := format[strings.LastIndex(format, " - ")+1:]
	l.mu.Lock()
	k := l.kinds[kind]
	if k == nil && len(l.kinds) < serverLogKinds {
		k = new(limiter)
		l.kinds[kind] = k
	}
	l.mu.Unlock()
	if k != nil && k.allow(serverLogPeriod) {
		l.log.Log(context.Background(), level, "bus: "+fmt.Sprintf(format, v...))
	}
}
