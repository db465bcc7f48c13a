package sim

import (
	"fmt"
	"slices"

	"github.com/etolabo/kumofs/subjects/ring"
)

// send carries something from one place to another, or not, or twice, or late.
func (s *Sim) send(from, to int, arrive func()) {
	if s.cuts[from][to] > 0 || !s.calm && s.chance(s.prof.Loss) {
		return
	}
	if s.prof.Ghosts > 0 && !s.calm {
		if len(s.sent[from]) == ghostsMost {
			s.sent[from] = append(s.sent[from][:0], s.sent[from][ghostsMost/2:]...)
		}
		s.sent[from] = append(s.sent[from], letter{to, s.now, arrive})
	}
	copies := 1
	if !s.calm && s.chance(s.prof.Dup) {
		copies = 2
	}
	for range copies {
		d := s.rng.Int64N(ms) + ms/20
		if !s.calm && s.chance(s.prof.Slow) {
			d += s.rng.Int64N(s.prof.SlowMax * ms)
		}
		s.after(d, func() {
			if s.cuts[from][to] == 0 {
				arrive()
			}
		})
	}
}

func (n *node) heartbeat() {
	if n.paused > n.s.now {
		return
	}
	p, starts, unclean, stopping := n.process(), n.life, n.unclean, n.stopping
	n.s.send(int(n.id), 0, func() { n.s.mgr.hello(p, starts, unclean, stopping) })
	n.unclean = n.doubtful() // the server looks as often as it speaks
}

// troubles plans what goes wrong.
func (s *Sim) troubles() {
	p := &s.prof
	s.sometimes(p.CrashEvery, s.crashOne)
	s.sometimes(p.PairEvery, s.crashPair)
	s.sometimes(p.RestartEvery, s.restartAll)
	s.sometimes(p.StopEvery, s.stopOne)
	s.sometimes(p.CutEvery, s.cutSome)
	s.sometimes(p.FlapEvery, s.flap)
	s.sometimes(p.PauseEvery, s.pauseOne)
	s.sometimes(p.AmbushEvery, s.ambush)
	s.sometimes(p.TrimEvery, s.trimOne)
	s.sometimes(p.JumpEvery, s.jump)
	s.sometimes(p.GatewayEvery, s.troubleGateway)
	s.sometimes(p.QuorumEvery, s.troubleManagers)
	s.sometimes(p.MoveEvery, func() {
		for p := range s.mgr.table.Partitions {
			if s.chance(0.5) {
				s.mgr.retarget(ring.Partition(p))
			}
		}
	})
}

// sometimes does something about every so many milliseconds.
func (s *Sim) sometimes(every int64, do func()) {
	if every == 0 {
		return
	}
	var again func()
	again = func() {
		if !s.calm {
			do()
			s.after(s.between(every/4, every*2), again)
		}
	}
	s.after(s.between(1500, 1500+every), again)
}

func (s *Sim) one() *node { return s.nodes[1+s.rng.IntN(len(s.nodes)-1)] }

func (s *Sim) crashOne() {
	if n := s.one(); n.up {
		s.crash(n, pick[int64](s.rng, 100, 1000, 3000))
	}
}

// crash ends a node's process, perhaps with its machine, and begins another
// after at most so many milliseconds.
func (s *Sim) crash(n *node, most int64) {
	machine := s.chance(s.prof.Machine)
	if machine && s.prof.Sync != syncAlways && !s.mayHurt(n) {
		machine = false // more at once could lose what was acknowledged, and may
	}
	n.crash(machine)
	s.haunt(n, s.between(20, most))
}

// letter is something that was sent.
type letter struct {
	to     int
	at     int64
	arrive func()
}

// A message that arrives once more after its process has ended is so old at most,
// and is one of the last so many.
const (
	ghostAge   = 400 * ms
	ghostsMost = 256
)

// haunt begins a node's next process after a while. Some of the last words of the
// process before arrive once more when this one has been heard.
func (s *Sim) haunt(n *node, d int64) {
	s.after(d, n.start)
	words := s.sent[n.id]
	s.sent[n.id] = nil
	if !s.chance(s.prof.Ghosts) {
		return
	}
	for _, w := range words {
		if s.now-w.at <= ghostAge && s.chance(0.5) {
			s.after(d+s.between(1, 300), func() {
				if s.cuts[n.id][w.to] == 0 {
					w.arrive()
				}
			})
		}
	}
}

// crashPair kills two copies of a partition, at once or one after the other, and
// leaves them dead for a while.
func (s *Sim) crashPair() {
	isr := slices.Clone(s.mgr.table.Partitions[s.rng.IntN(s.prof.Partitions)].ISR)
	s.rng.Shuffle(len(isr), func(i, j int) { isr[i], isr[j] = isr[j], isr[i] })
	apart := pick[int64](s.rng, 0, 0, 300, 1000)
	for i, id := range isr[:min(2, len(isr))] {
		n := s.nodes[id]
		s.after(int64(i)*apart*ms, func() {
			if n.up && !s.calm {
				s.crash(n, 3000)
			}
		})
	}
}

// restartAll kills everybody at once.
func (s *Sim) restartAll() {
	s.note("everybody crashes")
	most := pick[int64](s.rng, 50, 1500)
	for _, n := range s.nodes[1:] {
		if n.up {
			s.crash(n, most)
		}
	}
	if s.chance(0.5) {
		s.mgr.newTerm(s.between(50, 500))
	}
}

// prove tells others that a process is gone, some of them.
func (s *Sim) prove(n *node, p ring.Process) {
	for to := range s.nodes {
		if to == int(n.id) || !s.chance(s.prof.Proof) {
			continue
		}
		s.after(s.between(1, 40), func() {
			if to == 0 {
				s.mgr.roster.Ended(p, s.now+1)
			} else {
				s.nodes[to].take(died{p})
			}
		})
	}
}

// stopOne tells a process to stop: it says so, and ends once it holds nothing
// that another could hold instead.
func (s *Sim) stopOne() {
	n := s.one()
	if !n.up || n.stopping {
		return
	}
	s.note("node %d is told to stop", n.id)
	n.stopping = true
	n.heartbeat()
	life, deadline := n.life, s.now+2500*ms
	var look func()
	look = func() {
		switch {
		case n.life != life:
		case n.needed() && s.now < deadline:
			s.after(20*ms, look)
		default:
			if !n.leads() {
				s.rep.Drained++
			} else if s.prof.Still && s.prof.Planned && s.mgr.quorum && s.now-s.mgr.led > 2000*ms {
				// Managers that do as they will may let a process go too early.
				s.fail("nothing is wrong but the managers, who had a leader for 2 s, and node %d leads still after it was told to stop", n.id)
			}
			s.note("node %d stops", n.id)
			n.persist(n.journal.end())
			n.crash(false)
			s.after(s.between(20, 1000), n.start)
		}
	}
	s.after(20*ms, look)
}

// leads reports whether the node's ring says that it leads something that
// another in sync could.
func (n *node) leads() bool {
	return n.counted(func(c *ring.Config) bool { return c.Primary == n.process() })
}

// needed reports whether the node's ring still counts on it for anything of
// which there is another copy in sync.
func (n *node) needed() bool {
	return n.counted(func(c *ring.Config) bool { return c.HasISR(n.id) }) && n.table.Alive(n.process())
}

// counted reports whether a partition fits of which another copy in sync is up.
func (n *node) counted(fits func(*ring.Config) bool) bool {
	if n.table == nil {
		return false
	}
	for i := range n.table.Partitions {
		c := &n.table.Partitions[i]
		if !fits(c) {
			continue
		}
		for _, id := range c.ISR {
			if o, ok := n.table.Node(id); ok && o.Up && id != n.id {
				return true
			}
		}
	}
	return false
}

func (s *Sim) pauseOne() {
	n := s.one()
	n.paused = s.now + s.between(50, pick[int64](s.rng, 200, 1000, 3000))
	s.note("node %d pauses until %s", n.id, clock(n.paused))
}

func (s *Sim) troubleGateway() {
	g := s.gateways[s.rng.IntN(len(s.gateways))]
	if s.chance(0.4) {
		g.crash()
		return
	}
	g.paused = s.now + s.between(50, pick[int64](s.rng, 500, 3000))
	s.note("gateway %d pauses until %s", g.id, clock(g.paused))
}

// troubleManagers takes the managers their leader, or their quorum for a while.
func (s *Sim) troubleManagers() {
	if s.chance(0.5) {
		s.mgr.newTerm(s.between(1, pick[int64](s.rng, 50, 800)))
		return
	}
	s.mgr.newTerm(s.between(500, 3000))
}

// newTerm leaves the managers without a leader for a while.
func (m *manager) newTerm(d int64) {
	if !m.quorum {
		return
	}
	m.s.note("the managers have no quorum for %s", clock(d))
	m.s.rep.Terms++
	m.quorum = false
	before := m.table
	m.s.after(d, func() {
		if m.quorum {
			return
		}
		if m.table != before {
			m.s.fail("the table changed without a quorum")
		}
		m.s.note("the managers have a quorum again")
		m.quorum = true
		m.lead()
	})
}

// cutLinks changes links's cuts.
func (s *Sim) cutLinks(links [][2]int, by int) {
	for _, l := range links {
		s.cuts[l[0]][l[1]] += by
	}
}

// links draws what a cut separates: one way, both ways, one from all, halves, or
// halves but for one who sees both.
func (s *Sim) links() (what string, links [][2]int) {
	n := len(s.nodes)
	a, b := s.rng.IntN(n), s.rng.IntN(n)
	both := func(x, y int) {
		if x != y {
			links = append(links, [2]int{x, y}, [2]int{y, x})
		}
	}
	switch kind := s.rng.IntN(6); kind {
	case 0:
		if a != b {
			links = append(links, [2]int{a, b})
		}
		return fmt.Sprintf("from %d to %d", a, b), links
	case 1:
		both(a, b)
		return fmt.Sprintf("between %d and %d", a, b), links
	case 2, 3:
		for i := range n {
			both(a, i)
		}
		return fmt.Sprintf("of %d from all", a), links
	default:
		bridge := -1
		if kind == 5 {
			bridge = b
		}
		side := make([]bool, n)
		for i := range side {
			side[i] = s.chance(0.5)
		}
		for i := range n {
			for j := range i {
				if side[i] != side[j] && i != bridge && j != bridge {
					both(i, j)
				}
			}
		}
		return fmt.Sprintf("in halves %v, bridge %d", side, bridge), links
	}
}

// cutSome cuts the network for a while.
func (s *Sim) cutSome() {
	what, links := s.links()
	s.cutFor(what, links, s.between(50, pick[int64](s.rng, 300, 1000, 3000)))
}

func (s *Sim) cutFor(what string, links [][2]int, d int64) {
	s.note("cut %s", what)
	s.cutLinks(links, 1)
	s.after(d, func() {
		if !s.calm {
			s.note("cut %s ends", what)
			s.cutLinks(links, -1)
		}
	})
}

// flap makes a cut come and go.
func (s *Sim) flap() {
	what, links := s.links()
	var again func(left int)
	again = func(left int) {
		if left > 0 && !s.calm {
			d := s.between(20, 300)
			s.cutFor(what, links, d)
			s.after(d+s.between(20, 300), func() { again(left - 1) })
		}
	}
	again(2 + s.rng.IntN(6))
}

// ambush cuts a primary off, so that another follows it while it may still
// answer reads under leases; its replicas may at once restart and forget what
// was only in memory.
func (s *Sim) ambush() {
	c := s.mgr.table.Partitions[s.rng.IntN(len(s.mgr.table.Partitions))]
	if c.Epoch == 0 {
		return
	}
	a := int(c.Primary.Store)
	var links [][2]int
	for i := range s.nodes {
		if i != a {
			links = append(links, [2]int{a, i}, [2]int{i, a})
		}
	}
	s.cutFor(fmt.Sprintf("of primary %d", a), links, s.between(700, 2500))
	if s.chance(0.5) {
		return
	}
	for _, id := range c.ISR {
		if n := s.nodes[id]; int(id) != a && n.up {
			s.crash(n, 60)
		}
	}
}

// trimOne drops the applied part of a node's logs, all but a little.
func (s *Sim) trimOne() {
	n := s.one()
	for _, p := range n.parts {
		to := min(p.mem.commit, p.disk.commit, p.safe.commit)
		if keep := uint64(s.rng.IntN(8)); to > keep {
			p.mem.trim(to - keep)
			p.disk.trim(to - keep)
			p.safe.trim(to - keep)
		}
	}
}

// heal ends all trouble.
func (s *Sim) heal() {
	s.note("all trouble ends")
	s.calm = true
	for i := range s.cuts {
		clear(s.cuts[i])
	}
	if !s.mgr.quorum {
		s.mgr.quorum = true
		s.mgr.lead()
	}
	for _, g := range s.gateways {
		g.paused = min(g.paused, s.now)
	}
	for _, n := range s.nodes[1:] {
		if n.paused > s.now {
			n.paused = s.now
			n.waking = false
			n.wake(0)
		}
		n.start()
	}
}
