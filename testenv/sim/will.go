package sim

import (
	"slices"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects/ring"
)

// will adds what managers might want who keep to the table's rules and have no
// plan: any primary, any copies, dead members left in for a while.
func (m *manager) will(t *ring.Table, cmd *ring.Command) {
	up := func(id ring.NodeID) bool {
		n, ok := t.Node(id)
		return ok && n.Up
	}
	taken := map[ring.Partition]bool{}
	add := func(c ring.Change) {
		if !taken[c.Partition] && m.s.sound(c.Partition, c.ISR) {
			taken[c.Partition] = true
			cmd.Change = append(cmd.Change, c)
		}
	}
	for _, w := range m.wishes {
		if old := t.Partitions[w.c.Partition]; w.c.Epoch == old.Epoch {
			add(m.instead(t, old, w.c, up))
		}
	}
	m.wishes = nil
	for p := range t.Partitions {
		if c, ok := m.want(t, ring.Partition(p), up); ok {
			add(c)
		}
	}
}

// instead moves the lead, half of the time, where a primary asks to be alone: it
// may be the one who is cut off.
func (m *manager) instead(t *ring.Table, old ring.Config, c ring.Change, up func(ring.NodeID) bool) ring.Change {
	if len(c.ISR) > 1 || len(old.ISR) == 1 || m.s.prof.PlainReads || m.s.chance(0.5) {
		return c
	}
	for _, id := range old.ISR {
		if up(id) && id != old.Primary.Store && !slices.Contains(old.Unclean, id) {
			n, _ := t.Node(id)
			rest := slices.DeleteFunc(slices.Clone(old.ISR), func(x ring.NodeID) bool { return x == old.Primary.Store })
			return ring.Change{Partition: c.Partition, Epoch: c.Epoch, Primary: n.Process(), ISR: rest, Reason: "the primary moves instead"}
		}
	}
	return c
}

// want is what the managers want to change by themselves.
func (m *manager) want(t *ring.Table, p ring.Partition, up func(ring.NodeID) bool) (c ring.Change, ok bool) {
	old := t.Partitions[p]
	if old.Epoch == 0 {
		return m.place(t, p, up)
	}
	c = ring.Change{Partition: p, Epoch: old.Epoch, Primary: old.Primary, ISR: old.ISR}
	for _, id := range old.Target {
		if up(id) && !old.HasISR(id) {
			c.Learners = append(c.Learners, id)
		}
	}
	switch {
	case !t.Alive(old.Primary):
		return m.failOver(t, c, old, up)
	case m.s.now-m.changed[p] < 150*ms:
		return c, false
	case !sameSet(c.Learners, old.Learners):
		return c, true
	case len(c.Learners) > 0 || slices.ContainsFunc(old.Target, func(id ring.NodeID) bool { return !old.HasISR(id) }):
		return c, false // first the copies, then the surplus
	}
	return m.surplus(t, c, old, up)
}

// place makes the first configuration.
func (m *manager) place(t *ring.Table, p ring.Partition, up func(ring.NodeID) bool) (c ring.Change, ok bool) {
	target := t.Partitions[p].Target
	if len(target) == 0 {
		m.retarget(p)
		return c, false
	}
	if slices.ContainsFunc(target, func(id ring.NodeID) bool { return !up(id) }) {
		return c, false
	}
	n, _ := t.Node(target[0])
	return ring.Change{Partition: p, Primary: n.Process(), ISR: target}, true
}

// failOver makes another in-sync replica primary. Who is down is left out, most
// of the time at once.
func (m *manager) failOver(t *ring.Table, c ring.Change, old ring.Config, up func(ring.NodeID) bool) (ring.Change, bool) {
	var able []ring.NodeID
	for _, id := range old.ISR {
		if up(id) && !slices.Contains(old.Unclean, id) {
			able = append(able, id)
		}
	}
	if len(able) == 0 {
		return c, false
	}
	n, _ := t.Node(able[m.s.rng.IntN(len(able))])
	c.Primary = n.Process()
	if m.s.chance(0.8) {
		c.ISR = able
	}
	c.Learners = slices.DeleteFunc(c.Learners, func(id ring.NodeID) bool { return slices.Contains(c.ISR, id) })
	return c, true
}

// surplus takes out who is not wanted any more, the primary through another.
func (m *manager) surplus(t *ring.Table, c ring.Change, old ring.Config, up func(ring.NodeID) bool) (ring.Change, bool) {
	for _, id := range old.ISR {
		if slices.Contains(old.Target, id) {
			continue
		}
		if id != old.Primary.Store {
			c.ISR = slices.DeleteFunc(slices.Clone(old.ISR), func(x ring.NodeID) bool { return x == id })
			return c, true
		}
		to := old.Target[m.s.rng.IntN(len(old.Target))]
		if !up(to) || slices.Contains(old.Unclean, to) {
			return c, false
		}
		n, _ := t.Node(to)
		c.Primary = n.Process()
		return c, true
	}
	return c, false
}

// retarget wishes for other places.
func (m *manager) retarget(p ring.Partition) {
	known := slices.Clone(m.table.Nodes)
	if len(known) < m.s.prof.Replicas || !m.quorum {
		return
	}
	m.s.rng.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	if m.s.prof.Planned {
		m.replan(known)
		return
	}
	var to []ring.NodeID
	for _, n := range known[:m.s.prof.Replicas] {
		to = append(to, n.ID)
	}
	m.s.note("managers want p%d at %v", p, ids(to))
	m.apply(ring.Command{Target: []ring.Target{{Partition: p, Nodes: to}}})
}

// replan attaches some of the nodes, in this order, and places all partitions on
// them.
func (m *manager) replan(nodes []ring.Node) {
	n := m.s.prof.Replicas + m.s.rng.IntN(len(nodes)-m.s.prof.Replicas+1)
	var servers []rebalance.Server
	for _, n := range nodes[:n] {
		servers = append(servers, rebalance.Server{ID: n.ID})
	}
	if wishes := rebalance.Targets(m.table, servers); len(wishes) > 0 {
		for _, w := range wishes {
			m.s.note("managers want p%d at %v", w.Partition, ids(w.Nodes))
		}
		m.apply(ring.Command{Target: wishes})
	}
}

// rogue is any change of any partition, which the table's rules may refuse.
func (m *manager) rogue(t *ring.Table) ring.Change {
	rng := m.s.rng
	p := ring.Partition(rng.IntN(t.Size()))
	old := t.Partitions[p]
	c := ring.Change{Partition: p, Epoch: old.Epoch, Primary: old.Primary, ISR: slices.Clone(old.ISR), Learners: old.Learners}
	if old.Epoch == 0 {
		c.Epoch = 1
		return c
	}
	for _, n := range t.Nodes { // what is refused is refused for another reason
		c.Joined = append(c.Joined, n.Process())
	}
	any := func() ring.NodeID { return t.Nodes[rng.IntN(len(t.Nodes))].ID }
	switch rng.IntN(7) {
	case 0:
		c.Epoch = ring.Epoch(rng.Int64N(int64(old.Epoch) + 2))
	case 1:
		n, _ := t.Node(any())
		c.Primary = n.Process()
		if !slices.Contains(c.ISR, n.ID) {
			c.ISR = append(c.ISR, n.ID)
			c.Learners = nil
		}
	case 2:
		if id := any(); !slices.Contains(c.ISR, id) {
			c.ISR, c.Learners = append(c.ISR, id), nil
		}
	case 3:
		n, _ := t.Node(any())
		c.Primary = n.Process()
	case 4:
		c.ISR = append([]ring.NodeID{}, old.Learners...)
	case 5: // the primary leaves and leads
		c.ISR = slices.DeleteFunc(c.ISR, func(id ring.NodeID) bool { return id == c.Primary.Store })
	case 6: // a learner is certified and leads at once
		if len(old.Learners) > 0 {
			n, _ := t.Node(old.Learners[0])
			c.Primary, c.By, c.Joined = n.Process(), old.Primary, []ring.Process{n.Process()}
			c.ISR, c.Learners = append(c.ISR, n.ID), nil
		}
	}
	return c
}
