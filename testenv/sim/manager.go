package sim

import (
	"slices"

	"github.com/etolabo/kumofs/kumomanager/members"
	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// manager is the managers' log with its leader: the real table and its rules,
// the real judgement of who is alive, and a will that is the product's own
// (planned) or wilder.
type manager struct {
	s       *Sim
	table   *ring.Table
	tables  []*ring.Table   // all there ever were
	history [][]ring.Config // by partition and epoch
	changed []int64         // when each partition was changed last
	moved   []int64         // when its lead moved; 0: never

	// Of the leader.
	roster *members.Roster
	heard  map[ring.Process]int64 // when, even if that process is dead and its heartbeat was late
	term   int
	led    int64 // since when
	quorum bool  // commands can commit
	busy   bool  // one is under way
	wishes []wish
}

// wish is what a primary asks for.
type wish struct {
	from ring.Process
	c    ring.Change
}

func newManager(s *Sim) *manager {
	m := &manager{s: s, changed: make([]int64, s.prof.Partitions), moved: make([]int64, s.prof.Partitions), heard: map[ring.Process]int64{}, quorum: true}
	m.history = make([][]ring.Config, s.prof.Partitions)
	for p := range m.history {
		m.history[p] = []ring.Config{{}}
	}
	m.table = &ring.Table{}
	m.lead()
	m.apply(ring.Command{Init: &ring.Init{Cluster: "sim", ClusterID: 1, Partitions: s.prof.Partitions, Replicas: s.prof.Replicas}})
	s.after(500*ms, m.tick)
	return m
}

// lead begins a term. What is not in the table, its leader learns anew, or has
// heard as one of the others.
func (m *manager) lead() {
	m.term++
	m.led = m.s.now
	m.busy, m.wishes = false, nil
	now := m.s.now + 1
	if m.roster == nil || m.s.chance(0.5) {
		m.roster = members.New(m.s.prof.FailAfter*ms, now)
		m.roster.Know(m.table, now)
	}
	m.roster.Lead(now)
}

// config returns the configuration of an epoch.
func (m *manager) config(p ring.Partition, e ring.Epoch) (ring.Config, bool) {
	if h := m.history[p]; e < ring.Epoch(len(h)) {
		return h[e], true
	}
	return ring.Config{}, false
}

// propose puts a command into the log, one at a time. It takes effect after a
// while, in this term or, if its leader lost its quorum, perhaps in a later.
func (m *manager) propose(c ring.Command) {
	m.busy = true
	term := m.term
	d := m.s.rng.Int64N(3 * ms)
	if !m.s.calm && m.s.chance(0.05) {
		d = m.s.between(0, 500)
	}
	m.s.after(d, func() { m.commit(term, c) })
}

func (m *manager) commit(term int, c ring.Command) {
	switch {
	case !m.quorum:
		if m.s.chance(0.5) { // else it is lost with its leader
			m.s.after(m.s.between(1, 50), func() { m.commit(term, c) })
		}
		return
	case term != m.term && m.s.chance(0.5):
		return
	}
	// A copy may have lost its data meanwhile: no whole one in sync is the
	// operator's business.
	c.Change = slices.DeleteFunc(c.Change, func(c ring.Change) bool { return !m.s.sound(c.Partition, c.ISR) })
	if len(c.Seen)+len(c.Down)+len(c.Change)+len(c.Target) > 0 {
		m.apply(c)
	}
	if term == m.term {
		m.busy = false
	}
}

func (m *manager) apply(c ring.Command) {
	if !m.quorum {
		m.s.fail("the managers change the table without a quorum")
	}
	t, res, err := m.table.Apply(c)
	if err != nil {
		m.s.fail("apply %+v: %v", c, err)
	}
	for _, r := range res.Refused {
		m.s.note("managers refuse a change of p%d: %s", r.Partition, r.Why)
	}
	if t == m.table {
		return
	}
	old := m.table
	m.checkSeen(old, t, c)
	m.table = t
	m.tables = append(m.tables, t)
	m.roster.Know(t, m.s.now+1)
	for _, p := range res.Done {
		now := t.Partitions[p]
		m.history[p] = append(m.history[p], now)
		m.changed[p] = m.s.now
		if before := old.Partitions[p].Primary; before != now.Primary && !before.Zero() {
			m.moved[p] = m.s.now
		}
		m.s.rep.Epochs++
		m.s.note("managers: p%d e%d primary %d/%d isr %v learners %v target %v", p, now.Epoch, now.Primary.Store, now.Primary.Boot, ids(now.ISR), ids(now.Learners), ids(now.Target))
		m.checkChange(p, old, now, c)
		m.s.checkPartition(p, "the managers commit a configuration")
	}
	m.publish()
}

// checkSeen holds rule R13 apart from the table's own code: what a new process says
// of its copies goes where they count as in sync.
func (m *manager) checkSeen(old, now *ring.Table, cmd ring.Command) {
	for _, s := range cmd.Seen {
		if was, known := old.Node(s.ID); !known || was.Boot == s.Boot {
			continue
		}
		m.s.note("managers have seen %s", s.Process())
		for p, c := range now.Partitions {
			if s.Unclean.Has(ring.Partition(p)) && c.HasISR(s.ID) && c.Epoch == old.Partitions[p].Epoch && !slices.Contains(c.Unclean, s.ID) {
				m.s.fail("p%d: node %d said that its copy may lack something, and counts as clean in epoch %d", p, s.ID, c.Epoch)
			}
		}
	}
}

// checkChange holds rule R1 apart from the table's own code, and of R7 and R13
// what a table shows.
func (m *manager) checkChange(p ring.Partition, t *ring.Table, now ring.Config, cmd ring.Command) {
	old := t.Partitions[p]
	i := slices.IndexFunc(cmd.Change, func(c ring.Change) bool { return c.Partition == p && c.Epoch == old.Epoch })
	switch {
	case i < 0 || now.Epoch != old.Epoch+1:
		m.s.fail("p%d goes from epoch %d to %d, which nobody asked for", p, old.Epoch, now.Epoch)
	case !now.HasISR(now.Primary.Store) || len(now.ISR) == 0:
		m.s.fail("p%d: the primary of epoch %d is not in sync", p, now.Epoch)
	case old.Epoch == 0:
		return
	}
	c := cmd.Change[i]
	for _, id := range now.ISR {
		if !old.HasISR(id) && (!old.HasLearner(id) || c.By != old.Primary) {
			m.s.fail("p%d: node %d is in sync at epoch %d, and was not certified", p, id, now.Epoch)
		}
		if n, _ := t.Node(id); !old.HasISR(id) && !slices.ContainsFunc(cmd.Seen, func(s ring.Sighting) bool { return s.ID == id }) && !slices.Contains(c.Joined, n.Process()) {
			m.s.fail("p%d: node %d is in sync at epoch %d, and another process of it was certified: %v", p, id, now.Epoch, c.Joined)
		}
	}
	if !old.HasISR(now.Primary.Store) {
		m.s.fail("p%d: node %d leads epoch %d and was not in sync", p, now.Primary.Store, now.Epoch)
	}
	if slices.Contains(old.Unclean, now.Primary.Store) && !c.Loss {
		m.s.fail("p%d: node %d leads epoch %d and is not clean", p, now.Primary.Store, now.Epoch)
	}
}

// publish sends the ring to everybody, now and then an old one.
func (m *manager) publish() {
	for _, n := range m.s.nodes[min(1, len(m.s.nodes)):] {
		t := m.some()
		m.s.send(0, int(n.id), func() { n.take(update{t}) })
	}
	for _, g := range m.s.gateways {
		t := m.some()
		m.s.trip(func() { g.learn(t) })
	}
}

// some is the newest table, or an older one that was late.
func (m *manager) some() *ring.Table {
	if !m.s.calm && m.s.chance(m.s.prof.Stale) {
		return m.tables[m.s.rng.IntN(len(m.tables))]
	}
	return m.table
}

// hello is a heartbeat.
func (m *manager) hello(p ring.Process, starts int, unclean ring.PartitionSet, stopping bool) {
	name := "n" + p.Store.String()
	m.heard[p] = m.s.now
	m.roster.Hear(subjects.Heartbeat{
		Role: subjects.RoleServer, ID: p.Store, Boot: p.Boot, Starts: uint64(starts), Node: name, Addr: name, Unclean: unclean, Stopping: stopping,
	}, m.s.now+1)
}

// hears reports whether managers cannot know yet that a process is dead.
func (m *manager) hears(p ring.Process) bool {
	at, ok := m.heard[p]
	return ok && m.s.now-at < m.s.prof.FailAfter*ms
}

// tick is a round of the leader: one command with all that is to be done.
func (m *manager) tick() {
	m.s.after(m.s.between(30, 80), m.tick)
	if !m.quorum {
		return
	}
	if m.s.prof.PlainReads {
		for _, n := range m.s.nodes[1:] { // nobody is taken for dead who is not
			if n.up {
				m.hello(n.process(), n.life, n.unclean, n.stopping)
			}
		}
	}
	m.roster.Tick(m.s.now + 1)
	if m.s.prof.Planned {
		m.roster.LetGo(m.table, m.s.now+1)
	} else {
		for _, id := range m.roster.Stopping() { // at once, which is safe too
			m.roster.Left(id, m.s.now+1)
		}
	}
	m.refuse()
	if m.s.chance(0.3) {
		m.publish()
	}
	if m.busy {
		return
	}
	var cmd ring.Command
	cmd.Seen, cmd.Down = m.roster.Changes(m.table)
	t := m.table
	if len(cmd.Seen)+len(cmd.Down) > 0 {
		if len(cmd.Down) > 0 {
			m.s.note("managers take %v for dead", cmd.Down)
		}
		t, _, _ = t.Apply(cmd)
	}
	if m.s.prof.Planned {
		m.plan(t, &cmd)
	} else {
		m.will(t, &cmd)
	}
	if !m.s.calm && m.s.chance(m.s.prof.Rogue) {
		cmd.Change = []ring.Change{m.rogue(t)}
	}
	if len(cmd.Seen)+len(cmd.Down)+len(cmd.Change)+len(cmd.Target) > 0 {
		m.propose(cmd)
	}
}

// refuse checks whom the managers take for the copy of a store: nobody is.
func (m *manager) refuse() {
	for _, e := range m.roster.TakeNotes() {
		if p := e.Process; !p.Zero() && m.s.nodes[p.Store].up && m.s.nodes[p.Store].process() == p {
			m.s.fail("the managers tell %s to end, which is the only process of its store", p)
		}
	}
}

// plan adds what the product's managers would.
func (m *manager) plan(t *ring.Table, cmd *ring.Command) {
	for p := range t.Partitions {
		if len(t.Partitions[p].Target) == 0 {
			m.retarget(ring.Partition(p))
			break
		}
	}
	taken := map[ring.Partition]bool{}
	add := func(c ring.Change) {
		// No whole copy in sync is the operator's business.
		if !taken[c.Partition] && m.s.sound(c.Partition, c.ISR) {
			taken[c.Partition] = true
			cmd.Change = append(cmd.Change, c)
		}
	}
	for _, w := range m.wishes {
		c, why := rebalance.Judge(m.view(t), w.from, w.c)
		if why != "" {
			m.s.note("managers refuse a wish for p%d: %s", c.Partition, why)
			continue
		}
		m.checkJudged(t, w, c)
		add(c)
	}
	m.wishes = nil
	for _, c := range rebalance.Reconcile(m.view(t)).Changes {
		add(c)
	}
}

// checkJudged holds rule R7: a primary is not left alone while the others are
// heard, unless two said so, or the others themselves.
func (m *manager) checkJudged(t *ring.Table, w wish, c ring.Change) {
	old := t.Partitions[c.Partition]
	if len(c.ISR) > 1 || c.Primary != w.from || len(old.ISR) == 1 || old.Disputed {
		return
	}
	for _, id := range old.ISR {
		if w.c.Told && m.s.nodes[id].parts[c.Partition].damaged() {
			continue
		}
		if n, _ := t.Node(id); n.Up && !slices.Contains(c.ISR, id) && !slices.Contains(old.Unclean, id) && m.roster.UpFor(id, m.s.now+1) > 0 {
			m.s.fail("p%d: %s is left alone at its word while node %d is heard", c.Partition, w.from, id)
		}
	}
}

func (m *manager) view(t *ring.Table) rebalance.View {
	v := rebalance.View{Table: t, Nodes: m.roster.Status(m.s.now + 1), Learners: 2, Shifts: 1, Moved: map[ring.Partition]bool{}}
	for p, at := range m.moved {
		v.Moved[ring.Partition(p)] = at > 0 && m.s.now-at < 500*ms
	}
	return v
}

// asked takes a primary's wish.
func (m *manager) asked(from ring.Process, c ring.Change) {
	if m.quorum && len(m.wishes) < 100 {
		m.wishes = append(m.wishes, wish{from, c})
	}
}
