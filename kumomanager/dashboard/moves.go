package dashboard

import (
	"slices"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Moves is how far the copies are that have been made since all were last where
// they should be.
type Moves struct {
	Done    int `json:"done"`    // copies that have come in sync
	Pending int `json:"pending"` // copies to go, to servers that are up
	Active  int `json:"active"`  // of those, under way
	Waiting int `json:"waiting"` // copies for whose servers the cluster waits
	// Took is how long it has been going on or, if nothing is pending, took,
	// milliseconds; Left is an estimate of how long it will, 0: not known.
	Took    int64  `json:"took_ms,omitempty"`
	Left    int64  `json:"left_ms,omitempty"`
	Bytes   int64  `json:"bytes,omitempty"` // still to be sent, about
	Servers []Move `json:"servers"`         // to which copies go
}

// estimate takes what the leader reckons by bytes, where it does: copies may
// differ in size.
func (m *Moves) estimate(of subjects.Moves) {
	if m.Pending == 0 {
		return
	}
	if m.Bytes = of.Bytes; of.Left > 0 {
		m.Left = of.Left * 1000
	}
}

// Move is how far the copies to one server are.
type Move struct {
	Addr    string `json:"addr"`
	Done    int    `json:"done"`
	Pending int    `json:"pending"`
	Active  int    `json:"active"`
}

// paceOver is over how much time the pace of moves is looked at.
const paceOver = 20 * time.Second

// mover follows moves through tables.
type mover struct {
	Moves
	began, ended time.Time
	to           map[ring.NodeID]*Move
	samples      []pace // the oldest first
}

type pace struct {
	at   time.Time
	done int
}

// look takes a new table.
func (m *mover) look(t *ring.Table, now time.Time) {
	if t == nil {
		return
	}
	waiting, active := 0, 0
	pending := map[ring.NodeID]int{}
	learns := map[ring.NodeID]int{}
	for i := range t.Partitions {
		c := &t.Partitions[i]
		for _, id := range c.Learners {
			learns[id]++
			active++
		}
		for _, id := range c.Target {
			if c.Epoch == 0 || c.HasISR(id) {
				continue
			}
			if n, _ := t.Node(id); n.Up {
				pending[id]++
			} else {
				waiting++
			}
		}
	}
	if m.Pending == 0 && len(pending) > 0 {
		*m = mover{began: now, to: map[ring.NodeID]*Move{}}
	}
	for _, n := range t.Nodes {
		if m.to[n.ID] == nil && pending[n.ID] > 0 {
			m.to[n.ID] = &Move{Addr: clip(n.Addr)}
		}
		if to := m.to[n.ID]; to != nil {
			to.Done += max(0, to.Pending-pending[n.ID])
			to.Pending, to.Active = pending[n.ID], learns[n.ID]
		}
	}
	m.sum()
	m.Waiting, m.Active = waiting, active
	if m.Pending == 0 && m.ended.IsZero() {
		m.ended = now
	}
	m.samples = append(m.samples, pace{now, m.Done})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) > paceOver {
		m.samples = m.samples[1:]
	}
	if len(m.samples) > maxPaces {
		m.samples = append([]pace{m.samples[0]}, m.samples[len(m.samples)-maxPaces/2:]...)
	}
}

// maxPaces bounds the samples that are kept.
const maxPaces = 400

func (m *mover) sum() {
	m.Done, m.Pending = 0, 0
	for _, to := range m.to {
		m.Done += to.Done
		m.Pending += to.Pending
	}
}

// view is what is shown.
func (m *mover) view(now time.Time) Moves {
	v := m.Moves
	v.Servers = []Move{}
	if m.began.IsZero() {
		return v
	}
	for _, to := range m.to {
		v.Servers = append(v.Servers, *to)
	}
	slices.SortFunc(v.Servers, func(a, b Move) int { return compareAddr(a.Addr, b.Addr) })
	v.Servers = v.Servers[:min(len(v.Servers), maxNodes)]
	if v.Pending == 0 {
		v.Took = m.ended.Sub(m.began).Milliseconds()
		return v
	}
	v.Took = now.Sub(m.began).Milliseconds()
	if len(m.samples) > 0 {
		first := m.samples[0]
		if made, over := m.Done-first.done, now.Sub(first.at); made > 0 {
			v.Left = (over * time.Duration(v.Pending) / time.Duration(made)).Milliseconds()
		}
	}
	return v
}
