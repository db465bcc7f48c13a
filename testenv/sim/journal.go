package sim

import (
	"slices"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// journal is what a node has written to its log, in order. Three places in it
// count: everything before safe is left when the machine dies, everything before
// disk when the process does, and everything before end is in its memory.
type journal struct {
	writes  []write
	begun   int // the place of the first of writes
	safe    int
	disk    int
	flushes int // the place that flushes under way will reach
}

// write is an effect on the store.
type write struct {
	p ring.Partition
	e replica.Effect
	// lazy: a commit index that is not written.
	lazy bool
}

func (j *journal) end() int { return j.begun + len(j.writes) }

func (j *journal) at(place int) *write { return &j.writes[place-j.begun] }

// cut forgets what was not written.
func (j *journal) cut(to int) { j.writes = j.writes[:to-j.begun] }

// trim forgets what is safe.
func (j *journal) trim() {
	if n := j.safe - j.begun; n > 256 {
		j.writes = slices.Delete(j.writes, 0, n)
		j.begun = j.safe
	}
}

// fsynced reports whether an effect is so in every mode.
func fsynced(e replica.Effect) bool {
	switch e.(type) {
	case replica.Promise, replica.Cut, replica.Reset, replica.Clean, replica.Adopt, drop:
		return true
	}
	return false
}

// persist brings the disk to this place in the journal, and reports whether it is
// to be synced at once.
func (n *node) persist(to int) (sync bool) {
	sync = n.s.prof.Sync == syncAlways
	for j := &n.journal; j.disk < to; j.disk++ {
		w := j.at(j.disk)
		if _, ok := w.e.(replica.Commit); ok && !n.s.chance(0.3) {
			w.lazy = true // the commit index is written now and then
			continue
		}
		sync = sync || fsynced(w.e)
		n.redo(n.parts[w.p].disk, w)
	}
	return sync
}

// sync brings the machine's disk to where the process wrote.
func (n *node) sync() {
	n.secure(n.journal.disk)
	n.journal.trim()
}

// secure makes the journal safe to this place.
func (n *node) secure(to int) {
	for j := &n.journal; j.safe < to; j.safe++ {
		if w := j.at(j.safe); !w.lazy {
			n.redo(n.parts[w.p].safe, w)
		}
	}
}

func (n *node) redo(c *copyOf, w *write) {
	if err := c.do(w.e); err != nil {
		n.s.fail("node %d p%d on disk: %v", n.id, w.p, err)
	}
}

// flush makes durable what was written, after a while, in order: what rests on a
// promise, cut or reset once it is synced, which takes longer, the rest once it is
// written.
func (n *node) flush() {
	j := &n.journal
	if len(n.outbox) == 0 && j.flushes == j.end() {
		return
	}
	s, life, end := n.s, n.life, j.end()
	j.flushes = end
	free, bound, waits := n.flights()
	n.lastAt = max(n.lastAt, s.now) + s.rng.Int64N(s.prof.FlushMax*ms+1)
	s.after(n.lastAt-s.now, func() {
		if n.life != life {
			return
		}
		must := n.persist(end) || len(bound.out)+len(bound.tails) > 0
		n.land(free)
		if !must {
			return
		}
		n.syncedAt = max(n.syncedAt, s.now) + s.rng.Int64N(s.prof.FlushMax*ms+1)
		s.after(n.syncedAt-s.now, func() {
			if n.life != life {
				return
			}
			n.secure(end)
			j.trim()
			for _, p := range waits {
				p.waits--
			}
			n.land(bound)
		})
	})
}

// flights parts what waits for the log as the server's core loop does.
func (n *node) flights() (free, bound flushed, waits []*part) {
	of := func(p *part) *flushed {
		if p.bound || p.waits > 0 || n.s.prof.Sync == syncAlways {
			return &bound
		}
		return &free
	}
	for _, o := range n.outbox {
		f := of(n.parts[o.p])
		f.out = append(f.out, o.m)
	}
	n.outbox = nil
	for i, p := range n.parts {
		if n.written[i] || p.bound {
			f := of(p)
			f.tails = append(f.tails, replicaTail{ring.Partition(i), p.mem.tail(), p.mem.promised})
			n.written[i] = false
		}
	}
	for _, p := range n.parts {
		if p.bound {
			p.bound = false
			p.waits++
			waits = append(waits, p)
		}
	}
	return free, bound, waits
}

// land takes what a flush made durable.
func (n *node) land(f flushed) {
	if len(f.out)+len(f.tails) == 0 {
		return
	}
	for i := range f.out {
		n.assure(&f.out[i])
	}
	n.take(f)
}

// assure checks that what a message promises is on disk (R2, R4).
func (n *node) assure(m *replica.Send) {
	switch x := m.Msg.(type) {
	case *subjects.PrepareReply:
		if p := n.parts[x.Partition]; x.Answer == subjects.AnswerOK && x.Epoch == p.disk.promised && !p.damaged() {
			n.holds(p, x.Epoch, x.Tail, "acknowledges")
		}
	case *subjects.EpochReply:
		if p := n.parts[x.Partition]; x.Answer == subjects.AnswerOK && len(x.Outline) > 0 && x.Epoch >= p.disk.promised && !p.damaged() {
			n.holds(p, x.Epoch, x.Outline.Tail(), "reports")
		}
	}
}

func (n *node) holds(p *part, e ring.Epoch, tail subjects.Version, what string) {
	if p.mem.misses(tail) != "" {
		return // it was cut since
	}
	why := p.disk.misses(tail)
	if why == "" && n.s.prof.Sync == syncAlways {
		why = p.safe.misses(tail)
	}
	if why != "" {
		n.s.fail("p%d: node %d %s %s, but its disk %s", p.p, n.id, what, tail, why)
	}
	if p.disk.promised < e || p.safe.promised < e {
		n.s.fail("p%d: node %d %s at epoch %d, but has promised %d on disk, %d synced", p.p, n.id, what, e, p.disk.promised, p.safe.promised)
	}
}

// crash ends the process, or the whole machine. Of what was not written, or not
// synced, a part may survive.
func (n *node) crash(machine bool) {
	s, j := n.s, &n.journal
	old := n.process()
	n.up, n.stopping = false, false
	n.life++
	s.rep.Crashes++
	keep := j.disk + s.rng.IntN(j.end()-j.disk+1)
	s.note("node %d/%d crashes; %d of %d writes survive", n.id, n.boot, keep, j.end())
	n.persist(keep)
	j.cut(keep)
	if !machine {
		n.sync() // the next process begins with it
	}
	if machine {
		n.crashMachine()
	}
	if s.chance(s.prof.Gone) && s.mayHurt(n) {
		n.loseData()
	}
	for _, p := range n.parts {
		p.mem, p.serving = p.disk.clone(), false
	}
	if !machine {
		s.prove(n, old)
	}
	s.broken(n)
	s.checkAll("the crash of %d", n.id)
}

// crashMachine leaves what was synced, and perhaps a little more.
func (n *node) crashMachine() {
	s, j := n.s, &n.journal
	keep := j.safe + s.rng.IntN(j.disk-j.safe+1)
	s.rep.Machines++
	s.note("its machine crashes; %d of %d writes survive", keep, j.end())
	n.secure(keep)
	j.cut(keep)
	j.disk, j.flushes = keep, keep
	n.clocks = s.newClocks(n.clocks.off)
	for _, p := range n.parts {
		p.disk = p.safe.clone()
		if s.prof.Sync != syncAlways {
			p.hurt = true
			p.disk.unclean, p.safe.unclean = true, true
		}
	}
}

// loseData empties the disk. Only the promises are left, since who loses its
// identity too is another node.
func (n *node) loseData() {
	n.s.note("node %d lost its data", n.id)
	j := &n.journal
	n.secure(j.disk)
	j.cut(j.disk)
	for _, p := range n.parts {
		p.hurt = true
		promised := p.disk.promised
		p.disk = blank()
		p.disk.promised, p.disk.incomplete, p.disk.lost = promised, true, true
		p.safe = p.disk.clone()
	}
}
