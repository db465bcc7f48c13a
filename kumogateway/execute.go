package kumogateway

import (
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/etolabo/kumofs/kumogateway/memcache"
	"github.com/etolabo/kumofs/subjects"
)

// protocolVersion is what clients are told: some look for features by it.
const protocolVersion = "1.6.40"

// opOverhead is about what an operation weighs beside its key and value.
const opOverhead = 512

// execute carries out a request, or sends it on its way. It tells whether the
// connection goes on.
func (c *conn) execute(r *memcache.Request) bool {
	if status := c.allowed(r); status != memcache.StatusOK {
		c.answer(r, memcache.Reply{Status: status})
		return true
	}
	if r.Op.IsKeyed() {
		c.submit(r)
		return true
	}
	switch r.Op {
	case memcache.OpQuit:
		if r.Syntax == memcache.SyntaxBinary {
			c.answer(r, memcache.Reply{})
		}
		return false
	case memcache.OpError:
		c.answer(r, memcache.Reply{Status: r.Status})
	case memcache.OpAuth:
		c.authenticate(r)
	case memcache.OpMechanisms:
		c.answer(r, memcache.Reply{Value: []byte(memcache.Mechanism)})
	case memcache.OpVersion:
		c.answer(r, memcache.Reply{Value: []byte(protocolVersion)})
	case memcache.OpStats:
		// What was asked before is counted.
		c.await(func() bool { return c.head == c.tail || c.broken })
		var text []byte
		var status memcache.Status
		c.aside(func() { text, status = c.g.statistics(string(r.Args)) })
		c.answer(r, memcache.Reply{Status: status, Value: text})
	case memcache.OpShutdown:
		c.answer(r, memcache.Reply{Status: memcache.StatusShutdown})
	case memcache.OpFlushAll:
		c.flushAll(r)
	default: // the end of a list, verbosity, no-op
		c.answer(r, memcache.Reply{})
	}
	return true
}

// answer answers a request that takes no operation, in its turn.
func (c *conn) answer(r *memcache.Request, a memcache.Reply) {
	o := c.reserve(r, 0, false, 0, 0)
	if o == nil {
		return
	}
	c.mu.Lock()
	o.reply, o.done = a, true
	c.parked += len(a.Value)
	c.stats.count(&o.req, &a)
	c.drain()
	c.mu.Unlock()
}

// submit sends an operation on one key on its way.
func (c *conn) submit(r *memcache.Request) {
	key := r.Key
	outer, inner := c.prefix()
	prefix := len(outer) + len(inner)
	if prefix > 0 {
		c.key = append(append(append(c.key[:0], outer...), inner...), r.Key...)
		key = c.key
	}
	switch {
	case len(key) > subjects.MaxKey:
		c.answer(r, memcache.Reply{Status: memcache.StatusBadFormat})
		return
	case r.TooLarge && !r.Drops():
		c.answer(r, memcache.Reply{Status: memcache.StatusTooLarge})
		return
	case c.g.held.Load() > int64(c.g.o.MaxHeld):
		c.answer(r, memcache.Reply{Status: memcache.StatusBusy})
		return
	}
	hash := xxhash.Sum64(key)
	verb := verbOf(r)
	c.sample(hash, key, verb != 0)
	if c.g.cache != nil && c.fromCache(r, hash, key, prefix) {
		return
	}
	o := c.reserve(r, len(key)+len(r.Value)+opOverhead, true, hash, verb)
	if o == nil {
		return
	}
	o.nprefix, o.reads = prefix, c.grant != nil && c.grant.rights&mayWrite == 0
	c.g.held.Add(int64(o.size))
	o.lasts = c.g.lim.operation()
	o.deadline = c.clock().Add(o.lasts)
	if c.g.cache != nil {
		c.g.cache.began(o)
	}
	c.g.router.send(o, r, key)
}

// clock is when the requests at hand began to be carried out: they came together,
// and a look at the clock costs as much as a tenth of one. But those that are
// answered within the process may wait for the disk, each of them.
func (c *conn) clock() time.Time {
	if c.nowFor == 0 {
		c.now, c.nowFor = time.Now(), clockFor
	}
	c.nowFor--
	return c.now
}

// clockFor is for how many requests the clock is looked at.
const clockFor = 16
