package kumomanager

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const (
	// A server says within so long what copies it has, or counts as missing.
	inquireWait = 400 * time.Millisecond
	// It is asked again after so long, while something depends on it.
	inquireAgain = 250 * time.Millisecond
)

// saidCopy is what a process has said of its copy of a partition, in an epoch.
type saidCopy struct {
	epoch ring.Epoch
	by    ring.Process
	subjects.Copy
}

// inquiry is a question to servers for their copies of partitions.
type inquiry struct {
	nodes      []ring.Node
	partitions map[ring.Partition]ring.Epoch
}

// inquire asks all servers of an inquiry at once and returns what they said in
// time.
func (s *seat) inquire(q inquiry) (said []saidCopy) {
	ctx, cancel := context.WithTimeout(s.ctx, inquireWait)
	defer cancel()
	req := subjects.CopiesRequest{}
	for p := range q.partitions {
		if len(req.Partitions) < subjects.MaxCopies {
			req.Partitions = append(req.Partitions, p)
		}
	}
	data, err := json.Marshal(req)
	if err != nil {
		return nil
	}
	var mu sync.Mutex // guards said
	var wg sync.WaitGroup
	for _, n := range q.nodes {
		wg.Go(func() {
			rep, err := s.copiesOf(ctx, n, data)
			if err != nil {
				s.log.Info("a server does not say what copies it has", "server", n.Name, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, c := range rep.Copies {
				said = append(said, saidCopy{q.partitions[c.Partition], ring.Process{Store: rep.ID, Boot: rep.Boot}, c})
			}
		})
	}
	wg.Wait()
	return said
}

func (s *seat) copiesOf(ctx context.Context, n ring.Node, req []byte) (rep subjects.CopiesReport, err error) {
	m, err := s.o.bus.Request(ctx, s.o.cluster.NodeAdmin(n.Name, subjects.NodeCopies), req)
	if err != nil {
		return rep, err
	}
	var a subjects.AdminReply
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return rep, err
	}
	if a.Error != nil {
		return rep, a.Error
	}
	return rep, json.Unmarshal(a.Data, &rep)
}

// inquireSoon asks for the copies on which a decision waits, in the background.
func (s *seat) inquireSoon(now time.Time) {
	if s.inquiring || now.Sub(s.inquiredAt) < inquireAgain {
		return
	}
	q := s.core.doubts()
	if len(q.partitions) == 0 {
		return
	}
	s.inquiring, s.inquiredAt = true, now
	s.wg.Go(func() {
		said := s.inquire(q)
		s.do(func(time.Time) {
			s.inquiring = false
			s.core.heardOf(said)
		})
	})
}

// doubts returns what has to be asked before partitions can be led again.
func (c *core) doubts() inquiry {
	q := inquiry{partitions: map[ring.Partition]ring.Epoch{}}
	ask := map[ring.NodeID]bool{}
	for _, p := range c.unsure {
		if len(q.partitions) == subjects.MaxCopies {
			break
		}
		cfg := c.table.Partitions[p]
		q.partitions[p] = cfg.Epoch
		for _, id := range cfg.ISR {
			ask[id] = true
		}
	}
	for _, n := range c.table.Nodes {
		if ask[n.ID] && n.Up {
			q.nodes = append(q.nodes, n)
		}
	}
	return q
}

// heardOf takes what servers have said of their copies.
func (c *core) heardOf(said []saidCopy) {
	for _, s := range said {
		if int(s.Partition) >= c.table.Size() || c.table.Partitions[s.Partition].Epoch != s.epoch {
			continue
		}
		if c.said[s.Partition] == nil {
			c.said[s.Partition] = map[ring.NodeID]saidCopy{}
		}
		c.said[s.Partition][s.by.Store] = s
		c.looked = nil // there is something to decide on
	}
}

// copies is what processes that are up have said of the partitions' newest
// epochs; the rest is forgotten.
func (c *core) copies(t *ring.Table, nodes map[ring.NodeID]rebalance.Status) map[ring.Partition]map[ring.NodeID]rebalance.Copy {
	out := map[ring.Partition]map[ring.NodeID]rebalance.Copy{}
	for p, said := range c.said {
		if t.Partitions[p].Epoch != epochIn(said) {
			delete(c.said, p)
			continue
		}
		out[p] = current(said, nodes)
	}
	return out
}

func epochIn(said map[ring.NodeID]saidCopy) (e ring.Epoch) {
	for _, s := range said {
		e = max(e, s.epoch)
	}
	return e
}

// current leaves what processes have said that are still up.
func current(said map[ring.NodeID]saidCopy, nodes map[ring.NodeID]rebalance.Status) map[ring.NodeID]rebalance.Copy {
	out := map[ring.NodeID]rebalance.Copy{}
	for id, s := range said {
		if n := nodes[id]; n.State == rebalance.Up && n.Boot == s.by.Boot {
			out[id] = rebalance.Copy{
				Epoch: s.Tail.Epoch, Seq: s.Tail.Seq, Incomplete: s.Incomplete, Unclean: s.Unclean,
				Damaged: s.Damaged, Leads: s.Leads,
			}
		}
	}
	return out
}
