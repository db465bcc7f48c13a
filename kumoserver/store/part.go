package store

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// part is one partition's copy. Only the core loop changes its log; the applier
// takes committed values out of mem.
type part struct {
	id ring.Partition

	mu       sync.RWMutex // guards all below
	promised ring.Epoch
	outline  subjects.Outline
	tail     subjects.Version
	base     subjects.Version
	commit   subjects.Version
	applied  subjects.Version // bbolt holds everything through it
	// incomplete copies hold only what is before cursor.
	incomplete bool
	cursor     []byte
	lost       bool
	// unclean copies may lack entries that they acknowledged.
	unclean bool
	// gen changes when the copy is replaced as a whole.
	gen uint64

	log   entryLog // behind applied
	index index
	mem   memtable
	// sessions are folded from the committed entries.
	sessions subjects.Sessions
	extra    int64 // bytes of ranges in mem

	// dirtyLSN is the position of the oldest record that bbolt does not reflect,
	// 0: it reflects all. endLSN is behind the newest record, changed behind the
	// newest that is no entry.
	dirtyLSN uint64
	endLSN   uint64
	// keptFrom is a position that dirtyLSN must not pass before bbolt reflects the
	// record that ends at keptFor.
	keptFrom uint64
	keptFor  uint64
	changed  uint64
	stored   partMeta // what bbolt says

	bad map[string]struct{} // keys whose records cannot be read; "" for one that is not known

	items int64 // user keys in bbolt; the applier's own, read through Stats

	commitDirty bool // commit is ahead of the log's commit records; the core loop's own

	traps []*trap // guarded by mu

	frozenMu sync.Mutex // held by who changes frozen
	frozen   atomic.Pointer[[]*Frozen]
}

// entryLog is the entries that bbolt does not hold yet, in memory.
type entryLog struct {
	ents  []subjects.Entry // consecutive
	skip  int              // of ents, trimmed
	bytes int64            // weight of them all
}

// entryWeight is what an entry weighs in memory beside its bytes: itself, and
// its value and key in the memory table.
const entryWeight = 320

func weight(e *subjects.Entry) int64 { return int64(len(e.Raw)) + entryWeight }

func (l *entryLog) push(e *subjects.Entry) {
	l.ents = append(l.ents, *e)
	l.bytes += weight(e)
}

func (l *entryLog) len() int { return len(l.ents) - l.skip }

// first is the seq of the oldest entry; there must be one.
func (l *entryLog) first() uint64 { return l.ents[l.skip].Version.Seq }

func (l *entryLog) at(seq uint64) *subjects.Entry {
	if l.len() == 0 || seq < l.first() || seq-l.first() >= uint64(l.len()) {
		return nil
	}
	return &l.ents[l.skip+int(seq-l.first())]
}

// cut forgets the entries after seq.
func (l *entryLog) cut(seq uint64) {
	for n := len(l.ents); n > l.skip && l.ents[n-1].Version.Seq > seq; n-- {
		l.bytes -= weight(&l.ents[n-1])
		l.ents[n-1] = subjects.Entry{}
		l.ents = l.ents[:n-1]
	}
}

// trim forgets the entries through seq.
func (l *entryLog) trim(seq uint64) {
	for l.len() > 0 && l.first() <= seq {
		l.bytes -= weight(&l.ents[l.skip])
		l.ents[l.skip] = subjects.Entry{}
		l.skip++
	}
	switch {
	case l.len() == 0:
		*l = entryLog{ents: l.ents[:0]}
		if cap(l.ents) > 256 {
			l.ents = nil
		}
	case l.skip > 64 && l.skip > l.len():
		n := copy(l.ents, l.ents[l.skip:])
		clear(l.ents[n:])
		l.ents, l.skip = l.ents[:n], 0
	}
}

// held is the weight of what waits in memory for bbolt.
func (p *part) held() int64 { return p.log.bytes + p.extra }

// fresh is the state of a copy that never held anything: its log is empty, which
// all logs begin with.
func (p *part) fresh() {
	p.outline = subjects.Outline{{}}
	p.tail, p.base, p.commit, p.applied = subjects.Version{}, subjects.Version{}, subjects.Version{}, subjects.Version{}
	p.incomplete, p.cursor, p.lost, p.unclean = false, nil, false, false
	p.log, p.index, p.extra = entryLog{}, index{}, 0
	p.sessions = subjects.Sessions{}
	p.bad = nil
	p.gen++
}

// lose is the state of a copy that is gone: nothing may rest on it.
func (p *part) lose() {
	p.fresh()
	p.outline = nil
	p.incomplete, p.lost = true, true
	p.mem.wipe()
}

// adopt makes what is there whole and clean.
func (p *part) adopt() {
	if p.lost {
		p.fresh() // nothing is there
		p.mem.wipe()
	}
	p.incomplete, p.cursor, p.unclean = false, nil, false
}

// reset begins the copy anew after base.
func (p *part) reset(base subjects.Version) {
	p.fresh()
	p.outline = subjects.Outline{base}
	p.tail, p.base, p.commit, p.applied = base, base, base, base
	p.incomplete = true
	p.mem.wipe()
}

// extend adds a version to an outline.
func extend(o subjects.Outline, v subjects.Version) subjects.Outline {
	if n := len(o); n > 0 && o[n-1].Epoch == v.Epoch {
		o[n-1] = v
		return o
	}
	if len(o) >= subjects.MaxOutline {
		o = slices.Delete(o, 0, 1)
	}
	return append(o, v)
}

// cutOutline returns the outline of the log cut after v; ok is false when v is
// no entry of it, as far as the outline tells.
func cutOutline(o subjects.Outline, v subjects.Version) (_ subjects.Outline, ok bool) {
	for i := len(o) - 1; i >= 0; i-- {
		if o[i].Epoch > v.Epoch {
			continue
		}
		if o[i].Epoch < v.Epoch || o[i].Seq < v.Seq || i > 0 && o[i-1].Seq >= v.Seq {
			return nil, false
		}
		cut := slices.Clone(o[:i+1])
		cut[i] = v
		return cut, true
	}
	return nil, false
}

// append adds an entry that follows the tail.
func (p *part) append(e *subjects.Entry) {
	p.log.push(e)
	p.outline = extend(p.outline, e.Version)
	p.tail = e.Version
}

// follows checks that e can be appended.
func (p *part) follows(e *subjects.Entry) error {
	if p.lost {
		return fmt.Errorf("append %d/%s: %w", p.id, e.Version, ErrLost)
	}
	if e.Prev != p.tail || e.Version.Seq != p.tail.Seq+1 || e.Version.Epoch < p.tail.Epoch {
		return fmt.Errorf("append %d/%s after %s: %w: it ends at %s", p.id, e.Version, e.Prev, ErrGap, p.tail)
	}
	return nil
}

// advance makes entries through seq visible.
func (p *part) advance(seq uint64) {
	for p.commit.Seq < seq {
		e := p.log.at(p.commit.Seq + 1)
		if e == nil {
			return
		}
		p.effect(e, nil, nil, true)
		p.sessions.Fold(e)
		p.commit = e.Version
	}
}

// effect does what an entry says to the keys of [from, to) that the copy
// already holds.
func (p *part) effect(e *subjects.Entry, from, to []byte, last bool) {
	switch e.Kind {
	case subjects.EntryFlush:
		if from == nil && last {
			p.mem.empty()
		} else {
			p.mem.void(from, to, last)
		}
	case subjects.EntryPut, subjects.EntryDelete:
		if !within(e.Key, from, to, last) || p.incomplete && bytes.Compare(e.Key, p.cursor) >= 0 {
			return
		}
		v := &value{version: e.Version, gone: true}
		if e.Kind == subjects.EntryPut {
			rec := e.Record()
			v = newValue(&rec)
		}
		p.mem.set(e.Key, v)
	}
}

// checkRange tells why a range cannot be taken.
func (p *part) checkRange(m *subjects.Range) error {
	if p.lost {
		return ErrLost
	}
	if p.incomplete && bytes.Compare(m.From, p.cursor) > 0 {
		return fmt.Errorf("%w: begins at %q, the copy ends at %q", ErrGap, m.From, p.cursor)
	}
	if m.Through < p.base.Seq {
		return fmt.Errorf("%w: holds entries through %d, the log begins after %s", ErrGap, m.Through, p.base)
	}
	for i := range m.Records {
		k := m.Records[i].Key
		if !within(k, m.From, m.To, m.Last) || i > 0 && bytes.Compare(m.Records[i-1].Key, k) >= 0 {
			return fmt.Errorf("%w: %q in [%q, %q)", ErrOutOfRange, k, m.From, m.To)
		}
	}
	return nil
}

// takeRange replaces the keys of the range. after are the committed entries
// behind m.Through, which the range need not hold; sessions are m's.
func (p *part) takeRange(m *subjects.Range, sessions *subjects.Sessions, after []subjects.Entry) {
	if !p.incomplete || !bytes.Equal(m.From, p.cursor) {
		p.mem.void(m.From, m.To, m.Last)
	}
	for i := range m.Records {
		r := &m.Records[i]
		p.mem.set(r.Key, newValue(r))
		p.extra += int64(len(r.Key)+len(r.Value)) + entryWeight
	}
	switch {
	case m.Last:
		p.incomplete, p.cursor = false, nil
		p.sessions.Merge(sessions)
	case p.incomplete && bytes.Compare(m.To, p.cursor) > 0:
		p.cursor = m.To
	}
	from := m.From
	if from == nil {
		from = []byte{}
	}
	for i := range after {
		p.effect(&after[i], from, m.To, m.Last)
	}
}

// keepFrom keeps the log from an entry on until bbolt reflects what was done
// with it: recovery needs it to do that again.
func (p *part) keepFrom(seq uint64) {
	lsn := p.index.lsn(seq)
	if lsn == 0 || lsn >= p.dirtyLSN {
		return
	}
	if p.keptFrom == 0 || lsn < p.keptFrom {
		p.keptFrom = lsn
	}
	p.keptFor, p.dirtyLSN = p.endLSN, lsn
}

// touch notes a record between two positions.
func (p *part) touch(kind recordKind, lsn, end uint64) {
	if p.dirtyLSN == 0 {
		p.dirtyLSN = lsn
	}
	p.endLSN = end
	if kind != recEntry {
		p.changed = end
	}
}
