package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// applier takes committed values to bbolt in the background: a sweep over all
// partitions, in the order of the file, in transactions small enough that
// whoever shares the processor does not notice.
type applier struct {
	s     *Store
	armed chan struct{} // something has committed
	kick  chan struct{} // memory is short, or somebody wants it now
	stop  chan struct{}
	done  sync.WaitGroup

	// files is held by who writes to bbolt's file, or makes another of it.
	files      sync.Mutex
	turn       atomic.Uint64 // counts the applier's transactions
	compaction *compaction   // that is under way; nil: none

	// Of the sweep that runs.
	budget int
	bytes  int
	steps  []step
	seen   looked // of the transaction that runs
	key    []byte
	vals   []byte // of the transaction that runs
	lsn    uint64 // that bbolt says the log reached
}

const (
	// applyShare of MemtableBytes starts a sweep at once.
	applyShare = 8
	// calmBatch is how many keys a transaction changes with memory to spare;
	// urgency times as many without.
	calmBatch  = 256
	urgency    = 8
	batchBytes = 2 << 20
	// valuesAtOnce is for how many bytes of values room is made at a time.
	valuesAtOnce = 256 << 10
)

func newApplier(s *Store) *applier {
	return &applier{
		seen: looked{}, s: s, armed: make(chan struct{}, 1), kick: make(chan struct{}, 1), stop: make(chan struct{}),
	}
}

func (a *applier) start() {
	a.done.Add(1)
	go a.loop()
}

func (a *applier) halt() {
	if !isStopped(a.stop) {
		close(a.stop)
		a.done.Wait()
	}
}

func (a *applier) arm() {
	select {
	case a.armed <- struct{}{}:
	default:
	}
}

func (a *applier) kickNow() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

func (a *applier) loop() {
	defer a.done.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-a.stop:
			return
		case <-a.kick:
		case <-a.armed:
			timer.Reset(a.s.opts.ApplyAfter)
			select {
			case <-a.stop:
				return
			case <-a.kick:
			case <-timer.C:
			}
		}
		if !a.round() {
			return
		}
	}
}

// round is a sweep and what follows from it; false ends the loop.
func (a *applier) round() bool {
	err := a.sweep(true)
	switch {
	case err == nil:
		a.s.boltFull.Store(false)
		a.s.removeSegments()
	case errors.Is(err, ErrClosed) || a.s.failedWith() != nil:
		return false
	case errors.Is(err, ErrDamaged):
		a.s.broken(err) // the log and the memory keep what comes
		return false
	case isNoSpace(err):
		if !a.s.boltFull.Swap(true) {
			a.s.opts.Log.Error("the disk is full", "folder", a.s.opts.Dir, "error", err)
		}
		if !pause(a.stop, retryEvery) {
			return false
		}
		a.arm()
	default:
		a.s.fail(err)
		return false
	}
	return true
}

func isStopped(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// sweep applies what every partition has committed by now.
func (a *applier) sweep(paced bool) error {
	var snaps []*snapshot
	var need uint64
	for _, p := range a.s.snapshotParts() {
		if n := takeSnapshot(p); n != nil {
			snaps = append(snaps, n)
			need = max(need, n.need)
		}
	}
	if len(snaps) == 0 {
		return nil
	}
	// The log first: bbolt must never know more than the log.
	if err := a.s.wal.waitSynced(need); err != nil {
		return err
	}
	for len(snaps) > 0 {
		began := time.Now()
		rest, err := a.transact(snaps, need)
		took := time.Since(began)
		observe(a.s.opts.Timed.Apply, took)
		if err != nil {
			return fmt.Errorf("apply to %s: %w", dataName, err)
		}
		snaps = rest
		if paced && len(snaps) > 0 && !pause(a.stop, a.rest(took)) {
			return ErrClosed
		}
	}
	return nil
}

// rest is how long to leave the machine to others after d of work: three times
// as long while memory is plenty, not at all when it is short.
func (a *applier) rest(d time.Duration) time.Duration {
	fill := float64(a.s.backlog.Load()) / float64(a.s.opts.MemtableBytes)
	share := min(max((fill-0.25)/0.5, 0), 1) // 0 at a quarter full, 1 at three
	return min(time.Duration(3*(1-share)*float64(d)), 100*time.Millisecond)
}
