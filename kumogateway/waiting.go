package kumogateway

import (
	"time"

	"github.com/etolabo/kumofs/kumogateway/memcache"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// unsent holds an operation that has nowhere to go yet.
func (r *router) unsent(o *op, req *memcache.Request, key []byte) {
	if req != nil {
		o.encode(req, key, 0)
	}
	r.watcher.Refresh()
	r.hold(o, r.lim.operation())
}

// hold keeps an operation until a newer ring is there, or at most for d.
func (r *router) hold(o *op, d time.Duration) {
	o.batch = nil
	now := time.Now()
	if !now.Before(o.deadline) {
		o.giveUp(memcache.StatusTimedOut)
		return
	}
	// If the ring was faster than the refusal, there is nothing to wait for but
	// the goroutine that sends: a socket may hold it up, which must not happen
	// to the one that delivers answers.
	newer := r.routes.Load().newer(o)
	o.due = now.Add(d)
	r.mu.Lock()
	closing := r.closing
	wake := len(r.waiting) == 0 || newer // otherwise it ticks already
	if !closing {
		r.waiting = append(r.waiting, o)
	}
	r.mu.Unlock()
	if closing {
		o.giveUp(memcache.StatusShuttingDown)
	} else if wake {
		r.nudge()
	}
}

func (r *router) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run tries what waits again. It rests while nothing does.
func (r *router) run() {
	defer close(r.done)
	tick := time.NewTicker(waitTick)
	defer tick.Stop()
	ticking := true
	for {
		select {
		case <-r.stop:
			return
		case <-r.wake:
		case <-tick.C:
		}
		now := time.Now()
		left := r.redirect(now)
		left = r.retry(now) || left
		if ticking != left {
			if ticking = left; ticking {
				tick.Reset(waitTick)
			} else {
				tick.Stop()
			}
		}
	}
}

// retry sends what is due or has a newer route, and ends what is over. It
// tells whether anything goes on waiting.
func (r *router) retry(now time.Time) (left bool) {
	rs := r.routes.Load()
	r.mu.Lock()
	var ready []*op
	kept := r.waiting[:0]
	for _, o := range r.waiting {
		if !now.Before(o.deadline) || !now.Before(o.due) || rs.newer(o) {
			ready = append(ready, o)
		} else {
			kept = append(kept, o)
		}
	}
	clear(r.waiting[len(kept):])
	r.waiting = kept
	left = len(kept) > 0
	r.mu.Unlock()
	for _, o := range ready {
		if !now.Before(o.deadline) {
			o.giveUp(memcache.StatusTimedOut)
		} else {
			r.send(o, nil, nil)
		}
	}
	return left
}

// newer tells whether there is a route that the operation has not tried.
func (rs *routes) newer(o *op) bool {
	if rs == nil {
		return false
	}
	p := o.part
	if o.n == 0 && o.verb != subjects.VerbFlush {
		p = ring.Partition(o.hash & uint64(len(rs.parts)-1))
	}
	rt := &rs.parts[p]
	return rt.read != nil && o.course.Newer(rt.epoch)
}

// redirect takes operations back from primaries that have a successor, and
// sends them there: the old one may hang. Reads go at once, and so does all that
// was in the hands of a process that is gone. Otherwise a write is left to the
// old primary for a moment, since one that lives either has it committed or
// refuses it, and then nobody needs to find out that it was done already. It
// tells whether it has to look again.
func (r *router) redirect(now time.Time) (again bool) {
	rs := r.routes.Load()
	switch {
	case rs == nil, rs == r.swept && r.sweepAt.IsZero():
		return false
	case rs == r.swept && now.Before(r.sweepAt):
		return true
	}
	r.swept, r.sweepAt = rs, time.Time{}
	var taken []*op
	r.underWay(func(o *op) {
		p, e := unplace(o.try.where.Load())
		if int(p) >= len(rs.parts) || rs.parts[p].read == nil || e >= rs.parts[p].since {
			return
		}
		rt := &rs.parts[p]
		if end := rt.at.Add(writeGrace); o.write() && !rt.alone && now.Before(end) {
			r.sweepAt = now.Add(writeGrace)
		} else if o.abandon() {
			taken = append(taken, o)
		}
	})
	for _, o := range taken {
		r.send(o, nil, nil)
	}
	return !r.sweepAt.IsZero()
}
