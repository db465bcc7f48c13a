package kumogateway

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumogateway/memcache"
	"github.com/etolabo/kumofs/subjects"
)

// slowLog keeps the last operations that took long. Others do not touch it. A
// gateway that is so busy that all take long must not become slower by it: an
// operation is copied into the ring, and made readable when it is read.
type slowLog struct {
	threshold atomic.Int64 // nanoseconds; 0: none is kept

	mu    sync.Mutex
	ops   []slowOp // a ring, once it is full; the oldest is at next
	next  int
	room  int
	total uint64
}

// slowOp is a subjects.SlowOp before it is readable.
type slowOp struct {
	at      time.Time
	took    time.Duration
	server  string
	size    int
	retries int
	nkey    int
	key     [subjects.MaxSlowKey + utf8.UTFMax]byte // and what tells that it was longer
	op      memcache.Op
	status  memcache.Status
}

func newSlowLog(threshold time.Duration, room int) *slowLog {
	l := new(slowLog)
	l.set(threshold, room)
	return l
}

// set changes what is kept from now on. Of what is there the newest stay.
func (l *slowLog) set(threshold time.Duration, room int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room != l.room {
		ops := append(append([]slowOp{}, l.ops[l.next:]...), l.ops[:l.next]...)
		l.ops, l.next, l.room = ops[max(0, len(ops)-room):], 0, room
	}
	if room == 0 {
		threshold = 0
	}
	l.threshold.Store(int64(threshold))
}

// slow tells whether an operation that took so long is to be kept.
func (l *slowLog) slow(took time.Duration) bool {
	threshold := l.threshold.Load()
	return threshold > 0 && int64(took) >= threshold
}

func (l *slowLog) add(o *slowOp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.room == 0: // since it was judged
		return
	case len(l.ops) < l.room:
		l.ops = append(l.ops, *o)
	default:
		l.ops[l.next] = *o
		l.next = (l.next + 1) % l.room
	}
	l.total++
}

// read tells what is kept, the newest first, and forgets it if reset.
func (l *slowLog) read(reset bool) subjects.SlowLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := subjects.SlowLog{Threshold: l.threshold.Load(), Room: l.room, Total: l.total, Operations: []subjects.SlowOp{}}
	for i := range len(l.ops) {
		out.Operations = append(out.Operations, l.ops[(l.next+len(l.ops)-1-i)%len(l.ops)].readable())
	}
	if reset {
		l.ops, l.next, l.total = nil, 0, 0
	}
	return out
}

func (o *slowOp) readable() subjects.SlowOp {
	out := subjects.SlowOp{
		Time: o.at.UnixMilli(), Verb: words[o.op], Key: subjects.ShowKey(o.key[:min(o.nkey, len(o.key))], subjects.MaxSlowKey), KeyBytes: o.nkey,
		Size: o.size, Duration: int64(o.took), Retries: o.retries, Server: o.server, Outcome: "OK",
	}
	if o.status != memcache.StatusOK {
		out.Outcome = o.status.String()
	}
	return out
}

func (l *slowLog) count() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// words are memcached's for operations on keys.
var words = [...]string{
	memcache.OpGet: "get", memcache.OpGetAndTouch: "gat", memcache.OpSet: "set", memcache.OpAdd: "add",
	memcache.OpReplace: "replace", memcache.OpAppend: "append", memcache.OpPrepend: "prepend", memcache.OpCAS: "cas",
	memcache.OpDelete: "delete", memcache.OpIncr: "incr", memcache.OpDecr: "decr", memcache.OpTouch: "touch",
	memcache.OpFetch: "mg", memcache.OpDebug: "me", memcache.OpFlushAll: "flush_all",
}

// took is how long an operation took until its answer came, with others of b.
func (o *op) took(b *bus.Batch) time.Duration {
	now := o.r.caller.Now() // of the frame with the answer: one look at the clock for all of it
	if b == nil || o.course.Attempts != 1 {
		now = time.Now() // no frame had the answer, or it waited where none come
	}
	return max(0, now.Sub(o.began()))
}

// keepSlow notes an operation that took long. It has its key until it is used
// again.
func (c *conn) keepSlow(o *op, a *memcache.Reply, took time.Duration) {
	key := o.fullKey()
	s := slowOp{
		at: time.Now(), took: took, op: o.req.Op, status: a.Status,
		size: len(a.Value), nkey: len(key), retries: max(0, int(o.course.Attempts)-1),
	}
	copy(s.key[:], key)
	if o.stores() {
		s.size = max(0, o.size-opOverhead-len(key))
	}
	if o.to != nil {
		s.server = o.to.node.Name
	}
	c.g.slow.add(&s)
}

// stores tells whether the request came with a value.
func (o *op) stores() bool {
	switch o.req.Op {
	case memcache.OpSet, memcache.OpAdd, memcache.OpReplace, memcache.OpAppend, memcache.OpPrepend, memcache.OpCAS:
		return true
	}
	return false
}

// answerSlowLog answers kumoctl slowlog.
func (g *Gateway) answerSlowLog(m *bus.Msg) {
	var req subjects.SlowLogRequest
	if len(m.Data) > 0 {
		if err := json.Unmarshal(m.Data, &req); err != nil {
			g.reply(m, nil, fmt.Errorf("%w: %w", subjects.ErrBadRequest, err))
			return
		}
	}
	g.reply(m, g.slow.read(req.Reset), nil)
}
