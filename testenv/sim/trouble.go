package sim

// send carries something from one place to another, or not, or twice, or late.
func (s *Sim) send(from, to int, arrive func()) {
	if s.cut[from][to] || !s.calm && s.chance(s.prof.Loss) {
		return
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
			if !s.cut[from][to] {
				arrive()
			}
		})
	}
}

func (n *node) heartbeat() {
	p, unclean := n.process(), n.unclean
	n.s.send(int(n.id), 0, func() { n.s.mgr.hello(p, unclean) })
}

// troubles plans what goes wrong.
func (s *Sim) troubles() {
	s.now1(s.prof.CrashEvery, s.crashOne)
	s.now1(s.prof.CutEvery, s.cutSome)
	s.now1(s.prof.PauseEvery, s.pauseOne)
	s.now1(s.prof.AmbushEvery, s.ambush)
	s.now1(s.prof.TrimEvery, s.trimOne)
	s.now1(s.prof.MoveEvery, func() {
		for p := range s.mgr.table.Partitions {
			if s.chance(0.5) {
				s.mgr.retarget(s.ledger[p].p)
			}
		}
	})
	for i := range s.prof.Late {
		n := s.nodes[len(s.nodes)-1-i]
		n.up = false
		n.life++
		s.after(s.between(1000, 3000), func() {
			if !n.up {
				n.start()
			}
		})
	}
}

// now1 does something now and then, about every so many milliseconds.
func (s *Sim) now1(every int64, do func()) {
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

// crash ends a node's process, and begins another after at most so many
// milliseconds.
func (s *Sim) crash(n *node, most int64) {
	n.crash()
	s.after(s.between(20, most), func() {
		if !n.up {
			n.start()
		}
	})
}

func (s *Sim) pauseOne() {
	n := s.one()
	n.paused = s.now + s.between(50, pick[int64](s.rng, 200, 1000, 3000))
	s.note("node %d pauses until %s", n.id, clock(n.paused))
}

// cutSome cuts one way, both ways, or a node off from everybody, for a while.
func (s *Sim) cutSome() {
	a, b := s.rng.IntN(len(s.nodes)), s.rng.IntN(len(s.nodes))
	kind := s.rng.IntN(4)
	set := func(on bool) {
		for i := range s.nodes {
			switch {
			case kind == 3 && i != a: // off from all
				s.cut[a][i], s.cut[i][a] = on, on
			case kind == 2 && i == b: // both ways
				s.cut[a][b], s.cut[b][a] = on, on
			case i == b:
				s.cut[a][b] = on
			}
		}
	}
	if a == b {
		return
	}
	s.note("cut of kind %d between %d and %d", kind, a, b)
	set(true)
	s.after(s.between(50, pick[int64](s.rng, 300, 1000, 3000)), func() {
		s.note("cut of kind %d between %d and %d ends", kind, a, b)
		set(false)
	})
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
	set := func(on bool) {
		for i := range s.nodes {
			if i != a {
				s.cut[a][i], s.cut[i][a] = on, on
			}
		}
	}
	s.note("primary %d is cut off", a)
	set(true)
	s.after(s.between(700, 2500), func() {
		s.note("node %d is not cut off any more", a)
		set(false)
	})
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
	for i := range s.cut {
		clear(s.cut[i])
	}
	for _, n := range s.nodes[1:] {
		if n.paused > s.now {
			n.paused = s.now
			n.waking = false
			n.wake(0)
		}
		if !n.up {
			n.start()
		}
	}
}
