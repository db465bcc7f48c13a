package sim

import (
	"slices"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects/ring"
)

// manager is the leader of the managers with a log that never fails: the real
// table and its rules, with a simple will.
type manager struct {
	s       *Sim
	table   *ring.Table
	heard   []int64         // when each node was heard last
	history [][]ring.Config // by partition and epoch
	changed []int64         // when each partition was changed last
}

func newManager(s *Sim) *manager {
	m := &manager{s: s, heard: make([]int64, s.prof.Nodes+1), changed: make([]int64, s.prof.Partitions)}
	m.history = make([][]ring.Config, s.prof.Partitions)
	for p := range m.history {
		m.history[p] = []ring.Config{{}}
	}
	m.table = &ring.Table{}
	m.apply(ring.Command{Init: &ring.Init{Cluster: "sim", ClusterID: 1, Partitions: s.prof.Partitions, Replicas: s.prof.Replicas}})
	s.after(500*ms, m.tick)
	return m
}

// config returns the configuration of an epoch.
func (m *manager) config(p ring.Partition, e ring.Epoch) (ring.Config, bool) {
	if h := m.history[p]; e < ring.Epoch(len(h)) {
		return h[e], true
	}
	return ring.Config{}, false
}

func (m *manager) apply(c ring.Command) bool {
	t, res, err := m.table.Apply(c)
	if err != nil {
		m.s.fail("apply %+v: %v", c, err)
	}
	for _, r := range res.Refused {
		m.s.note("managers refuse a change of p%d: %s", r.Partition, r.Why)
	}
	same := t == m.table
	m.table = t
	for _, p := range res.Done {
		now := t.Partitions[p]
		m.history[p] = append(m.history[p], now)
		m.changed[p] = m.s.now
		m.s.rep.Epochs++
		m.s.note("managers: p%d e%d primary %d/%d isr %v learners %v target %v", p, now.Epoch, now.Primary.Store, now.Primary.Boot, ids(now.ISR), ids(now.Learners), ids(now.Target))
		m.s.checkPartition(p, "the managers commit a configuration")
	}
	if !same {
		m.publish()
	}
	return len(res.Refused) == 0
}

func (m *manager) publish() {
	t := m.table
	for _, n := range m.s.nodes {
		if n != nil {
			m.s.send(0, int(n.id), func() { n.take(update{t}) })
		}
	}
}

// hello is a heartbeat.
func (m *manager) hello(p ring.Process, unclean bool) {
	n, known := m.table.Node(p.Store)
	if known && n.Boot > p.Boot {
		return
	}
	m.heard[p.Store] = m.s.now
	if !known || n.Boot != p.Boot || !n.Up {
		name := "n" + p.Store.String()
		m.apply(ring.Command{Seen: []ring.Node{{ID: p.Store, Boot: p.Boot, Name: name, Addr: name, Unclean: unclean}}})
	}
}

func (m *manager) tick() {
	var down []ring.Process
	for _, n := range m.table.Nodes {
		p := m.s.nodes[n.ID]
		if m.s.prof.PlainReads && p.up && p.boot == n.Boot {
			m.heard[n.ID] = m.s.now // nobody is taken for dead who is not
		}
		if n.Up && m.s.now-m.heard[n.ID] > 450*ms {
			down = append(down, n.Process())
		}
	}
	if len(down) > 0 {
		m.s.note("managers take %v for dead", down)
		m.apply(ring.Command{Down: down})
	}
	m.reconcile()
	if m.s.chance(0.3) {
		m.publish()
	}
	m.s.after(m.s.between(30, 80), m.tick)
}

// reconcile changes what the managers want to change by themselves.
func (m *manager) reconcile() {
	if m.s.prof.Planned {
		for p := range m.table.Partitions {
			if len(m.table.Partitions[p].Target) == 0 {
				m.retarget(ring.Partition(p))
			}
		}
		for _, c := range rebalance.Reconcile(m.view()).Changes {
			m.change(c)
		}
		return
	}
	for p := range m.table.Partitions {
		if c, ok := m.want(ring.Partition(p)); ok {
			m.change(c)
		}
	}
}

func (m *manager) view() rebalance.View {
	v := rebalance.View{Table: m.table, Nodes: map[ring.NodeID]rebalance.Status{}, Learners: 2, Shifts: 1}
	for _, n := range m.table.Nodes {
		st := rebalance.Status{State: rebalance.Down, Boot: n.Boot}
		if n.Up {
			st.State = rebalance.Up
		}
		v.Nodes[n.ID] = st
	}
	return v
}

// change makes a change unless no whole copy would be left in sync, which is
// the operator's business.
func (m *manager) change(c ring.Change) {
	if m.s.sound(c.Partition, c.ISR) {
		m.apply(ring.Command{Change: []ring.Change{c}})
	}
}

// asked takes a primary's wish.
func (m *manager) asked(c ring.Change) {
	old := m.table.Partitions[c.Partition]
	if c.Epoch != old.Epoch {
		return
	}
	if c.Primary.Boot == 0 {
		n, _ := m.table.Node(c.Primary.Store)
		c.Primary = n.Process()
	}
	if m.s.prof.Planned {
		c, why := rebalance.Judge(m.view(), c.By, c)
		if why != "" {
			m.s.note("managers refuse a wish for p%d: %s", c.Partition, why)
			return
		}
		m.change(c)
		return
	}
	if len(c.ISR) == 1 && len(old.ISR) > 1 && !m.s.prof.PlainReads && m.s.chance(0.5) {
		// Whoever asks to be alone may be the one who is cut off.
		for _, id := range old.ISR {
			if n, _ := m.table.Node(id); n.Up && id != old.Primary.Store && !slices.Contains(old.Unclean, id) {
				rest := slices.DeleteFunc(slices.Clone(old.ISR), func(x ring.NodeID) bool { return x == old.Primary.Store })
				m.change(ring.Change{Partition: c.Partition, Epoch: c.Epoch, Primary: n.Process(), ISR: rest, Reason: "the primary moves instead"})
				return
			}
		}
	}
	m.change(c)
}

// want is what the managers want to change by themselves.
func (m *manager) want(p ring.Partition) (c ring.Change, ok bool) {
	old := m.table.Partitions[p]
	up := func(id ring.NodeID) bool {
		n, ok := m.table.Node(id)
		return ok && n.Up
	}
	if old.Epoch == 0 {
		return m.place(p, up)
	}
	c = ring.Change{Partition: p, Epoch: old.Epoch, Primary: old.Primary, ISR: old.ISR}
	dead := !m.table.Alive(old.Primary)
	for _, id := range old.Target {
		if up(id) && !old.HasISR(id) {
			c.Learners = append(c.Learners, id)
		}
	}
	switch {
	case dead:
		return m.failOver(c, old, up)
	case m.s.now-m.changed[p] < 150*ms:
		return c, false
	case !sameSet(c.Learners, old.Learners):
		return c, true
	case len(c.Learners) > 0 || slices.ContainsFunc(old.Target, func(id ring.NodeID) bool { return !old.HasISR(id) }):
		return c, false // first the copies, then the surplus
	}
	return m.surplus(c, old, up)
}

// place makes the first configuration.
func (m *manager) place(p ring.Partition, up func(ring.NodeID) bool) (c ring.Change, ok bool) {
	target := m.table.Partitions[p].Target
	if len(target) == 0 {
		m.retarget(p)
		target = m.table.Partitions[p].Target
	}
	if len(target) == 0 || slices.ContainsFunc(target, func(id ring.NodeID) bool { return !up(id) }) {
		return c, false
	}
	n, _ := m.table.Node(target[0])
	return ring.Change{Partition: p, Primary: n.Process(), ISR: target}, true
}

// failOver makes another in-sync replica primary. Who is down is left out, most
// of the time at once.
func (m *manager) failOver(c ring.Change, old ring.Config, up func(ring.NodeID) bool) (ring.Change, bool) {
	var able []ring.NodeID
	for _, id := range old.ISR {
		if up(id) && !slices.Contains(old.Unclean, id) {
			able = append(able, id)
		}
	}
	if len(able) == 0 {
		return c, false
	}
	n, _ := m.table.Node(able[m.s.rng.IntN(len(able))])
	c.Primary = n.Process()
	if m.s.chance(0.8) {
		c.ISR = able
	}
	c.Learners = slices.DeleteFunc(c.Learners, func(id ring.NodeID) bool { return slices.Contains(c.ISR, id) })
	return c, true
}

// surplus takes out who is not wanted any more, the primary through another.
func (m *manager) surplus(c ring.Change, old ring.Config, up func(ring.NodeID) bool) (ring.Change, bool) {
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
		n, _ := m.table.Node(to)
		c.Primary = n.Process()
		return c, true
	}
	return c, false
}

// retarget wishes for other places.
func (m *manager) retarget(p ring.Partition) {
	known := slices.Clone(m.table.Nodes)
	if len(known) < m.s.prof.Replicas {
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
