package quorum

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/hashicorp/raft"
)

// startRaft starts raft on the store. Damage to the file shows in reading it, as a panic at worst; both become errors.
func (q *Quorum) startRaft() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read the log: %w: %v", ErrDamaged, p)
		}
	}()
	logger := newRaftLogger(q.log)
	if err := sweepSnapshots(q.opts.Dir); err != nil {
		return err
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(q.opts.Dir, keptSnapshots, logger)
	if err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	if err := q.bootstrap(snaps); err != nil {
		return err
	}
	files, err := snaps.List()
	if err != nil {
		return fmt.Errorf("look for snapshots: %w", err)
	}
	var covered uint64 // by the newest
	if len(files) > 0 {
		covered = files[0].Index
	}
	if err := q.store.check(covered); err != nil {
		return err
	}
	cache, err := raft.NewLogCache(maxInFlight, q.store)
	if err != nil {
		return fmt.Errorf("make log cache: %w", err)
	}
	q.fsm = &fsm{machine: q.opts.Machine, snapshotted: func() { q.store.written.Store(0) }, restored: func() {
		// Raft waits for this, so that it does nothing with what is cut.
		if b := q.trans.in.snaps.installing.Load(); b != nil {
			if err := q.store.begin(cache, *b); err != nil {
				q.log.Error("the log could not be begun anew behind a snapshot", "index", b.index, "err", err)
			}
		}
	}}
	r, err := raft.NewRaft(q.config(logger), q.fsm, cache, q.store, snaps, q.trans)
	if err != nil {
		if q.fsm.restoreErr != nil { // neither error is passed on by raft
			err = fmt.Errorf("%w: %w", err, q.fsm.restoreErr)
		}
		if q.store.damaged.Load() {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return fmt.Errorf("start raft: %w", err)
	}
	q.downMu.Lock()
	q.raft = r
	q.downMu.Unlock()
	q.running.Store(true)
	r.RegisterObserver(raft.NewObserver(q.events, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	}))
	if err := q.resume(cache); err != nil {
		return err
	}
	q.fsm.reached(r.AppliedIndex())
	q.trans.in.snaps.setApplied(r.AppliedIndex, q.fsm.reached)
	known := q.store.known
	q.trans.in.known.Store(&known)
	q.trans.in.setView(r)
	return nil
}

// config is how raft is to run.
func (q *Quorum) config(logger *raftLogger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(q.opts.ID)
	c.Logger = logger
	c.HeartbeatTimeout = q.opts.Heartbeat
	c.ElectionTimeout = q.opts.Election
	c.LeaderLeaseTimeout = q.opts.Heartbeat - nudge // the longest allowed: a short stall of the machine deposes nobody
	c.SnapshotInterval = snapshotLook
	c.SnapshotThreshold = snapshotEntries
	c.TrailingLogs = trailingLogs
	c.ShutdownOnRemove = false // a voter that was removed may be added again
	c.NoLegacyTelemetry = true
	return c
}

// resume has the log begin behind the snapshot that raft began with; that is an older one where the newest cannot be read.
func (q *Quorum) resume(logs raft.LogStore) error {
	var at [2]uint64
	stats := q.raft.Stats()
	for i, name := range []string{"last_snapshot_index", "last_snapshot_term"} {
		n, err := strconv.ParseUint(stats[name], 10, 64)
		if err != nil {
			return fmt.Errorf("raft tells no %s: %w", name, err)
		}
		at[i] = n
	}
	return q.store.resume(logs, boundary{at[0], at[1]})
}

// sweepSnapshots removes what a process that was killed left unfinished.
func sweepSnapshots(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, "snapshots", "*.tmp"))
	if err != nil {
		return fmt.Errorf("look for unfinished snapshots: %w", err)
	}
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove unfinished snapshot: %w", err)
		}
	}
	return nil
}

// bootstrap writes the first entry of a new log, which names the voters and is the same for all of them. Unlike
// raft.BootstrapCluster it finishes what a killed process began. A term that is there already is kept: there may be a vote
// in it.
func (q *Quorum) bootstrap(snaps raft.SnapshotStore) error {
	if len(q.opts.Voters) == 0 {
		return nil
	}
	last, err := q.store.LastIndex()
	if err != nil {
		return fmt.Errorf("look for a log: %w", err)
	}
	files, err := snaps.List()
	if err != nil {
		return fmt.Errorf("look for snapshots: %w", err)
	}
	if last > 0 || len(files) > 0 {
		return nil
	}
	var c raft.Configuration
	for _, v := range slices.Sorted(slices.Values(q.opts.Voters)) {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(v), Address: raft.ServerAddress(v)})
	}
	if _, err := q.store.GetUint64(currentTerm); err != nil {
		if err := q.store.SetUint64(currentTerm, 1); err != nil {
			return err
		}
	}
	return q.store.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(c)})
}
