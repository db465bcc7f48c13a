package store

import (
	"encoding/binary"
	"fmt"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// commitEvery is how many bytes of log share one record of commit indexes.
const commitEvery = 64 << 10

// Append adds an entry to its partition's log. Its Prev must be the tail
// (ErrGap), Raw must be set, and its bytes must never change afterwards. It is
// refused with ErrNoSpace where the newest Admit says so.
func (s *Store) Append(e *subjects.Entry) error {
	if int(e.Partition) >= len(s.parts) || len(e.Raw) == 0 || len(e.Raw) > maxRecord-recordHead {
		return fmt.Errorf("append %d/%s: %w", e.Partition, e.Version, subjects.ErrMalformed)
	}
	if s.room == Dry || s.room == Full && e.Kind == subjects.EntryPut {
		return ErrNoSpace
	}
	p := s.make(e.Partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.follows(e); err != nil {
		return err
	}
	g, off, err := s.wal.add(recEntry, e.Raw)
	if err != nil {
		return err
	}
	p.append(e)
	p.index.push(g, off, e.Version.Seq)
	p.touch(recEntry, g.start+uint64(off), s.wal.end.Load())
	s.backlog.Add(weight(e))
	return nil
}

// record adds a small record of a partition to the log.
func (s *Store) record(p *part, kind recordKind, body []byte) error {
	g, off, err := s.wal.add(kind, body)
	if err == nil {
		p.touch(kind, g.start+uint64(off), s.wal.end.Load())
	}
	return err
}

// body begins the body of a small record.
func (s *Store) body(p *part) []byte {
	return binary.AppendUvarint(s.scratch[:0], uint64(p.id))
}

// Promise raises the epoch that the store answers to; it never lowers it.
func (s *Store) Promise(id ring.Partition, epoch ring.Epoch) {
	if int(id) >= len(s.parts) {
		return
	}
	p := s.make(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	if epoch <= p.promised {
		return
	}
	// An error here is reported by Flush, which has to come before the promise
	// counts.
	if s.record(p, recPromises, binary.AppendUvarint(s.body(p), uint64(epoch))) == nil {
		p.promised = epoch
	}
	s.must = true
}

// Cut promises an epoch and drops the entries after a version of the log, in
// one record. When that would drop a committed entry it changes nothing and
// returns ErrBelowCommit; when the version is none of the log, ErrNotShared.
func (s *Store) Cut(id ring.Partition, epoch ring.Epoch, after subjects.Version) error {
	if int(id) >= len(s.parts) {
		return fmt.Errorf("cut %d: %w", id, subjects.ErrMalformed)
	}
	p := s.make(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.lost:
		return fmt.Errorf("cut %d after %s: %w", id, after, ErrLost)
	case after.Seq < p.commit.Seq:
		return fmt.Errorf("cut %d after %s: %w %s", id, after, ErrBelowCommit, p.commit)
	}
	outline, ok := cutOutline(p.outline, after)
	if !ok {
		return fmt.Errorf("cut %d after %s: %w: it ends at %s", id, after, ErrNotShared, p.tail)
	}
	body := appendVersion(binary.AppendUvarint(s.body(p), uint64(epoch)), after)
	if err := s.record(p, recCut, body); err != nil {
		return err
	}
	before := p.held()
	p.promised = max(p.promised, epoch)
	p.outline, p.tail = outline, after
	p.log.cut(after.Seq)
	p.index.cut(after.Seq)
	s.backlog.Add(p.held() - before)
	s.must = true
	return nil
}

// Reset begins a copy anew, to be completed by ranges: it is incomplete with an
// empty cursor, and its log goes on after base.
func (s *Store) Reset(id ring.Partition, epoch ring.Epoch, base subjects.Version) error {
	if int(id) >= len(s.parts) {
		return fmt.Errorf("reset %d: %w", id, subjects.ErrMalformed)
	}
	p := s.make(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	body := appendVersion(binary.AppendUvarint(s.body(p), uint64(epoch)), base)
	if err := s.record(p, recReset, body); err != nil {
		return err
	}
	s.backlog.Add(-p.held())
	p.promised = max(p.promised, epoch)
	p.reset(base)
	s.must = true
	return nil
}

// Drop forgets a copy but not its promise.
func (s *Store) Drop(id ring.Partition) error {
	p := s.part(id)
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := s.record(p, recDrop, s.body(p)); err != nil {
		return err
	}
	s.backlog.Add(-p.held())
	p.fresh()
	p.mem.wipe()
	s.must = true
	s.applier.arm() // what it had in the data file is of no use; perhaps nothing commits any more
	return nil
}

// Clean says that a copy that may lack what it acknowledged owes nothing any
// more: a later configuration goes on from what it has.
func (s *Store) Clean(id ring.Partition) error {
	return s.settle(id, recClean, func(p *part) { p.unclean = false })
}

// Adopt declares that what a copy holds is all that there is: it is whole and
// clean, and empty if it was lost.
func (s *Store) Adopt(id ring.Partition) error { return s.settle(id, recAdopt, (*part).adopt) }

// settle changes what is said of a copy, in one record.
func (s *Store) settle(id ring.Partition, kind recordKind, change func(*part)) error {
	if int(id) >= len(s.parts) {
		return fmt.Errorf("settle %d: %w", id, subjects.ErrMalformed)
	}
	p := s.make(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	// As for Range: an entry that did not reach its key here must not when
	// recovery does it again.
	if p.commitDirty {
		if err := s.record(p, recCommits, binary.AppendUvarint(s.body(p), p.commit.Seq)); err != nil {
			return err
		}
	}
	if err := s.record(p, kind, s.body(p)); err != nil {
		return err
	}
	change(p)
	s.must = true
	s.applier.arm()
	return nil
}

// Commit makes the entries through seq visible; they go to bbolt later. On an
// incomplete copy entries of keys behind the cursor stay in the log only.
func (s *Store) Commit(id ring.Partition, seq uint64) {
	p := s.part(id)
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if seq <= p.commit.Seq || p.lost {
		return
	}
	if len(p.traps) > 0 {
		s.spring(p, min(seq, p.tail.Seq))
	}
	p.advance(min(seq, p.tail.Seq))
	if !p.commitDirty {
		p.commitDirty = true
		s.commits = append(s.commits, p)
	}
	s.applier.arm()
}

// Range takes one piece of a stream: it replaces what the copy holds from
// m.From to m.To and moves the cursor there; the last one completes the copy.
// Its bytes must never change afterwards.
func (s *Store) Range(id ring.Partition, m *subjects.Range) error {
	if s.room != Roomy {
		return ErrNoSpace
	}
	if int(id) >= len(s.parts) || m.Partition != id {
		return fmt.Errorf("range of %d for %d: %w", m.Partition, id, subjects.ErrMalformed)
	}
	p := s.make(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkRange(m); err != nil {
		return fmt.Errorf("range of %d: %w", id, err)
	}
	after, err := p.committedAfter(m.Through)
	if err != nil {
		return fmt.Errorf("range of %d: %w", id, err)
	}
	sessions, err := sessionsOf(m)
	if err != nil {
		return fmt.Errorf("range of %d: %w", id, err)
	}
	// Recovery does the log's records again in their order, so it must know
	// what had committed when this one came.
	if p.commitDirty {
		if err := s.record(p, recCommits, binary.AppendUvarint(s.body(p), p.commit.Seq)); err != nil {
			return err
		}
	}
	body := m.Append(nil)
	if len(body) > maxRecord-recordHead {
		return fmt.Errorf("range of %d: %d bytes: %w", id, len(body), subjects.ErrMalformed)
	}
	if err := s.record(p, recRange, body); err != nil {
		return err
	}
	p.keepFrom(m.Through + 1)
	before := p.held()
	p.takeRange(m, sessions, after)
	s.backlog.Add(p.held() - before)
	s.applier.arm()
	return nil
}

// sessionsOf reads the sessions that come with the last range of a stream.
func sessionsOf(m *subjects.Range) (*subjects.Sessions, error) {
	s := &subjects.Sessions{}
	if len(m.Sessions) == 0 {
		return s, nil
	}
	if err := s.Decode(m.Sessions); err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	return s, nil
}

// Session returns what the committed entries of a partition tell of an
// operation. Values are valid until the next change.
func (s *Store) Session(id ring.Partition, op subjects.OpID) (subjects.Recorded, subjects.Past) {
	p := s.part(id)
	if p == nil {
		return subjects.Recorded{}, subjects.PastUnknown
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.sessions.Lookup(op)
}

// Clock returns the largest clock of a partition's committed entries, in Unix
// milliseconds; 0 before the first.
func (s *Store) Clock(id ring.Partition) int64 {
	p := s.part(id)
	if p == nil {
		return 0
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.sessions.Clock()
}

// Sessions returns a partition's sessions in their wire form.
func (s *Store) Sessions(id ring.Partition) []byte {
	p := s.part(id)
	if p == nil {
		return nil
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.sessions.Append(nil)
}

// Flushed is how far Flush has come when it returns.
type Flushed uint8

const (
	// Failed: something was not written, which done is told.
	Failed Flushed = iota
	// Written: a crash of the process loses nothing of it. done is called once it
	// is on disk.
	Written
	// Durable: it is as durable as the sync mode says, and done is not called.
	Durable
)

// Flush writes everything buffered. It is Durable at once with relaxed syncing,
// unless there is a promise, cut, reset or drop in it: what rests on one of these
// waits for done, the rest need not. done is called in the order of the calls, on
// the goroutine that syncs, and must not block.
func (s *Store) Flush(done func(error)) Flushed {
	if s.wal.end.Load()-s.commitsFrom > commitEvery {
		s.recordCommits()
	}
	if s.carryTo.Load() > 0 {
		s.carry()
	}
	_, err := s.wal.flush()
	must := s.must || s.opts.Sync == SyncAlways
	s.must = false
	if s.backlog.Load() > s.opts.MemtableBytes/applyShare {
		s.applier.kickNow()
	}
	if err == nil && (!must || s.wal.isSynced()) {
		return Durable
	}
	s.wal.whenSynced(done, err)
	if err != nil {
		return Failed
	}
	return Written
}

// Bind makes the next Flush one that is Durable only on disk, although it may hold
// no promise, cut, reset or drop: what it tells rests on an earlier one.
func (s *Store) Bind() { s.must = true }

// recordCommits writes the commit indexes that moved since the last time.
func (s *Store) recordCommits() {
	b := s.scratch[:0]
	for _, p := range s.commits {
		p.commitDirty = false
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(p.id)), p.commit.Seq)
	}
	clear(s.commits)
	s.commits = s.commits[:0]
	s.scratch = b
	if len(b) > 0 {
		s.wal.add(recCommits, b) // an error is Flush's to report
	}
	s.commitsFrom = s.wal.end.Load()
}
