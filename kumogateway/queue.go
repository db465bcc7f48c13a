package kumogateway

import (
	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumogateway/memcache"
	"github.com/etolabo/kumofs/subjects"
)

// reserve waits for room and takes the next place in the order of answers, for
// a request that weighs size bytes. A request on a key also waits until no
// operation is outstanding that it must not overtake: the lanes keep no order
// between attempts, so that what a client sent first is done first only if it
// is waited for. It returns nil if the connection is broken.
func (c *conn) reserve(r *memcache.Request, size int, keyed bool, hash uint64, verb subjects.Verb) *op {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.broken && (!c.room(size) || keyed && c.conflict(hash, verb != 0)) {
		c.pause()
	}
	if c.broken {
		return nil
	}
	if c.tail-c.head == uint64(len(c.ring)) {
		grown := make([]*op, 2*len(c.ring))
		for i := c.head; i < c.tail; i++ {
			grown[i&uint64(len(grown)-1)] = c.at(i)
		}
		c.ring = grown
	}
	var o *op
	if n := len(c.free); n > 0 {
		o = c.free[n-1]
		c.free = c.free[:n-1]
		c.spareBytes -= cap(o.body)
	} else {
		o = &op{r: c.g.router, owner: c, try: new(attempt)}
	}
	o.req = *r
	o.req.Key, o.req.Value, o.req.Args = nil, nil, nil
	if r.Meta != nil {
		if o.meta == nil {
			o.meta = new(memcache.Meta)
		}
		*o.meta = *r.Meta
		o.req.Meta = o.meta
	}
	o.size, o.hash, o.verb = size, hash, verb
	c.asked += size
	if keyed {
		c.marks[mark(hash)]++
	}
	c.ring[c.tail&uint64(len(c.ring)-1)] = o
	c.tail++
	return o
}

// at returns the operation of a number. Called with mu held, as are the next.
func (c *conn) at(i uint64) *op { return c.ring[i&uint64(len(c.ring)-1)] }

// room tells whether one more request fits the bounds. One always does, once
// what was printed has left.
func (c *conn) room(size int) bool {
	o, open := &c.g.o, int(c.tail-c.head)
	answers := c.buffered()
	if c.g.answers.Load() > int64(o.MaxAnswers) {
		return open == 0 && answers == 0
	}
	if open == 0 {
		return answers <= o.MaxBuffered
	}
	return open < o.MaxOutstanding && c.asked+size <= o.MaxBuffered && answers+open*c.guess <= o.MaxBuffered
}

// buffered is how many bytes of answers the client has not taken. Called with mu
// held, as are the next.
func (c *conn) buffered() int { return len(c.out) + c.written + c.parked }

// surplus tells whether a value that came is one too many. room went by the size
// of answers before, so that a client of small ones may have asked for many large
// ones while none came; if many clients do so and take nothing, errors take the
// place of what the memory would not hold. Called with mu held.
func (c *conn) surplus(o *op, a *memcache.Reply) bool {
	switch o.req.Op {
	case memcache.OpGet, memcache.OpGetAndTouch, memcache.OpFetch:
	default:
		return false
	}
	held, bound := c.g.answers.Load(), int64(c.g.o.MaxAnswers)
	return len(a.Value) > 0 && (held > 2*bound && c.buffered() > 0 || held > 4*bound)
}

// countStep is how far a connection's part in the sum of all answers may be
// from the truth, so that not every operation touches what all share.
const countStep = 16 << 10

// count keeps the sum of the memory that all connections' answers take. A client that
// takes all of a large one but its end has the whole buffer held.
func (c *conn) count() {
	if d := len(c.out) + c.parked + max(c.written, c.holding) - c.counted; !c.uncounted && (d > countStep || d < -countStep) {
		c.g.answers.Add(int64(d))
		c.counted += d
	}
}

// uncount takes a connection that has ended out of the sum.
func (c *conn) uncount() {
	c.g.answers.Add(-int64(c.counted))
	c.counted, c.uncounted = 0, true
}

// conflict tells whether an operation on the same key is outstanding, and one
// of the two writes.
func (c *conn) conflict(hash uint64, write bool) bool {
	if c.marks[mark(hash)] == 0 {
		return false
	}
	for i := c.head; i < c.tail; i++ {
		if o := c.at(i); !o.done && o.hash == hash && (write || o.write()) {
			return true
		}
	}
	return false
}

func mark(hash uint64) uint64 { return hash >> 58 }

// finish implements owner.
func (c *conn) finish(o *op, a *memcache.Reply, b *bus.Batch) {
	if o.req.Syntax == memcache.SyntaxMeta && o.req.Op == memcache.OpGet && a.Stale && !a.Sent && !o.reads {
		c.mu.Lock()
		o.refetch()
		c.mu.Unlock()
		o.r.hold(o, 0) // whoever delivers answers must not send
		return
	}
	c.g.held.Add(-int64(o.size))
	if c.g.cache != nil {
		c.g.cache.ended(o, a)
	}
	took := o.took(b)
	if c.g.slow.slow(took) {
		c.keepSlow(o, a, took)
	}
	c.mu.Lock()
	c.took.add(o.write(), took)
	c.marks[mark(o.hash)]--
	if size := len(a.Value); size > c.guess {
		c.guess = size
	} else {
		c.guess -= (c.guess - size) / 8
	}
	if c.surplus(o, a) {
		*a = memcache.Reply{Status: memcache.StatusBusy}
		if o.write() { // the item was touched
			a.Status = memcache.StatusOutcomeUnknown
		}
	}
	c.stats.count(&o.req, a)
	o.reply, o.done = *a, true
	c.parked += len(a.Value)
	c.drain()
	if b == nil || len(c.out) >= listOut {
		c.leave()
	} else if !c.put {
		c.put = true
		b.Add(c)
	}
	c.count()
	if c.waits {
		c.changed.Signal()
	}
	c.mu.Unlock()
}

// underWay calls f with the operations that have no answer yet, none of which
// is used for another request meanwhile.
func (c *conn) underWay(f func(*op)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := c.head; i < c.tail; i++ {
		if o := c.at(i); !o.done {
			f(o)
		}
	}
}

// partial tells whether the next answer to come belongs to a list whose first
// values are ready: they leave together. Called with mu held.
func (c *conn) partial() bool {
	return c.head < c.tail && len(c.out) < listOut && c.at(c.head).req.Cont
}

// drain prints the answers whose turn has come. Called with mu held.
func (c *conn) drain() {
	for c.head < c.tail {
		o := c.at(c.head)
		if !o.done {
			return
		}
		c.ring[c.head&uint64(len(c.ring)-1)] = nil
		c.head++
		c.print(o)
		c.asked -= o.size
		c.parked -= len(o.reply.Value)
		c.recycle(o)
	}
}

// print appends an answer to the output. Of a list's answer, nothing follows
// an error. Called with mu held.
func (c *conn) print(o *op) {
	if o.req.Cont && c.spoiled || c.broken {
		return
	}
	c.spoiled = o.req.More && o.reply.Status.IsError()
	if o.nkey > 0 && !o.reply.Status.IsError() && o.req.ReturnsKey() {
		o.req.Key = o.key()
	}
	c.widen(len(o.req.Key) + len(o.reply.Value) + replyHead)
	c.out = memcache.Append(c.out, &o.req, &o.reply)
}

// recycle makes an operation ready for another use. Called with mu held.
func (c *conn) recycle(o *op) {
	if len(c.free) == keepOps {
		return
	}
	body := o.body
	if cap(body) > keepBody || c.spareBytes+cap(body) > keepBodies {
		body = nil
	}
	*o = op{r: o.r, owner: c, try: o.try, meta: o.meta, body: body[:0]}
	c.free = append(c.free, o)
	c.spareBytes += cap(body)
}
