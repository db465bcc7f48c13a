package kumomanager

import (
	"slices"
	"time"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// countMoves counts what is not where it should be.
func countMoves(t *ring.Table) (m subjects.Moves) {
	for _, p := range t.Partitions {
		m.Active += len(p.Learners)
		if p.Epoch == 0 || len(p.Target) == 0 {
			continue
		}
		var of subjects.Moves
		held := false
		for _, id := range p.Target {
			n, _ := t.Node(id)
			held = held || !n.Up
			if !p.HasISR(id) {
				of.Pending++
			}
		}
		for _, id := range p.ISR {
			if !slices.Contains(p.Target, id) {
				of.Surplus++
			}
		}
		if p.Primary.Store != p.Target[0] {
			of.Leads++
		}
		m.Pending, m.Surplus, m.Leads = m.Pending+of.Pending, m.Surplus+of.Surplus, m.Leads+of.Leads
		if held {
			all := of.Pending + of.Surplus + of.Leads
			m.Held += all
			m.HeldPartitions += min(all, 1)
		}
	}
	return m
}

// overlay is the table with wishes that are not in it yet.
func overlay(t *ring.Table, plan []ring.Target) *ring.Table {
	if len(plan) == 0 {
		return t
	}
	n := *t
	n.Partitions = slices.Clone(t.Partitions)
	for _, w := range plan {
		n.Partitions[w.Partition].Target = w.Nodes
	}
	return &n
}

// moves tells how far the moves are.
func (c *core) moveStatus(t *ring.Table) subjects.Moves {
	m := countMoves(overlay(t, c.plan))
	said := map[ring.NodeID]map[ring.Partition]int64{}
	var items, copies, stored int64
	for _, n := range t.Nodes {
		s, ok := c.members.Server(n.ID)
		if !ok || s.State != rebalance.Up {
			continue
		}
		items += int64(s.Load.Items)
		stored += int64(s.Load.Bytes - min(s.Load.Bytes, s.Load.LogBytes))
		copies += int64(s.Load.Replicas)
		said[n.ID] = map[ring.Partition]int64{}
		for _, mv := range s.Moving {
			said[n.ID][mv.Partition] = mv.Items
		}
	}
	for p, cfg := range t.Partitions {
		for _, id := range cfg.Learners {
			of, known := said[cfg.Primary.Store][ring.Partition(p)]
			if !known && copies > 0 {
				of = items / copies
			}
			has := min(said[id][ring.Partition(p)], of)
			m.Items += of - has
			if len(m.Copies) < subjects.MaxMoving {
				m.Copies = append(m.Copies, subjects.Move{
					Partition: ring.Partition(p), From: nodeNamed(t, cfg.Primary.Store), To: nodeNamed(t, id), Items: has, Of: of,
				})
			}
		}
	}
	if waiting := int64(max(0, m.Pending-m.Active)); copies > 0 {
		m.Items += waiting * items / copies
	}
	m.Sent, m.Rate = c.pace.total, c.pace.rate()
	switch size := c.pace.perItem(); {
	case size > 0:
		m.Bytes = int64(float64(m.Items) * size)
	case items > 0: // nothing was sent yet: what the files take
		m.Bytes = int64(float64(m.Items) * float64(stored) / float64(items))
	}
	if m.Rate > 0 && !t.Paused && !m.Settled() { // or all that is left waits for servers that are down
		m.Left = m.Bytes/m.Rate + 1
	}
	return m
}

func nodeNamed(t *ring.Table, id ring.NodeID) string {
	if n, ok := t.Node(id); ok {
		return n.Name
	}
	return id.String()
}

const (
	paceEvery   = time.Second
	paceSamples = 10
)

// pace is how fast the servers send copies, since this manager leads.
type pace struct {
	at      time.Time
	seen    map[ring.Process]sent
	total   uint64 // bytes
	items   uint64
	samples []paceSample // the last of them, oldest first
}

type sent struct{ bytes, items uint64 }

type paceSample struct {
	at    time.Time
	total uint64
}

// look takes what the servers say that they have sent.
func (p *pace) look(t *ring.Table, c *core, now time.Time) {
	if now.Sub(p.at) < paceEvery {
		return
	}
	p.at = now
	seen := make(map[ring.Process]sent, len(t.Nodes))
	for _, n := range t.Nodes {
		m, ok := c.members.Server(n.ID)
		if !ok || m.Heard == 0 {
			continue
		}
		id, is := ring.Process{Store: n.ID, Boot: m.Heartbeat.Boot}, sent{m.Load.MovedBytes, m.Load.MovedItems}
		if was, known := p.seen[id]; known && is.bytes >= was.bytes && is.items >= was.items {
			p.total += is.bytes - was.bytes
			p.items += is.items - was.items
		}
		seen[id] = is
	}
	p.seen = seen
	if len(p.samples) > paceSamples {
		p.samples = slices.Delete(p.samples, 0, 1)
	}
	p.samples = append(p.samples, paceSample{now, p.total})
}

// rate is bytes a second, 0 if it is not known.
func (p *pace) rate() int64 {
	if len(p.samples) < 2 {
		return 0
	}
	first, last := p.samples[0], p.samples[len(p.samples)-1]
	return int64(float64(last.total-first.total) / last.at.Sub(first.at).Seconds())
}

// perItem is the bytes of a key with its value, 0 if nothing was sent.
func (p *pace) perItem() float64 {
	if p.items == 0 {
		return 0
	}
	return float64(p.total) / float64(p.items)
}
