package kumoserver

import (
	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// held is a message that waits for the log.
type held struct {
	to  ring.NodeID
	p   ring.Partition
	msg replica.Message
}

// flight is what waits for one flush of the log.
type flight struct {
	sends []held
	tails []tail
	waits []*part // that were bound in it
}

type tail struct {
	part     *part
	version  subjects.Version
	promised ring.Epoch
}

// flights parts what waits for the log: what may go once it is written, and what
// must be on disk. A change of one partition's epoch does not hold up the others,
// but all that its partition says afterwards: a repeated EpochStart, or an entry,
// is answered at an epoch that the disk may not know yet.
func (c *core) flights() (free, bound *flight) {
	free, bound = &c.free, &flight{}
	free.sends, free.tails = free.sends[:0], free.tails[:0]
	of := func(p *part) *flight {
		if p == nil || p.bound || p.waits > 0 || c.s.o.Sync == store.SyncAlways {
			return bound
		}
		return free
	}
	for _, h := range c.held {
		f := of(c.parts[h.p])
		f.sends = append(f.sends, h)
	}
	for _, p := range c.dirty {
		if p.logged || p.bound {
			f, st := of(p), p.machine.Status()
			f.tails = append(f.tails, tail{p, st.Tail, st.Promised})
		}
	}
	for _, p := range c.dirty {
		if p.bound {
			p.waits++
			bound.waits = append(bound.waits, p)
		}
		p.dirty, p.logged, p.bound = false, false, false
	}
	c.dirty, c.held = c.dirty[:0], c.held[:0]
	return free, bound
}

// landed goes on with what a flush made durable.
func (c *core) landed(f *flight) {
	for _, p := range f.waits {
		p.waits--
	}
	for _, t := range f.tails {
		if c.parts[t.part.id] == t.part {
			c.step(t.part, replica.Logged{Tail: t.version, Promised: t.promised})
		}
	}
	for _, h := range f.sends {
		c.post(h)
	}
}
