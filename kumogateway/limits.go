package kumogateway

import (
	"sync/atomic"
	"time"
)

// Limits are the options that may change while a gateway runs. All are as in
// Options, and must be such as Options.Check lets pass.
type Limits struct {
	MaxConnections int
	OpTimeout      time.Duration
	IdleTimeout    time.Duration
	EnableFlushAll bool
	SlowThreshold  time.Duration
	SlowSize       int
}

// SetLimits changes limits. MaxConnections closes nobody who is there; an
// operation that is under way keeps its time, and an idle connection the deadline
// that it has, until it says something.
func (g *Gateway) SetLimits(l Limits) {
	g.lim.set(l)
	g.slow.set(l.SlowThreshold, l.SlowSize)
}

// limits are those in force. Connections only read them, so that their cores
// share the cache line.
type limits struct {
	conns    atomic.Int64
	op, idle atomic.Int64 // nanoseconds
	flushAll atomic.Bool
}

func newLimits(o *Options) *limits {
	l := new(limits)
	l.set(Limits{MaxConnections: o.MaxConnections, OpTimeout: o.OpTimeout, IdleTimeout: o.IdleTimeout, EnableFlushAll: o.EnableFlushAll})
	return l
}

func (l *limits) set(to Limits) {
	l.conns.Store(int64(to.MaxConnections))
	l.op.Store(int64(to.OpTimeout))
	l.idle.Store(int64(to.IdleTimeout))
	l.flushAll.Store(to.EnableFlushAll)
}

// operation is for how long an operation is repeated.
func (l *limits) operation() time.Duration { return time.Duration(l.op.Load()) }

// silence is after which time a silent connection is closed; 0: never.
func (l *limits) silence() time.Duration { return time.Duration(l.idle.Load()) }
