package sim

import (
	"bytes"
	"fmt"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// ledger is what has happened to one partition, as an onlooker sees it who sees
// everything.
type ledger struct {
	p       ring.Partition
	entries map[subjects.Version]*subjects.Entry // that any log has held
	log     []*subjects.Entry                    // committed, from seq 1 on
	leads   map[ring.Epoch]ring.Process          // who acted as primary
}

func newLedger(p ring.Partition) *ledger {
	return &ledger{p: p, entries: map[subjects.Version]*subjects.Entry{}, leads: map[ring.Epoch]ring.Process{}}
}

// appended checks that a version means the same entry in every log.
func (l *ledger) appended(p *part, e *subjects.Entry) {
	s := p.n.s
	old, ok := l.entries[e.Version]
	if !ok {
		l.entries[e.Version] = e
		if a := s.proposing; a != nil {
			a.op.entries = append(a.op.entries, e)
		} else if !p.m.Status().Leading {
			s.fail("p%d: entry %s appears at a backup first", l.p, e.Version)
		}
		return
	}
	if !bytes.Equal(old.Raw, e.Raw) {
		s.fail("p%d: node %d has another entry %s than the one first seen", l.p, p.n.id, e.Version)
	}
}

// committed checks that commits agree, and that what commits first is at every
// member that must have it.
func (l *ledger) committed(p *part, from, to uint64) {
	s := p.n.s
	st := p.m.Status()
	for seq := from + 1; seq <= to; seq++ {
		v, _ := p.mem.at(seq)
		if seq <= uint64(len(l.log)) {
			if w := l.log[seq-1].Version; v != w {
				s.fail("p%d: node %d commits %s where %s has committed", l.p, p.n.id, v, w)
			}
			continue
		}
		if !st.Leading {
			s.fail("p%d: node %d commits %s before its primary", l.p, p.n.id, v)
		}
		l.log = append(l.log, l.entries[v])
		s.checkPartition(l.p, fmt.Sprintf("node %d commits %s at epoch %d", p.n.id, v, st.Promised))
	}
}

// replay is the data after the committed entries through seq.
func (l *ledger) replay(seq uint64) map[string]subjects.Record {
	data := map[string]subjects.Record{}
	for _, e := range l.log[:seq] {
		apply(data, e)
	}
	return data
}

// checkPartition checks that every member of the newest in-sync set holds all
// that has committed.
func (s *Sim) checkPartition(p ring.Partition, when string) {
	s.checkHeld(s.mgr.table.Partitions[p], s.ledger[p], when)
}

func (s *Sim) checkAll(when string) {
	for p := range s.mgr.table.Partitions {
		s.checkPartition(ring.Partition(p), when)
	}
}

func (s *Sim) checkHeld(c ring.Config, l *ledger, when string) {
	if len(l.log) == 0 {
		return
	}
	last := l.log[len(l.log)-1].Version
	for _, id := range c.ISR {
		p := s.nodes[id].parts[l.p]
		if p.damaged() {
			continue
		}
		for name, held := range map[string]*copyOf{"in memory": p.mem, "on disk": p.disk} {
			if why := held.lacks(last); why != "" {
				s.fail("p%d: %s, but node %d, in sync at epoch %d, %s %s", l.p, when, id, c.Epoch, why, name)
			}
		}
	}
}

// damaged reports whether the copy lost what it had acknowledged and does not
// yet hold all that has committed again.
func (p *part) damaged() bool {
	if p.hurt && !p.mem.unclean && !p.disk.unclean {
		var last subjects.Version
		if log := p.n.s.ledger[p.p].log; len(log) > 0 {
			last = log[len(log)-1].Version
		}
		p.hurt = p.mem.lacks(last) != "" || p.disk.lacks(last) != ""
	}
	return p.hurt
}

// lacks says why a copy does not hold all entries through v, or "".
func (c *copyOf) lacks(v subjects.Version) string {
	if c.incomplete {
		return "is incomplete"
	}
	if v.Seq < c.base.Seq {
		return ""
	}
	if has, ok := c.at(v.Seq); !ok || has != v {
		return fmt.Sprintf("ends in %s and has %s in place of %s", c.tail(), has, v)
	}
	return ""
}

// serve checks who serves, and that it serves what has committed.
func (p *part) serve(e replica.Serve) {
	n, s, l := p.n, p.n.s, p.n.s.ledger[p.p]
	if !e.On {
		p.serving = false
		return
	}
	was := p.serving
	p.serving, p.reads = true, e
	if was {
		return
	}
	if len(e.Hidden) > 0 {
		// Data may be ahead of the commit index, by a range, in hidden keys only.
		return
	}
	if s.mgr.table.Partitions[p.p].Epoch == e.Epoch && p.mem.commit < uint64(len(l.log)) {
		s.fail("p%d: node %d serves epoch %d with %d committed of %d", p.p, n.id, e.Epoch, p.mem.commit, len(l.log))
	}
	p.checkData("serves")
}

// checkData compares the data with the committed log.
func (p *part) checkData(when string) {
	want, have := print(p.n.s.ledger[p.p].replay(p.mem.commit)), print(p.mem.data)
	if p.mem.incomplete || want != have {
		p.n.s.fail("p%d: node %d %s with other data than the committed log makes (incomplete %v)\nwant %s\nhave %s", p.p, p.n.id, when, p.mem.incomplete, want, have)
	}
}

// check looks at a machine after each of its steps.
func (p *part) check() {
	n, s := p.n, p.n.s
	st := p.m.Status()
	if st.Tail != p.mem.tail() || st.Commit != p.mem.commit || st.Promised != p.mem.promised || st.Incomplete != p.mem.incomplete {
		s.fail("p%d: the machine of node %d is at %+v, its store at promise %d tail %s commit %d incomplete %v", p.p, n.id, st, p.mem.promised, p.mem.tail(), p.mem.commit, p.mem.incomplete)
	}
	if st.Serving != p.serving {
		s.fail("p%d: node %d serves: the machine says %v, its effects %v", p.p, n.id, st.Serving, p.serving)
	}
	if !st.Leading {
		return
	}
	l := s.ledger[p.p]
	if was, ok := l.leads[st.Promised]; !ok {
		l.leads[st.Promised] = n.process()
	} else if was != n.process() {
		s.fail("p%d: %s and %s both lead epoch %d", p.p, was, n.process(), st.Promised)
	}
	if c, ok := s.mgr.config(p.p, st.Promised); !ok || c.Primary != n.process() {
		s.fail("p%d: %s leads epoch %d, which is of %s", p.p, n.process(), st.Promised, c.Primary)
	}
}

// fault is a violation, unless the copy is known to be damaged.
func (s *Sim) fault(p *part, text string) {
	if !p.damaged() {
		s.fail("p%d: node %d reports a fault: %s", p.p, p.n.id, text)
	}
}

// sound reports whether one of these nodes holds a copy of the partition that
// lost nothing.
func (s *Sim) sound(p ring.Partition, ids []ring.NodeID) bool {
	for _, id := range ids {
		if !s.nodes[id].parts[p].damaged() {
			return true
		}
	}
	return false
}

// mayHurt reports whether a node can lose data without a second loss at once:
// each of its partitions has another whole copy in sync.
func (s *Sim) mayHurt(n *node) bool {
	for p, c := range s.mgr.table.Partitions {
		if c.Epoch == 0 {
			return false
		}
		if !c.HasISR(n.id) {
			continue
		}
		var rest []ring.NodeID
		for _, id := range c.ISR {
			if id != n.id {
				rest = append(rest, id)
			}
		}
		if !s.sound(ring.Partition(p), rest) {
			return false
		}
	}
	return true
}

// quiet reports whether everything is as it should be in the end.
func (s *Sim) quiet() bool { return s.why() == "" }

// why says what is not yet as it should be.
func (s *Sim) why() string {
	for i, c := range s.mgr.table.Partitions {
		n := s.nodes[max(c.Primary.Store, 1)]
		st := n.parts[i].m.Status()
		switch {
		case c.Epoch == 0:
			return fmt.Sprintf("p%d was never placed", i)
		case n.process() != c.Primary || !st.Leading || !st.Serving || st.Promised != c.Epoch:
			return fmt.Sprintf("p%d is not served by %s at epoch %d: %+v", i, c.Primary, c.Epoch, st)
		case st.Waiting > 0 || st.Commit != st.Tail.Seq:
			return fmt.Sprintf("p%d: writes wait: %+v", i, st)
		case len(c.Learners) > 0 || !sameSet(c.ISR, c.Target):
			return fmt.Sprintf("p%d: isr %v learners %v is not the target %v", i, ids(c.ISR), ids(c.Learners), ids(c.Target))
		}
		for _, id := range c.ISR {
			if m := s.nodes[id].parts[i]; m.mem.commit != st.Commit {
				return fmt.Sprintf("p%d: node %d has %d of %d commits", i, id, m.mem.commit, st.Commit)
			}
		}
	}
	return ""
}

func sameSet(a, b []ring.NodeID) bool {
	if len(a) != len(b) {
		return false
	}
	in := map[ring.NodeID]bool{}
	for _, id := range a {
		in[id] = true
	}
	for _, id := range b {
		if !in[id] {
			return false
		}
	}
	return true
}
