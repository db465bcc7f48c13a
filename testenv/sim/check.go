package sim

import (
	"fmt"
	"reflect"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// checkPartition checks that every member of the newest in-sync set holds all
// that has committed.
func (s *Sim) checkPartition(p ring.Partition, when string, of ...any) {
	s.checkHeld(s.mgr.table.Partitions[p], s.ledger[p], when, of...)
}

func (s *Sim) checkAll(when string, of ...any) {
	for p := range s.mgr.table.Partitions {
		s.checkPartition(ring.Partition(p), when, of...)
	}
}

func (s *Sim) checkHeld(c ring.Config, l *ledger, when string, of ...any) {
	if len(l.log) == 0 {
		return
	}
	last := l.last()
	for _, id := range c.ISR {
		p := s.nodes[id].parts[l.p]
		if p.damaged() {
			continue
		}
		why, where := p.mem.lacks(last), "in memory"
		if why == "" {
			why, where = p.disk.lacks(last), "on disk"
		}
		if why == "" && s.prof.Sync == syncAlways {
			why, where = p.safe.lacks(last), "on its machine's disk"
		}
		if why != "" {
			s.fail("p%d: %s, but node %d, in sync at epoch %d, %s %s", l.p, fmt.Sprintf(when, of...), id, c.Epoch, why, where)
		}
	}
}

// checkLeases checks that, as a primary commits an entry, no other process may
// answer reads of its key (R6): what it would answer is overwritten.
func (s *Sim) checkLeases(p *part, e *subjects.Entry) {
	if s.prof.Confirm {
		return
	}
	for _, n := range s.nodes[1:] {
		o := n.parts[p.p]
		if o == p || !n.up || !o.serving || n.mono() >= o.reads.Until {
			continue
		}
		if _, hidden := o.reads.Hidden[string(e.Key)]; hidden || e.Kind == subjects.EntryAnswer {
			continue
		}
		s.fail("p%d: %s commits %s at epoch %d while %s may answer reads of epoch %d for another %s", p.p, p.n.process(), e.Version, p.m.Status().Promised, n.process(), o.reads.Epoch, clock(o.reads.Until-n.mono()))
	}
}

// checkRead checks what a primary answers to a read: it is what had committed,
// everywhere, when it was taken (R5).
func (p *part) checkRead(key []byte, rec subjects.Record, found bool, want *subjects.Entry) {
	if found != (want != nil) || found && want.Version != rec.Version {
		v := "nothing"
		if want != nil {
			v = want.Version.String()
		}
		p.n.s.fail("p%d: node %d reads %s as %s (found %v), but %s had committed", p.p, p.n.id, key, rec.Version, found, v)
	}
}

// damaged reports whether the copy lost what it had acknowledged and does not
// yet hold all that has committed again.
func (p *part) damaged() bool {
	if p.hurt && !p.mem.unclean && !p.disk.unclean && !p.safe.unclean {
		last := p.n.s.ledger[p.p].last()
		p.hurt = p.mem.lacks(last) != "" || p.disk.lacks(last) != ""
	}
	return p.hurt
}

// lacks says why a copy does not hold all entries through v, or "".
func (c *copyOf) lacks(v subjects.Version) string {
	if c.incomplete {
		return "is incomplete"
	}
	return c.misses(v)
}

// misses says why a log does not have v, or "".
func (c *copyOf) misses(v subjects.Version) string {
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
	if !p.m.Status().Leading {
		s.fail("p%d: node %d serves and does not lead", p.p, n.id)
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
	if n.mono() < e.Until && !s.prof.Confirm && p.mem.commit < uint64(len(l.log)) {
		s.fail("p%d: node %d serves epoch %d with %d committed of %d", p.p, n.id, e.Epoch, p.mem.commit, len(l.log))
	}
	p.checkData("serves")
}

// checkData compares the data with the committed log.
func (p *part) checkData(when string) {
	want, have := p.n.s.ledger[p.p].replay(p.mem.commit), p.mem.data
	if p.mem.incomplete || !same(want, have) {
		p.n.s.fail("p%d: node %d %s with other data than the committed log makes (incomplete %v)\nwant %s\nhave %s", p.p, p.n.id, when, p.mem.incomplete, print(want), print(have))
	}
}

// same reports whether two copies hold the same values. A version is one entry.
func same(a, b map[string]subjects.Record) bool {
	if len(a) != len(b) {
		return false
	}
	for k, r := range a {
		if o, ok := b[k]; !ok || o.Version != r.Version || string(o.Value) != string(r.Value) || o.Expiry != r.Expiry || o.Bits != r.Bits || o.CAS() != r.CAS() {
			return false
		}
	}
	return true
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
			switch m := s.nodes[id].parts[i]; {
			case m.mem.commit != st.Commit:
				return fmt.Sprintf("p%d: node %d has %d of %d commits", i, id, m.mem.commit, st.Commit)
			case m.mem.incomplete: // it lost what it was certified for, and is to be left out
				return fmt.Sprintf("p%d: node %d, in sync, has no whole copy", i, id)
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

// checkSessions checks that a copy remembers every answer that a gateway may
// still ask for (R9).
func (p *part) checkSessions() {
	l := p.n.s.ledger[p.p]
	for k, e := range l.ops {
		id := subjects.OpID{Boot: k.boot, N: k.n}
		want, past := l.sessions.Lookup(id)
		have, knows := p.mem.sessions.Lookup(id)
		if past != knows || past == subjects.PastDone && !sameAnswer(want, have) {
			p.n.s.fail("p%d: node %d knows of %d/%d, which made %s: %d %+v, want %d %+v", p.p, p.n.id, k.boot, k.n, e.Version, knows, have, past, want)
		}
	}
}

func sameAnswer(a, b subjects.Recorded) bool {
	same := string(a.Value) == string(b.Value)
	a.Value, b.Value = nil, nil
	return same && reflect.DeepEqual(a, b)
}
