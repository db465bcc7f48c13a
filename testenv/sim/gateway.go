package sim

import (
	"github.com/etolabo/kumofs/kumogateway/repeat"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// gateway carries clients' operations to primaries and repeats them, as the
// product's decides. It has a place outside of the nodes' network.
type gateway struct {
	s       *Sim
	id      int
	life    int
	boot    ring.BootID
	table   *ring.Table
	numbers []repeat.Numbers // by partition
	open    []*operation
	paused  int64 // until when
}

// gatewayBoots keeps the boot IDs of gateways apart from those of servers.
const gatewayBoots = 1 << 32

func newGateway(s *Sim, id int) *gateway {
	g := &gateway{s: s, id: id}
	g.start()
	return g
}

func (g *gateway) start() {
	g.s.boots++
	g.life++
	g.boot = gatewayBoots + g.s.boots
	g.table, g.open = nil, nil
	g.numbers = make([]repeat.Numbers, g.s.prof.Partitions)
	g.poll()
}

// poll asks for the ring again and again.
func (g *gateway) poll() {
	g.soon(g.s.between(400, 1000), func() {
		g.refresh()
		g.poll()
	})
}

// crash ends the process; another begins at once. What was open stays open for
// ever.
func (g *gateway) crash() {
	g.s.note("gateway %d crashes", g.id)
	open := g.open
	g.start()
	for _, op := range open {
		g.over(op)
	}
}

// soon does something in this life, once the gateway does not pause.
func (g *gateway) soon(d int64, do func()) {
	life := g.life
	g.s.after(d, func() {
		switch {
		case g.life != life:
		case g.paused > g.s.now:
			g.soon(g.paused-g.s.now, do)
		default:
			do()
		}
	})
}

// begin takes an operation of a client.
func (g *gateway) begin(op *operation) {
	op.g, op.deadline = g, g.s.now+g.s.prof.OpTimeout*ms
	g.open = append(g.open, op)
	g.send(op)
}

// send makes the next attempt of an operation.
func (g *gateway) send(op *operation) {
	s := g.s
	c := g.route(op)
	if c == nil {
		g.refresh()
		g.hold(op, s.prof.OpTimeout*ms)
		return
	}
	if s.now >= op.deadline {
		g.giveUp(op)
		return
	}
	if op.w.Verb != 0 {
		if op.w.Op.N == 0 {
			op.w.Op.Boot = g.boot
			op.w.Op.N, op.w.Op.Lowest = g.numbers[op.p].Take()
		} else {
			op.w.Op.Lowest = g.numbers[op.p].Low()
		}
	}
	s.note("gateway %d sends #%d, attempt %d, to %s", g.id, op.id, op.course.Attempts+1, c.Primary)
	patience := op.course.Begin(op.w.Verb != 0, c.Epoch)
	a := &attempt{id: uint64(len(s.attempts) + 1), op: op, w: op.w, to: c.Primary}
	a.w.Attempt, a.w.Epoch = op.course.Attempts, c.Epoch
	s.attempts = append(s.attempts, a)
	op.attempts = append(op.attempts, a)
	n := s.nodes[c.Primary.Store]
	wild := !s.calm && !s.prof.Still
	if wild && s.chance(0.02) {
		n = s.one()
	}
	arrive := func() { n.take(request{a}) }
	switch {
	case wild && s.chance(0.01):
		g.soon(0, func() { g.next(a, op.course.Unsent()) })
		return
	case wild && s.chance(0.02): // late, so that a repeat overtakes it
		s.after(s.between(0, 3000), arrive)
	default:
		s.trip(arrive)
	}
	g.soon(min(patience, op.deadline-s.now), func() {
		if op.current(a) {
			g.next(a, op.course.TimedOut())
		}
	})
}

// route is the configuration of an operation's partition, nil if it has no
// primary that is up.
func (g *gateway) route(op *operation) *ring.Config {
	if g.table == nil {
		return nil
	}
	if c := &g.table.Partitions[op.p]; c.Epoch > 0 && g.table.Alive(c.Primary) {
		return c
	}
	return nil
}

// trip carries something between a gateway and a node, or loses it.
func (s *Sim) trip(arrive func()) {
	if s.calm || s.prof.Still || !s.chance(0.002) {
		s.after(s.rng.Int64N(2*ms), arrive)
	}
}

// current reports whether an operation still waits for this attempt.
func (op *operation) current(a *attempt) bool {
	return !op.done && !a.over && op.attempts[len(op.attempts)-1] == a
}

// next does what follows from the end of an attempt.
func (g *gateway) next(a *attempt, n repeat.Next) {
	a.over = true
	if n.Refresh {
		g.refresh()
	}
	g.hold(a.op, n.Wait)
}

// hold keeps an operation until a newer ring is there, or at most for d.
func (g *gateway) hold(op *operation, d int64) {
	if g.s.now >= op.deadline {
		g.giveUp(op)
		return
	}
	if c := g.route(op); c != nil && op.course.Newer(c.Epoch) {
		d = 0
	}
	attempts := len(op.attempts)
	op.held = true
	g.soon(min(d, op.deadline-g.s.now), func() {
		if op.held && !op.done && len(op.attempts) == attempts {
			op.held = false
			g.send(op)
		}
	})
}

// refresh asks for the newest ring, of the managers or of any server.
func (g *gateway) refresh() {
	s := g.s
	t := s.mgr.table
	if n := s.one(); s.chance(0.3) {
		t = n.table
	}
	s.trip(func() { s.trip(func() { g.learn(t) }) })
}

// learn takes a ring. What waits for a newer one is sent; what is in the hands
// of a primary that was replaced is taken back, a write of one that lives only after
// a while.
func (g *gateway) learn(t *ring.Table) {
	if t == nil || t.Size() == 0 || g.table != nil && g.table.Revision >= t.Revision {
		return
	}
	g.table = t
	for _, op := range append([]*operation(nil), g.open...) {
		switch c := g.route(op); {
		case op.done || c == nil:
		case op.held:
			if op.course.Newer(c.Epoch) {
				op.held = false
				g.soon(0, func() {
					if !op.done && !op.held {
						g.send(op)
					}
				})
			}
		case len(op.attempts) > 0 && op.attempts[len(op.attempts)-1].to != c.Primary:
			a, grace := op.attempts[len(op.attempts)-1], int64(0)
			if op.w.Verb != 0 && t.Alive(a.to) {
				grace = repeat.WriteGrace
			}
			g.soon(grace, func() {
				if op.current(a) && !op.held {
					a.over = true
					op.course.Abandon()
					g.send(op)
				}
			})
		}
	}
}

// broken ends the attempts that a process held which ended: their connections
// break, most of them.
func (s *Sim) broken(n *node) {
	for _, g := range s.gateways {
		for _, op := range g.open {
			if len(op.attempts) == 0 || s.chance(0.3) {
				continue
			}
			if a := op.attempts[len(op.attempts)-1]; a.to.Store == n.id && op.current(a) {
				g.soon(s.rng.Int64N(5*ms), func() {
					if op.current(a) {
						g.next(a, op.course.Broken())
					}
				})
			}
		}
	}
}

// outcome takes the answer to an attempt.
func (g *gateway) outcome(a *attempt, r subjects.Reply) {
	op := a.op
	if !op.current(a) {
		return // it came too late
	}
	next := op.course.Answered(r.Status, r.Epoch)
	if !next.End {
		g.next(a, next)
		return
	}
	a.over = true
	if r.Status == subjects.StatusUnknown {
		g.s.fail("an operation that its gateway waits for is unknown: %s", op)
	}
	op.ret, op.reply = g.s.tick(), r
	if len(op.entries) > 0 {
		g.s.rep.Acks++
	}
	if g.s.prof.Still && g.s.prof.StopEvery == 0 {
		op.slow(g.s)
	}
	g.over(op)
}

// giveUp ends an operation whose time is over.
func (g *gateway) giveUp(op *operation) {
	g.s.rep.GaveUp++
	op.nothing = op.w.Verb != 0 && !op.course.Unsure
	g.s.note("gateway %d gives #%d up, unsure %v", g.id, op.id, op.course.Unsure)
	g.over(op)
}

// over ends an operation one way or another.
func (g *gateway) over(op *operation) {
	if op.done {
		return
	}
	op.done = true
	if op.w.Op.N != 0 && op.w.Op.Boot == g.boot {
		g.numbers[op.p].Release(op.w.Op.N)
	}
	for i, o := range g.open {
		if o == op {
			g.open = append(g.open[:i], g.open[i+1:]...)
			break
		}
	}
	c := g.s.clients[op.client]
	c.saw(op)
	g.soon(g.s.between(0, 20), c.next)
}
