package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// recovery puts the copies together from bbolt's states and the log.
type recovery struct {
	s     *Store
	meta  storeMeta
	metas map[ring.Partition]*partMeta
	logs  map[ring.Partition]*logState

	segs []*segment
	end  uint64 // LSN behind the last good record
	next uint64 // number of the segment to begin
	lost []*part
	gaps []*part // whose file is older than the log's beginning

	torn    bool // the log's tail was cut
	rotten  bool // and was no write that a process did not finish
	missing bool // records that were durable once are gone
	hole    bool // records behind what is bad were found, and set aside

	// rewrite: a write or sync had failed, so that what can be read need not be on
	// the disk.
	rewrite bool

	// mayBeTorn: the machine has stopped since, perhaps in the midst of a write.
	mayBeTorn bool
}

// logState is what the replay knows of one partition's log.
type logState struct {
	started   bool
	tail      subjects.Version
	atApplied subjects.Version // the log's entry of bbolt's last seq
	first     subjects.Version // Prev of the oldest entry
	seen      uint64           // committed for certain
	broken    bool
}

// openData opens bbolt and reads the states. A damaged or missing file is set
// aside and all copies are lost.
func (r *recovery) openData() error {
	s := r.s
	path := filepath.Join(s.opts.Dir, dataName)
	mark := filepath.Join(s.opts.Dir, damagedName)
	_, err := os.Stat(path)
	gone := errors.Is(err, fs.ErrNotExist) && s.identity.Ready
	switch why, err := os.ReadFile(mark); {
	case err == nil && !gone:
		s.note("%s was found damaged before: %s", dataName, why)
		gone = true
	case !gone:
		var found bool
		found, err = r.tryData(path)
		if err == nil && (found || !s.identity.Ready) {
			return nil
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		if err == nil {
			err = errors.New("it has no state of the store")
		}
		s.note("%s: %v", dataName, err)
	default:
		s.note("%s is missing", dataName)
	}
	return r.remakeData(path, mark)
}

// tryData opens the file as it is.
func (r *recovery) tryData(path string) (found bool, err error) {
	s := r.s
	if err = s.use(path); err != nil {
		return false, err
	}
	if err = account(s.db.Load().DB, r.mayBeTorn); err == nil {
		r.meta, found, r.metas, err = loadBolt(s.db.Load().DB)
	}
	if err != nil || !found && s.identity.Ready {
		s.closeData()
		s.db.Store(nil)
	}
	return found, err
}

// remakeData sets a damaged file aside. Every copy is lost; the log's promises
// still hold.
func (r *recovery) remakeData(path, mark string) error {
	s := r.s
	if to, err := s.opts.disk.setAside(path); err == nil {
		s.note("%s was set aside as %s; the replicas give the copies back", dataName, filepath.Base(to))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := s.use(path)
	if err != nil {
		return err
	}
	if _, _, r.metas, err = loadBolt(s.db.Load().DB); err != nil {
		return err
	}
	r.meta = storeMeta{lost: true, from: ^uint64(0)} // until the log's end is known
	if err := s.opts.disk.remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// replay reads the whole log and does again what bbolt does not reflect.
func (r *recovery) replay() error {
	s := r.s
	s.lostBefore, s.recordsFrom = r.meta.lost, r.meta.from
	r.logs = make(map[ring.Partition]*logState)
	for id, m := range r.metas {
		r.restore(s.make(id), m)
	}
	if err := r.scan(); err != nil {
		return err
	}
	switch {
	case r.end < r.meta.lsn:
		s.note("the log ends at %d, it had reached %d", r.end, r.meta.lsn)
		r.missing = true
	case len(r.segs) == 0 && s.identity.Ready && !r.meta.lost:
		// A store that was ready has begun a segment, even if nothing was applied.
		s.note("the log is missing")
		r.missing = true
	}
	if (r.missing || r.hole) && len(r.segs) == 0 {
		// It may have been all that knew of a copy.
		r.meta.lost, s.lostBefore = true, true
	}
	for _, p := range s.all {
		r.finish(p)
	}
	for _, g := range r.segs {
		// After the death of a process what it wrote may be with the kernel only.
		if err := s.opts.disk.datasync(g.file); err != nil {
			return fmt.Errorf("sync %s: %w", g.path, err)
		}
	}
	if r.meta.from == ^uint64(0) {
		r.meta.from = max(r.end, r.meta.lsn)
		s.recordsFrom = r.meta.from
	}
	return r.saveMeta()
}

// restore begins with what bbolt says.
func (r *recovery) restore(p *part, m *partMeta) {
	p.promised = m.promised
	p.outline = slices.Clone(m.outline)
	p.base, p.applied, p.commit, p.tail = m.base, m.applied, m.applied, m.applied
	p.incomplete, p.cursor, p.items = m.incomplete, m.cursor, m.items
	p.lost, p.unclean = m.lost, m.unclean
	p.stored, p.mem = *m, memtable{} // nothing of the file is void, whatever make thought
	if len(m.sessions) > 0 {
		if err := p.sessions.Decode(m.sessions); err != nil {
			r.s.note("sessions of partition %d: %v", p.id, err) // sealed: cannot be
		}
	}
	r.log(p).seen = m.seen
}

func (r *recovery) log(p *part) *logState {
	l := r.logs[p.id]
	if l == nil {
		l = &logState{}
		r.logs[p.id] = l
	}
	return l
}

// finish settles a partition after the replay.
func (r *recovery) finish(p *part) {
	l, m := r.log(p), &p.stored
	p.endLSN = r.end
	if m.torn && r.end < m.need {
		r.s.note("partition %d: the log that its copy needs is gone", p.id)
		l.broken = true
	}
	if l.broken {
		r.s.backlog.Add(-p.held())
		p.lose()
		r.lost = append(r.lost, p)
		return
	}
	if p.lost {
		return
	}
	connected := l.started && l.tail.Seq >= p.applied.Seq && (l.atApplied == p.applied || l.first == p.applied)
	if !connected {
		if l.started && l.tail.Seq > p.applied.Seq {
			r.s.note("partition %d: the log goes on after %s, the file ends at %s", p.id, l.first, p.applied)
			r.gaps = append(r.gaps, p)
		}
		p.index, p.tail = index{}, p.applied
		r.s.backlog.Add(-p.log.bytes)
		p.log = entryLog{}
	} else {
		p.tail = l.tail
	}
	for i := p.log.skip; i < len(p.log.ents); i++ {
		p.outline = extend(p.outline, p.log.ents[i].Version)
	}
	p.advance(min(max(l.seen, p.commit.Seq), p.tail.Seq))
	if p.log.len() > 0 {
		if lsn := p.index.lsn(p.log.first()); p.dirtyLSN == 0 || lsn < p.dirtyLSN {
			p.dirtyLSN = lsn
		}
	}
}

// entry does recEntry again. e aliases the segment's bytes.
func (r *recovery) entry(e *subjects.Entry, g *segment, off int64) {
	p := r.s.make(e.Partition)
	l := r.log(p)
	if p.lost || l.broken {
		return
	}
	switch {
	case !l.started:
		l.started, l.first = true, e.Prev
	case e.Prev != l.tail && r.carried(p, l, e):
		return
	case e.Prev != l.tail && e.Version.Seq > l.tail.Seq:
		r.s.note("partition %d: entry %s does not follow %s", p.id, e.Version, l.tail)
		l.broken = true
		return
	case e.Prev != l.tail:
		// Carried, and what it was carried from is partly gone.
		r.s.backlog.Add(-p.log.bytes)
		p.log, p.index = entryLog{}, index{}
		l.first, l.atApplied = e.Prev, subjects.Version{}
	}
	l.tail = e.Version
	p.index.push(g, off, e.Version.Seq)
	switch {
	case e.Version.Seq == p.applied.Seq:
		l.atApplied = e.Version
	case e.Version.Seq > p.applied.Seq:
		raw := slices.Clone(e.Raw)
		if _, err := e.Decode(raw); err != nil {
			l.broken = true
			return
		}
		p.log.push(e)
		r.s.backlog.Add(weight(e))
	}
}

// carried reports whether the log holds the entry already.
func (r *recovery) carried(p *part, l *logState, e *subjects.Entry) bool {
	seq := e.Version.Seq
	if seq > l.tail.Seq {
		return false
	}
	if old := p.log.at(seq); old != nil {
		return old.Version == e.Version
	}
	g, off, ok := p.index.find(seq)
	if !ok {
		return false
	}
	old, err := readEntry(g, off, p.id, seq)
	return err == nil && old.Version == e.Version
}

// cut does recCut again: on the log, since it never cuts what has committed.
func (r *recovery) cut(p *part, after subjects.Version) {
	l := r.log(p)
	if p.lost || !l.started || l.tail.Seq <= after.Seq {
		return
	}
	l.tail = after
	p.index.cut(after.Seq)
	if p.index.end() == 0 {
		l.first = after // all that was retained is cut
	}
	if p.applied.Seq > after.Seq {
		l.atApplied = subjects.Version{}
	}
	r.s.backlog.Add(-p.log.bytes)
	p.log.cut(after.Seq)
	r.s.backlog.Add(p.log.bytes)
}

// reset does recReset again, or recDrop with a nil base, or recLost. A reflected
// one only empties the log.
func (r *recovery) reset(p *part, kind recordKind, base subjects.Version, lsn uint64) {
	l := r.log(p)
	if lsn < p.stored.lsn {
		// What came before belongs to the copy that is gone; bbolt holds its
		// successor.
		r.s.backlog.Add(-p.held())
		p.log, p.index, p.mem, p.extra = entryLog{}, index{}, memtable{}, 0
		p.commit = p.stored.applied
		*l = logState{started: kind == recReset, tail: base, first: base, seen: p.stored.seen}
		return
	}
	p.touch(kind, lsn, lsn+1)
	r.s.backlog.Add(-p.held())
	*l = logState{started: true, tail: base, first: base, seen: base.Seq}
	switch kind {
	case recReset:
		p.reset(base)
	case recDrop:
		p.fresh()
		p.mem.wipe()
	case recLost:
		p.lose()
	}
}

// settle does a record again that says something of a copy.
func (r *recovery) settle(p *part, kind recordKind) {
	switch kind {
	case recUnclean:
		p.unclean = true
	case recClean:
		p.unclean = false
	case recAdopt:
		if p.lost {
			*r.log(p) = logState{started: true}
		}
		p.adopt()
	}
}

// takeRange does recRange again.
func (r *recovery) takeRange(p *part, m *subjects.Range) error {
	if p.lost || r.log(p).broken {
		return nil
	}
	if err := p.checkRange(m); err != nil {
		return err
	}
	after, err := p.committedAfter(m.Through)
	if err != nil {
		return err
	}
	before := p.held()
	sessions, err := sessionsOf(m)
	if err != nil {
		return err
	}
	p.keepFrom(m.Through + 1)
	p.takeRange(m, sessions, after)
	r.s.backlog.Add(p.held() - before)
	return nil
}
