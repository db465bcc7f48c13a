package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Store is one server's copies. See the package's comment for who may call what.
type Store struct {
	opts      Options
	lock      *os.File
	db        atomic.Pointer[dataFile]
	retiring  sync.WaitGroup // files that were replaced, until they are closed
	wal       *wal
	prep      *preparer
	applier   *applier
	cache     *cache
	scrubber  *scrubber
	compactor *compactor

	idMu     sync.Mutex
	identity identity
	run      run

	opened  time.Time
	damaged []string // found at Open

	parts []atomic.Pointer[part]
	allMu sync.Mutex
	all   []*part // by partition

	lean        atomic.Bool // the disk was full, and has little room yet
	lostBefore  bool        // a partition without a state is lost, not empty
	recordsFrom uint64      // LSN before which the log belongs to a file set aside

	backlog atomic.Int64

	// The core loop's own.
	room        Room    // as of the newest Admit
	must        bool    // what is buffered holds a promise, cut, reset or drop
	commits     []*part // whose commit index the log does not have yet
	commitsFrom uint64  // LSN of the last commit record
	scratch     []byte

	carryTo atomic.Uint64 // entries before this LSN are to be written again
	carried atomic.Uint64 // LSN behind those that were

	logFull, boltFull atomic.Bool
	isBroken          atomic.Bool // brokenBy is set

	retireTo atomic.Uint64 // number of the newest segment that is to be given up

	failMu   sync.Mutex
	failure  error
	brokenBy error // what is wrong with bbolt's structure
	failed   chan error

	closeMu sync.Mutex
	closed  bool
}

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
	if err := s.opts.disk.saveJSON(filepath.Join(s.opts.Dir, identityName), id); err != nil {
		return err
	}
	s.identity.Cluster = c // and not the rest, which is read without the lock
	return nil
}

// Grant is how long a new process must take leases for granted that one before
// it gave: what Options.Grant says, or a process before said, whichever is
// longer.
func (s *Store) Grant() time.Duration {
	s.idMu.Lock()
	defer s.idMu.Unlock()
	return time.Duration(s.run.Grant)
}

// Starts tells how many processes have opened the store, this one among them. An
// old folder that is put back has fewer.
func (s *Store) Starts() uint64 {
	s.idMu.Lock()
	defer s.idMu.Unlock()
	return s.run.Starts
}

// Unclean lists the copies that may lack what this store has acknowledged, and
// those that are lost: its machine stopped before all was on disk (R13), a write
// or sync failed, or a file was found damaged (R14). Such a copy must not lead,
// grant or acknowledge from what it holds, until Clean, Adopt or Reset.
func (s *Store) Unclean() (list []ring.Partition) {
	for _, p := range s.snapshotParts() {
		p.mu.RLock()
		if p.unclean || p.lost {
			list = append(list, p.id)
		}
		p.mu.RUnlock()
	}
	return list
}

// Doubtful lists the partitions of which the store may lack what it has
// acknowledged: those of Unclean and, if the store lost its database, those that
// it knows nothing of.
func (s *Store) Doubtful() []ring.Partition {
	list := s.Unclean()
	if !s.lostBefore {
		return list
	}
	for id := range ring.Partition(ring.MaxPartitions) {
		if s.part(id) == nil {
			list = append(list, id)
		}
	}
	return list
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
	// Unclean copies may lack entries that they acknowledged.
	Unclean bool
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
		Base: p.base, Incomplete: p.incomplete, Cursor: slices.Clone(p.cursor), Unclean: p.unclean,
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
	if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoSpace) {
		s.idMu.Lock()
		s.run.Unclean = true
		e := s.opts.disk.saveJSON(filepath.Join(s.opts.Dir, runName), s.run)
		s.idMu.Unlock()
		if e != nil {
			s.opts.Log.Error("cannot mark the store unclean", "folder", s.opts.Dir, "error", e)
		}
	}
	if errors.Is(err, ErrDamaged) {
		if e := s.opts.disk.writeFile(filepath.Join(s.opts.Dir, damagedName), []byte(err.Error()+"\n")); e != nil {
			s.opts.Log.Error("cannot mark the file damaged", "folder", s.opts.Dir, "error", e)
		}
	}
}

func (s *Store) failedWith() error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	return s.failure
}

// Backlog is how many bytes of memory entries and ranges take that bbolt does
// not hold yet; to be compared with Options.MemtableBytes.
func (s *Store) Backlog() int64 { return s.backlog.Load() }
