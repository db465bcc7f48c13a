package sim

import (
	"bytes"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// ledger is what has happened to one partition, as an onlooker sees it who sees
// everything.
type ledger struct {
	p        ring.Partition
	entries  map[subjects.Version]*subjects.Entry // that any log has held
	log      []*subjects.Entry                    // committed, from seq 1 on
	made     map[*subjects.Entry]span             // when each of log began and committed
	leads    map[ring.Epoch]ring.Process          // who acted as primary
	now      map[string]*subjects.Entry           // the newest committed value of each key
	ops      map[opKey]*subjects.Entry            // committed, by the operation that made them
	sessions subjects.Sessions
}

type opKey struct {
	boot ring.BootID
	n    uint64
}

// span is from when to when something happened.
type span struct{ from, to int64 }

func newLedger(p ring.Partition) *ledger {
	return &ledger{
		p: p, entries: map[subjects.Version]*subjects.Entry{}, made: map[*subjects.Entry]span{},
		leads: map[ring.Epoch]ring.Process{}, now: map[string]*subjects.Entry{}, ops: map[opKey]*subjects.Entry{},
	}
}

// appended checks that a version means the same entry in every log (R3), and
// that a backup takes only what its promised epoch's primary made or has (R2).
func (l *ledger) appended(p *part, e *subjects.Entry) {
	s := p.n.s
	old, ok := l.entries[e.Version]
	if ok {
		if old != e && !bytes.Equal(old.Raw, e.Raw) {
			s.fail("p%d: node %d has another entry %s than the one first seen", l.p, p.n.id, e.Version)
		}
		return
	}
	l.entries[e.Version] = e
	l.made[e] = span{from: s.tick()}
	if s.proposing != nil {
		s.proposing.op.entries = append(s.proposing.op.entries, e)
	}
	st := p.m.Status()
	if !st.Leading || e.Version.Epoch != st.Promised {
		s.fail("p%d: entry %s appears first at node %d, which does not lead its epoch", l.p, e.Version, p.n.id)
	}
	if before := l.entries[e.Prev]; before != nil && before.Clock > e.Clock {
		s.fail("p%d: the clock of entry %s is %d, after %d", l.p, e.Version, e.Clock, before.Clock)
	}
}

// committed checks that commits agree, and that what commits first is at every
// member that must have it, once, while nobody else may answer reads.
func (l *ledger) committed(p *part, from, to uint64) {
	s := p.n.s
	st := p.m.Status()
	first := false
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
		l.add(s, l.entries[v])
		s.checkLeases(p, l.entries[v])
		first = true
	}
	if first {
		s.checkPartition(l.p, "node %d commits %d at epoch %d", p.n.id, to, st.Promised)
	}
}

// add takes an entry that commits.
func (l *ledger) add(s *Sim, e *subjects.Entry) {
	l.log = append(l.log, e)
	sp := l.made[e]
	sp.to = s.tick()
	l.made[e] = sp
	switch e.Kind {
	case subjects.EntryPut:
		l.now[string(e.Key)] = e
	case subjects.EntryDelete:
		delete(l.now, string(e.Key))
		if e.Op.Boot == 0 {
			s.rep.Expired++
		}
	case subjects.EntryFlush:
		clear(l.now)
	}
	l.sessions.Fold(e)
	if e.Op.Boot == 0 {
		return
	}
	k := opKey{e.Op.Boot, e.Op.N}
	if old := l.ops[k]; old != nil {
		s.fail("p%d: an operation took effect twice, as %s and %s", l.p, old.Version, e.Version)
	}
	l.ops[k] = e
}

// replay is the data after the committed entries through seq.
func (l *ledger) replay(seq uint64) map[string]subjects.Record {
	data := map[string]subjects.Record{}
	if seq == uint64(len(l.log)) {
		for k, e := range l.now {
			data[k] = e.Record()
		}
		return data
	}
	for _, e := range l.log[:seq] {
		apply(data, e)
	}
	return data
}

// last is the newest committed version.
func (l *ledger) last() (v subjects.Version) {
	if n := len(l.log); n > 0 {
		v = l.log[n-1].Version
	}
	return v
}
