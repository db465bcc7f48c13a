package store

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
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
		s: s, armed: make(chan struct{}, 1), kick: make(chan struct{}, 1), stop: make(chan struct{}),
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

// step is what one transaction did of a snapshot.
type step struct {
	snap     *snapshot
	from, to int // of its keys
	cleared  int // masks, from the first on
	whole    bool
}

// transact applies as much of the snapshots as one transaction should and
// returns those that have not been finished.
func (a *applier) transact(snaps []*snapshot, need uint64) ([]*snapshot, error) {
	a.budget, a.bytes, a.steps, a.vals = a.s.opts.batch, batchBytes, a.steps[:0], a.vals[:0]
	if a.s.backlog.Load() > a.s.opts.MemtableBytes/2 {
		a.budget *= urgency
	}
	saved := make([]int64, 0, 16)
	err := a.write(func(file *dataFile) error {
		return file.Update(func(tx *bbolt.Tx) error {
			data, meta := tx.Bucket(bucketData), tx.Bucket(bucketMeta)
			if err := file.newest.Load().check(data, 1); err != nil {
				return err
			}
			for _, n := range snaps {
				saved = append(saved, n.items)
				st, err := a.apply(data, n)
				if err != nil {
					return err
				}
				if err := meta.Put(metaKey(n.part.id), n.state(st.whole).encode()); err != nil {
					return err
				}
				a.steps = append(a.steps, st)
				a.budget--
				if !st.whole || a.budget <= 0 || a.bytes <= 0 {
					break
				}
			}
			a.lsn = max(a.lsn, need)
			st := storeMeta{lost: a.s.lostBefore, from: a.s.recordsFrom, lsn: a.lsn}
			return meta.Put(keyStore, st.encode())
		})
	})
	if err != nil {
		for i, items := range saved {
			snaps[i].items = items
		}
		return nil, err
	}
	finished := 0
	for _, st := range a.steps {
		a.settle(st)
		if st.whole {
			finished++
		}
	}
	return snaps[finished:], nil
}

// write runs what writes to the file, and does to the new one, if it is being
// compacted, what that changed.
func (a *applier) write(f func(*dataFile) error) error {
	a.files.Lock()
	defer a.files.Unlock()
	// A compaction may have failed the store between the two files.
	if err := a.s.failedWith(); err != nil {
		return err
	}
	a.compaction.begin()
	file := a.s.db.Load()
	err := guard(func() error { return f(file) })
	if err == nil {
		err = file.note()
	}
	a.turn.Add(1) // after the commit: whoever read before it is to see that
	if err == nil {
		a.compaction.follow()
	}
	return err
}

// apply brings one snapshot to the bucket, as far as the budget goes: first the
// masks' ranges are cleared, then the values written.
func (a *applier) apply(data *bbolt.Bucket, n *snapshot) (step, error) {
	st := step{snap: n, from: n.next, to: n.next, cleared: n.cleared}
	for ; st.cleared < len(n.masks); st.cleared++ {
		whole, err := a.clear(data, n, n.masks[st.cleared])
		if err != nil || !whole {
			return st, err
		}
	}
	for st.to < len(n.keys) {
		if a.budget <= 0 || a.bytes <= 0 {
			return st, nil
		}
		if err := a.put(data, n, n.keys[st.to], n.vals[st.to]); err != nil {
			return st, err
		}
		st.to++
	}
	st.whole = true
	return st, nil
}

func (a *applier) put(data *bbolt.Bucket, n *snapshot, key string, v *value) error {
	a.budget--
	k := append(appendDataKey(a.key[:0], n.part.id, userSpace), key...)
	a.key = k
	had, err := sound(data, k)
	if err != nil {
		return err
	}
	n.part.keep(data, k, v.gone)
	if v.gone {
		if had {
			n.items--
			a.compaction.note(k, nil, -1)
			return data.Delete(k)
		}
		return nil
	}
	more := int64(0)
	if !had {
		more = 1
	}
	n.items += more
	a.bytes -= len(v.data)
	val := appendValue(a.room(valueHead+len(v.data)), k, v)
	a.compaction.note(k, val, more)
	return data.Put(k, val)
}

// room returns an empty slice for so many bytes of a value. bbolt, and a new file
// that follows, keep values until the transaction ends, and then need them no more.
func (a *applier) room(size int) []byte {
	if cap(a.vals)-len(a.vals) < size {
		a.vals = make([]byte, 0, max(size, valuesAtOnce))
	}
	at := len(a.vals)
	a.vals = a.vals[:at+size]
	return a.vals[at : at : at+size]
}

// clear removes a range, as far as the budget goes.
func (a *applier) clear(data *bbolt.Bucket, n *snapshot, m *mask) (whole bool, err error) {
	from := appendDataKey(nil, n.part.id, m.from)
	if t, ok := treeOf(data); ok {
		to := appendDataKey(nil, n.part.id+1, nil)
		if m.to != nil {
			to = appendDataKey(nil, n.part.id, m.to)
		}
		// Damaged records are what is often cleared; one beside the range that belongs
		// in it, or keys that are not where they are found, would end it early.
		if err := onlyValues(t.span(from, to)); err != nil {
			return false, err
		}
	}
	keys := make([][]byte, 0, 64)
	c := data.Cursor()
	for k, _ := c.Seek(from); k != nil && bytes.HasPrefix(k, from[:2]); k, _ = c.Next() {
		if m.to != nil && bytes.Compare(k[2:], m.to) >= 0 {
			break
		}
		if len(keys) >= a.budget {
			return false, a.remove(data, n, keys)
		}
		keys = append(keys, bytes.Clone(k))
	}
	return true, a.remove(data, n, keys)
}

func (a *applier) remove(data *bbolt.Bucket, n *snapshot, keys [][]byte) error {
	a.budget -= len(keys)
	for _, k := range keys {
		if k[2] == spaceUser {
			n.items--
		}
		if _, err := sound(data, k); err != nil {
			return err
		}
		n.part.keep(data, k, true)
		a.compaction.note(k, nil, -1)
		if err := data.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// settle takes what a transaction wrote out of memory.
func (a *applier) settle(st step) {
	n, p := st.snap, st.snap.part
	n.next, n.cleared = st.to, st.cleared
	a.s.cache.changed(p.id, n.keys[st.from:st.to], st.cleared > 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.items, p.stored = n.items, n.written
	if p.gen != n.gen {
		return // the copy was replaced meanwhile; what was written is masked
	}
	p.mend(n.keys[st.from:st.to], n.masks[:st.cleared])
	if len(n.masks) == 0 {
		p.mem.settle(n.keys[st.from:st.to], n.vals[st.from:st.to], nil)
	}
	if !st.whole {
		return
	}
	if len(n.masks) > 0 {
		p.mem.settle(n.keys, n.vals, n.masks)
	}
	before := p.held()
	p.applied = n.meta.applied
	p.log.trim(p.applied.Seq)
	p.extra -= n.extra
	a.s.backlog.Add(p.held() - before)
	p.dirtyLSN = 0
	switch {
	case p.log.len() > 0:
		p.dirtyLSN = p.index.lsn(p.log.first())
		if p.endLSN > n.meta.lsn {
			p.dirtyLSN = min(p.dirtyLSN, n.meta.lsn)
		}
	case p.endLSN > n.meta.lsn:
		p.dirtyLSN = n.meta.lsn
	}
	switch {
	case n.meta.lsn >= p.keptFor:
		p.keptFrom, p.keptFor = 0, 0
	case p.keptFrom < p.dirtyLSN:
		p.dirtyLSN = p.keptFrom
	}
}
