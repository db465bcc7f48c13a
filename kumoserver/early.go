package kumoserver

import (
	"slices"
	"time"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Operations that come early wait here instead of being sent back: those of
// gateways whose ring is newer than this server's, and reads of partitions that
// this process leads and does not serve yet. Their gateways would ask again
// after ever longer times, and a fail-over would take as long as the last of
// these. Who does not get his answer soon is told to ask again after all.
const (
	earlyFor   = int64(500 * time.Millisecond)
	earlyBytes = 8 << 20
	earlySize  = 256 // bytes of memory, about, beside key and value
)

// early is what waits for one partition.
type early struct {
	writes []earlyWrite
	reads  []earlyRead
}

type earlyWrite struct {
	write
	until int64
}

type earlyRead struct {
	read  subjects.Read // with a key of its own
	who   caller
	until int64 // set by the core loop when it first sees the read
}

func (w *earlyWrite) size() int { return earlySize + len(w.msg.Key) + len(w.msg.Value) }
func (r *earlyRead) size() int  { return earlySize + len(r.read.Key) }

// epochHere is the partition's epoch as the core loop knows it.
func (c *core) epochHere(p ring.Partition) ring.Epoch {
	if c.table == nil || int(p) >= c.table.Size() {
		return 0
	}
	return c.table.Partitions[p].Epoch
}

// leadsHere reports whether this process is the partition's primary by the ring
// as the core loop knows it.
func (c *core) leadsHere(p ring.Partition) bool {
	return c.table != nil && int(p) < c.table.Size() && c.table.Partitions[p].Primary == c.s.process()
}

// waitFor returns where to put an operation of so many bytes, nil if there is no
// room for it.
func (c *core) waitFor(p ring.Partition, bytes int) *early {
	if c.earlyBytes+bytes > earlyBytes {
		return nil
	}
	c.earlyBytes += bytes
	e := c.early[p]
	if e == nil {
		e = &early{}
		c.early[p] = e
	}
	return e
}

// tooEarly keeps a write whose gateway knows a newer epoch, until the ring is
// here; false if it is not one, or there is no room.
func (c *core) tooEarly(w *write) bool {
	id := w.msg.Partition
	if w.msg.Epoch <= c.epochHere(id) || int(id) >= ring.MaxPartitions {
		return false
	}
	kept := earlyWrite{*w, c.now + earlyFor}
	e := c.waitFor(id, kept.size())
	if e == nil {
		return false
	}
	e.writes = append(e.writes, kept)
	return true
}

// readEarly keeps reads until this process serves their partitions.
func (c *core) readEarly(list []earlyRead) {
	var ready []earlyRead
	for i := range list {
		r := &list[i]
		id := r.read.Partition
		// It may have come to serve while the read was on its way to the loop.
		if _, status := c.s.readable(id, r.read.Epoch, r.read.Key, c.now); status == subjects.StatusOK {
			ready = append(ready, *r)
			continue
		}
		here := c.epochHere(id)
		if r.read.Epoch <= here && !c.leadsHere(id) {
			c.reply(r.who, &subjects.Reply{Status: subjects.StatusNotPrimary, Epoch: here})
			continue
		}
		e := c.waitFor(id, r.size())
		if e == nil {
			c.reply(r.who, &subjects.Reply{Status: subjects.StatusRetry, Epoch: here})
			continue
		}
		if r.until == 0 {
			r.until = c.now + earlyFor
		}
		e.reads = append(e.reads, *r)
	}
	if len(ready) > 0 {
		c.s.readAgain(ready)
	}
}

// ringCame goes on with what waited for the ring.
func (c *core) ringCame(id ring.Partition) {
	e := c.early[id]
	if e == nil {
		return
	}
	writes, reads := e.writes, e.reads
	c.forgetEarly(id, e)
	for i := range writes {
		c.write(&writes[i].write)
	}
	c.readEarly(reads)
}

// serves lets the reads go on that this process may answer now: it has come to
// serve their partition, or has a lease again, or knows the fate of more entries.
func (c *core) serves(id ring.Partition, s replica.Serve) {
	if len(c.early) == 0 || !s.On || s.Until <= boottime() {
		return // by far the most frequent
	}
	e := c.early[id]
	if e == nil || len(e.reads) == 0 {
		return
	}
	reads := e.reads
	e.reads = nil
	for i := range reads {
		c.earlyBytes -= reads[i].size()
	}
	if len(e.writes) == 0 {
		delete(c.early, id)
	}
	c.readEarly(reads)
}

func (c *core) forgetEarly(id ring.Partition, e *early) {
	for i := range e.writes {
		c.earlyBytes -= e.writes[i].size()
	}
	for i := range e.reads {
		c.earlyBytes -= e.reads[i].size()
	}
	delete(c.early, id)
}

// endEarly sends back what has waited for too long.
func (c *core) endEarly() {
	for id, e := range c.early {
		retry := &subjects.Reply{Status: subjects.StatusRetry, Epoch: c.epochHere(id)}
		over := func(until int64, size int, who caller) bool {
			if c.now < until {
				return false
			}
			c.earlyBytes -= size
			c.reply(who, retry)
			return true
		}
		e.writes = slices.DeleteFunc(e.writes, func(w earlyWrite) bool { return over(w.until, w.size(), caller{w.to, w.id}) })
		e.reads = slices.DeleteFunc(e.reads, func(r earlyRead) bool { return over(r.until, r.size(), r.who) })
		if len(e.writes)+len(e.reads) == 0 {
			delete(c.early, id)
		}
	}
}

// readAgain answers reads that have waited, off the core loop.
func (s *Server) readAgain(list []earlyRead) {
	s.background.Go(func() error {
		r := s.newReader()
		r.begin()
		for i := range list {
			r.add(list[i].read, list[i].who)
		}
		r.finish()
		return nil
	})
}
