package kumogateway

import (
	"sync"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumogateway/memcache"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// flushJob empties the store: one operation for each partition, answered when
// all are.
type flushJob struct {
	r    *router
	done func(memcache.Reply)

	mu    sync.Mutex
	left  int
	worst memcache.Reply
}

// finish implements owner.
func (j *flushJob) finish(_ *op, a *memcache.Reply, _ *bus.Batch) {
	j.mu.Lock()
	if a.Status.IsError() {
		j.worst = *a
	}
	j.left--
	last := j.left == 0
	j.mu.Unlock()
	if last {
		j.done(j.worst)
	}
}

// flush empties every partition and calls done once, with the first fault if
// there was one. Without a ring there is nothing to send, and it says so.
func (r *router) flush(done func(memcache.Reply)) {
	rs := r.routes.Load()
	if rs == nil {
		done(memcache.Reply{Status: memcache.StatusTimedOut})
		return
	}
	j := &flushJob{r: r, done: done, left: len(rs.parts)}
	req := memcache.Request{Op: memcache.OpFlushAll}
	lasts := r.lim.operation()
	deadline := time.Now().Add(lasts)
	for p := range rs.parts {
		o := &op{r: r, owner: j, try: new(attempt), req: req, verb: subjects.VerbFlush, part: ring.Partition(p), lasts: lasts, deadline: deadline}
		r.send(o, &req, nil)
	}
}

// flushAll carries out flush_all, after everything that came before it and
// before everything that comes after it on this connection.
func (c *conn) flushAll(r *memcache.Request) {
	switch {
	case !c.g.lim.flushAll.Load():
		c.answer(r, memcache.Reply{Status: memcache.StatusFlushDisabled})
		return
	case r.Status != memcache.StatusOK:
		c.answer(r, memcache.Reply{Status: r.Status})
		return
	case r.Exptime > 0:
		c.g.flushLater(memcache.Expiry(r.Exptime, time.Now().Unix()))
		c.answer(r, memcache.Reply{})
		return
	}
	c.await(func() bool { return c.head == c.tail || c.broken })
	c.g.cache.clear()
	result := make(chan memcache.Reply, 1)
	c.g.router.flush(func(a memcache.Reply) { result <- a })
	var a memcache.Reply
	c.aside(func() { a = <-result })
	c.g.cache.clear()
	c.answer(r, a)
}

// flushLater empties the store at a time in Unix seconds. There is one such
// time: a later command replaces it, as in memcached. It is kept by this
// gateway alone, and ends with it.
func (g *Gateway) flushLater(at int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.delayed != nil {
		g.delayed.Stop()
	}
	if g.closed {
		return
	}
	g.delayed = time.AfterFunc(time.Until(time.Unix(at, 0)), func() {
		g.mu.Lock()
		if g.closed {
			g.mu.Unlock()
			return
		}
		g.tasks.Add(1)
		g.mu.Unlock()
		defer g.tasks.Done()
		g.router.flush(func(a memcache.Reply) {
			g.cache.clear()
			if a.Status.IsError() {
				g.o.Log.Error("delayed flush_all failed", "err", a.Status.String())
			}
		})
	})
}
