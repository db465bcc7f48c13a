package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Store is one server's copies. See the package's comment for who may call what.
type Store struct {
	opts    Options
	lock    *os.File
	db      *bbolt.DB
	wal     *wal
	prep    *preparer
	applier *applier

	idMu     sync.Mutex
	identity identity
	run      run

	damaged []string // found at Open

	parts []atomic.Pointer[part]
	allMu sync.Mutex
	all   []*part // by partition

	lostBefore  bool   // a partition without a state is lost, not empty
	recordsFrom uint64 // LSN before which the log belongs to a file set aside

	backlog atomic.Int64

	// The core loop's own.
	must        bool    // what is buffered holds a promise, cut, reset or drop
	commits     []*part // whose commit index the log does not have yet
	commitsFrom uint64  // LSN of the last commit record
	scratch     []byte

	carryTo atomic.Uint64 // entries before this LSN are to be written again
	carried atomic.Uint64 // LSN behind those that were

	logFull, boltFull atomic.Bool

	failMu  sync.Mutex
	failure error
	failed  chan error

	closeMu sync.Mutex
	closed  bool
}

// commitEvery is how many bytes of log share one record of commit indexes.
const commitEvery = 64 << 10

// ID is the store's random identity; its folder keeps it.
func (s *Store) ID() ring.NodeID { return s.identity.ID }

// ClusterID is the cluster that the store belongs to, 0 for none yet.
func (s *Store) ClusterID() ring.ClusterID {
	s.idMu.Lock()
	defer s.idMu.Unlock()
	return s.identity.Cluster
}

// SetClusterID makes the store one of the cluster's, for ever.
func (s *Store) SetClusterID(c ring.ClusterID) error {
	s.idMu.Lock()
	defer s.idMu.Unlock()
	if s.identity.Cluster == c {
		return nil
	}
	if s.identity.Cluster != 0 {
		return fmt.Errorf("%s: %w: %s, not %s; use another folder", s.opts.Dir, ErrOtherCluster, s.identity.Cluster, c)
	}
	id := s.identity
	id.Cluster = c
	if err := saveJSON(filepath.Join(s.opts.Dir, identityName), id); err != nil {
		return err
	}
	s.identity = id
	return nil
}

// Unclean reports whether the log may lack entries that this store has
// acknowledged: the machine stopped before they were on disk (R13), an fsync
// failed, or damage was found in the midst of the log. Such a store must not
// lead, grant or acknowledge from what it holds. It stays so until SetClean.
func (s *Store) Unclean() bool {
	s.idMu.Lock()
	defer s.idMu.Unlock()
	return s.run.Unclean
}

// SetClean says that every copy has been taken back in by its primary.
func (s *Store) SetClean() error {
	s.idMu.Lock()
	defer s.idMu.Unlock()
	if !s.run.Unclean {
		return nil
	}
	r := s.run
	r.Unclean = false
	if err := saveJSON(filepath.Join(s.opts.Dir, runName), r); err != nil {
		return err
	}
	s.run = r
	return nil
}

// Damaged tells what Open found damaged, a sentence each.
func (s *Store) Damaged() []string { return slices.Clone(s.damaged) }

// State is a copy as the replication protocol sees it.
type State struct {
	Promised ring.Epoch
	// Outline of the log. One that begins with the zero version is whole; a lost
	// copy has none.
	Outline subjects.Outline
	Tail    subjects.Version // the last entry
	Commit  uint64           // seq of the last entry known to have committed
	Base    subjects.Version // where the log was begun by a stream
	// Incomplete copies hold only what is before Cursor; Append and Range
	// complete them, after a Reset.
	Incomplete bool
	Cursor     []byte
}

// State returns a partition's copy. One that the store knows nothing of is an
// empty log, or a lost one if the store had to set its file aside.
func (s *Store) State(id ring.Partition) State {
	p := s.part(id)
	if p == nil {
		if s.lostBefore {
			return State{Incomplete: true}
		}
		return State{Outline: subjects.Outline{{}}}
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return State{
		Promised: p.promised, Outline: slices.Clone(p.outline), Tail: p.tail, Commit: p.commit.Seq,
		Base: p.base, Incomplete: p.incomplete, Cursor: slices.Clone(p.cursor),
	}
}

// Partitions lists those that the store has any state of.
func (s *Store) Partitions() []ring.Partition {
	s.allMu.Lock()
	defer s.allMu.Unlock()
	list := make([]ring.Partition, len(s.all))
	for i, p := range s.all {
		list[i] = p.id
	}
	return list
}

// part returns a partition's copy, nil if there is none.
func (s *Store) part(id ring.Partition) *part {
	if int(id) >= len(s.parts) {
		return nil
	}
	return s.parts[id].Load()
}

// make returns a partition's copy, a new one if there was none.
func (s *Store) make(id ring.Partition) *part {
	if p := s.part(id); p != nil {
		return p
	}
	p := &part{id: id}
	p.fresh()
	if s.lostBefore {
		p.lose()
	}
	// What bbolt says of a copy that it has no state of.
	p.stored = partMeta{outline: slices.Clone(p.outline), incomplete: p.incomplete, lost: p.lost}
	s.allMu.Lock()
	defer s.allMu.Unlock()
	i, _ := slices.BinarySearchFunc(s.all, id, func(p *part, id ring.Partition) int { return int(p.id) - int(id) })
	s.all = slices.Insert(s.all, i, p)
	s.parts[id].Store(p)
	return p
}

func (s *Store) snapshotParts() []*part {
	s.allMu.Lock()
	defer s.allMu.Unlock()
	return slices.Clone(s.all)
}

// Append adds an entry to its partition's log. Its Prev must be the tail
// (ErrGap), Raw must be set, and its bytes must never change afterwards. With
// ErrNoSpace deletes are still taken.
func (s *Store) Append(e *subjects.Entry) error {
	if int(e.Partition) >= len(s.parts) || len(e.Raw) == 0 || len(e.Raw) > maxRecord-recordHead {
		return fmt.Errorf("append %d/%s: %w", e.Partition, e.Version, subjects.ErrMalformed)
	}
	if s.Full() && (e.Kind == subjects.EntryPut || e.Kind == subjects.EntryAnswer) {
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
	if s.Full() {
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

// Flush writes everything buffered. now tells that it is as durable as the sync
// mode says already, and done is not called. Otherwise done is called, in the
// order of the calls, once it is on disk or has failed: with SyncAlways, and
// when there is a promise, cut, reset or drop in it. done runs on the goroutine
// that syncs and must not block.
func (s *Store) Flush(done func(error)) (now bool) {
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
		return true
	}
	s.wal.whenSynced(done, err)
	return false
}

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

// Failed tells of a write or sync that failed, once: the process must end, since
// what the kernel held may be gone (R14).
func (s *Store) Failed() <-chan error { return s.failed }

// fail records the first failure.
func (s *Store) fail(err error) {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	if s.failure != nil || err == nil || errors.Is(err, ErrClosed) {
		return
	}
	s.failure = err
	s.opts.Log.Error("the store has failed", "folder", s.opts.Dir, "error", err)
	s.markFailure(err)
	s.failed <- err
	close(s.failed)
}

// markFailure leaves word for the next process, as far as the disk lets it.
func (s *Store) markFailure(err error) {
	if sync := (*syncError)(nil); errors.As(err, &sync) {
		s.idMu.Lock()
		s.run.Unclean = true
		e := saveJSON(filepath.Join(s.opts.Dir, runName), s.run)
		s.idMu.Unlock()
		if e != nil {
			s.opts.Log.Error("cannot mark the store unclean", "folder", s.opts.Dir, "error", e)
		}
	}
	if errors.Is(err, ErrDamaged) {
		if e := writeFile(filepath.Join(s.opts.Dir, damagedName), []byte(err.Error()+"\n")); e != nil {
			s.opts.Log.Error("cannot mark the file damaged", "folder", s.opts.Dir, "error", e)
		}
	}
}

func (s *Store) failedWith() error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	return s.failure
}

// Full reports that the disk is: only deletes, promises, cuts, resets and drops
// are taken.
func (s *Store) Full() bool { return s.logFull.Load() || s.boltFull.Load() }

// Backlog is how many bytes of memory entries and ranges take that bbolt does
// not hold yet; to be compared with Options.MemtableBytes.
func (s *Store) Backlog() int64 { return s.backlog.Load() }
