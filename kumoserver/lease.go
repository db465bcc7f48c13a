package kumoserver

import (
	"sync/atomic"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// serving is what reads of one partition may be answered by this process. The
// core loop writes it, readers look at it after they took a value.
type serving struct {
	now   atomic.Pointer[replica.Serve] // nil: nothing
	until atomic.Int64                  // the lease's end, on boottime's clock
	ahead atomic.Int64                  // of the wall clock, the partition's; milliseconds
}

func (s *serving) set(e replica.Serve) {
	if !e.On {
		s.now.Store(nil)
		s.until.Store(0)
		return
	}
	old := s.now.Load()
	if old != nil && old.Epoch == e.Epoch && len(old.Hidden) == len(e.Hidden) {
		s.until.Store(e.Until) // a renewed lease, by far the most frequent
		return
	}
	s.now.Store(&e)
	s.until.Store(e.Until)
}

// look returns what is served and until when. In the order opposite to set's: it
// may be the old lease with the new epoch, which is of this process, too; but never
// a new lease with an old epoch, in which the reader may have taken a value that
// has been replaced elsewhere.
func (s *serving) look() (at *replica.Serve, until int64) {
	until = s.until.Load()
	return s.now.Load(), until
}

// readable reports whether this process may answer a read of a key to somebody
// whose ring has its partition at epoch. now is boottime's, taken after the
// value was; 0 leaves the lease for later. With StatusOK it returns the epoch in
// which this process leads.
func (s *Server) readable(p ring.Partition, epoch ring.Epoch, key []byte, now int64) (ring.Epoch, subjects.Status) {
	if int(p) >= len(s.serving) {
		return 0, subjects.StatusBad
	}
	at, until := s.serving[p].look()
	switch {
	case at == nil:
		return 0, subjects.StatusNotPrimary
	case epoch > at.Epoch:
		return 0, subjects.StatusRetry // the ring is on its way here
	case now >= until:
		return 0, subjects.StatusRetry // a new lease is, or a new primary
	}
	if _, hidden := at.Hidden[string(key)]; hidden {
		return 0, subjects.StatusRetry
	}
	return at.Epoch, subjects.StatusOK
}

// leaseItem is a Lease or a LeaseReply.
type leaseItem struct {
	asked   *subjects.Lease
	granted *subjects.LeaseReply
}

// leaseOf returns what a message says of leases, nil if it is another.
func leaseOf(m any) *leaseItem {
	switch m := m.(type) {
	case *subjects.Lease:
		return &leaseItem{asked: m}
	case *subjects.LeaseReply:
		return &leaseItem{granted: m}
	}
	return nil
}

// leases gathers questions and grants of a turn: all partitions that two
// processes share go in one message.
type leases struct {
	wanted  map[ring.NodeID][]subjects.PartitionEpoch
	granted []subjects.PartitionEpoch
}

func (l *leases) want(to ring.NodeID, p ring.Partition, e ring.Epoch) {
	if l.wanted == nil {
		l.wanted = map[ring.NodeID][]subjects.PartitionEpoch{}
	}
	l.wanted[to] = append(l.wanted[to], subjects.PartitionEpoch{Partition: p, Epoch: e})
}

// sendLeases asks for what was wanted in this turn. Sent is taken before the
// message leaves.
func (c *core) sendLeases() {
	for to, epochs := range c.leases.wanted {
		if len(epochs) == 0 {
			continue
		}
		if r := c.route(to); r != nil {
			m := subjects.Lease{From: c.s.process(), Sent: boottime(), Epochs: epochs, Length: c.s.o.Replica.Lease}
			c.out.End(m.Append(c.out.Begin(r.lease, r.lease, "", 0)))
		}
		c.leases.wanted[to] = epochs[:0]
	}
}

// lease grants what another process asks for, or notes what it granted.
func (c *core) lease(l *leaseItem) {
	now := boottime()
	if m := l.granted; m != nil {
		for _, e := range m.Epochs {
			if p := c.parts[e.Partition]; p != nil {
				c.step(p, replica.Granted{From: m.From, Epoch: e.Epoch, Sent: m.Sent, Length: m.Length, Now: now})
			}
		}
		return
	}
	c.leases.granted = c.leases.granted[:0]
	for _, e := range l.asked.Epochs {
		if p := c.part(e.Partition); p != nil {
			c.step(p, replica.LeaseAsked{From: l.asked.From, Epoch: e.Epoch, Now: now})
		}
	}
	if r := c.route(l.asked.From.Store); r != nil && len(c.leases.granted) > 0 {
		m := subjects.LeaseReply{From: c.s.process(), Sent: l.asked.Sent, Epochs: c.leases.granted, Length: c.s.o.Replica.Lease}
		c.out.End(m.Append(c.out.Begin(r.reply, r.reply, "", 0)))
	}
}
