package store

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Scrub is the outcome of a pass over all that is stored.
type Scrub struct {
	Began   time.Time
	Ended   time.Time // zero while it runs
	Records int64     // of bbolt and of the log
	Bytes   int64
	Damaged int64 // records, partitions and segments that were found bad
}

// scrubber reads everything that is stored, slowly, so that damage is found
// before the last good copy of something is gone, too. It looks at what readers
// would meet: each record's checksum, the order of the keys, whether each key is
// found from the root, whether as many are there as were counted, and the records
// of the log that a start would read.
type scrubber struct {
	s       *Store
	stop    chan struct{}
	done    sync.WaitGroup
	rate    atomic.Int64  // bytes a second; none if not more than 0
	every   atomic.Int64  // nanoseconds from a pass to the next
	changed chan struct{} // one of both has

	mu   sync.Mutex // guards both
	now  Scrub      // of the pass that runs
	last Scrub      // of the newest that has ended
}

const (
	scrubBytes = 128 << 10 // of a read transaction
	scrubKeys  = 512
)

func startScrubber(s *Store) *scrubber {
	c := &scrubber{s: s, stop: make(chan struct{}), changed: make(chan struct{}, 1)}
	c.rate.Store(s.opts.ScrubRate)
	c.every.Store(int64(s.opts.ScrubEvery))
	c.done.Add(1)
	go c.loop()
	return c
}

// SetScrub changes how many bytes a second are read to find damage, none if not
// more than 0, and how long after a pass the next begins. A pass that runs goes on
// at the new rate, or ends.
func (s *Store) SetScrub(rate int64, every time.Duration) {
	c := s.scrubber
	c.rate.Store(rate)
	c.every.Store(int64(every))
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *scrubber) halt() {
	if c != nil && !isStopped(c.stop) {
		close(c.stop)
		c.done.Wait()
	}
}

// errScrubOff ends a pass because there are to be none any more.
var errScrubOff = errors.New("the scrubber is off")

// loop begins passes. The first comes early, after a tenth of the time between
// two, so that a store that is started often is to be seen as well.
func (c *scrubber) loop() {
	defer c.done.Done()
	for part := int64(10); c.wait(part); part = 1 {
		if err := c.pass(); err != nil && !errors.Is(err, errScrubOff) && !isStopped(c.stop) {
			c.s.opts.Log.Warn("the store could not be checked", "folder", c.s.opts.Dir, "error", err)
		}
	}
}

// wait waits until the next pass is due, the time between two divided by part
// from now. It reports false when the store closes.
func (c *scrubber) wait(part int64) bool {
	began := time.Now()
	for {
		due := time.Until(began.Add(time.Duration(c.every.Load() / part)))
		if c.rate.Load() <= 0 {
			due = 1<<63 - 1
		}
		if changed, ok := c.sleep(due); !changed || !ok {
			return ok
		}
	}
}

// rest waits for as long as so many bytes may take.
func (c *scrubber) rest(size int64) error {
	began := time.Now()
	for {
		rate := c.rate.Load()
		if rate <= 0 {
			return errScrubOff
		}
		due := time.Until(began.Add(time.Duration(float64(size) / float64(rate) * float64(time.Second))))
		changed, ok := c.sleep(due)
		if !ok {
			return ErrClosed
		}
		if !changed {
			return nil
		}
	}
}

// sleep waits for d, or until rate or time change. ok is false when the store
// closes.
func (c *scrubber) sleep(d time.Duration) (changed, ok bool) {
	if d <= 0 {
		return false, !isStopped(c.stop)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.stop:
		return false, false
	case <-c.changed:
		return true, true
	case <-t.C:
		return false, true
	}
}

// ScrubState returns the newest pass that ended, and the one that runs (Began is
// zero if none does).
func (s *Store) ScrubState() (last, now Scrub) {
	s.scrubber.mu.Lock()
	defer s.scrubber.mu.Unlock()
	return s.scrubber.last, s.scrubber.now
}

// pass looks at everything once.
func (c *scrubber) pass() error {
	c.mu.Lock()
	c.now = Scrub{Began: time.Now()}
	c.mu.Unlock()
	err := c.pages()
	if err == nil {
		err = c.partitions()
	}
	if err == nil {
		err = c.segments()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Ended = time.Now()
	if err == nil {
		c.last = c.now
	}
	c.now = Scrub{}
	return err
}

// count adds to the pass, and rests for as long as so many bytes may take.
func (c *scrubber) count(records, size, damaged int64) error {
	c.mu.Lock()
	c.now.Records += records
	c.now.Bytes += size
	c.now.Damaged += damaged
	c.mu.Unlock()
	return c.rest(size)
}

func (c *scrubber) partitions() error {
	for _, p := range c.s.snapshotParts() {
		if c.s.Broken() != nil {
			return nil // known, and nothing more is to be learnt
		}
		if err := c.partition(p.id); err != nil {
			return err
		}
	}
	return nil
}

// stretch is a part of a partition that one transaction looks at.
type stretch struct {
	from    []byte // bbolt's key to begin at
	prev    []byte // the key before it
	items   int64  // user keys so far
	last    bool
	state   []byte // of the partition, as bbolt has it
	records int64
	size    int64
	bad     []error
}

// partition looks at one partition. When nothing was written to it meanwhile, it
// must have as many keys as were counted.
func (c *scrubber) partition(id ring.Partition) error {
	st := stretch{from: appendDataKey(nil, id, nil)}
	var began []byte
	for !st.last {
		st.records, st.size, st.bad = 0, 0, nil
		before := st
		before.prev = bytes.Clone(st.prev)
		err := c.s.viewTx(func(tx *bbolt.Tx) error { return st.look(tx, id) })
		found := int64(0)
		if err == nil && len(st.bad) > 0 {
			found, err = c.tell(before, id)
		}
		if err != nil {
			c.s.unreadable(id, nil, err)
			return c.count(st.records, st.size, 1)
		}
		if began == nil {
			began = st.state
		}
		if err := c.count(st.records, st.size, found); err != nil {
			return err
		}
	}
	var m partMeta
	if len(began) == 0 || !bytes.Equal(began, st.state) || m.decode(began) != nil || m.torn || m.items == st.items {
		return nil
	}
	c.s.unreadable(id, nil, fmt.Errorf("partition %d: %w: %d keys were stored, %d are found", id, ErrCorrupt, m.items, st.items))
	return c.count(0, 0, 1)
}

// tell looks at a stretch again in which records were bad, and tells of those that
// still are. Nothing is written meanwhile: else one could be written again, and
// would be told of after it was taken for mended.
func (c *scrubber) tell(st stretch, id ring.Partition) (found int64, err error) {
	c.s.applier.files.Lock()
	defer c.s.applier.files.Unlock()
	if err := c.s.viewTx(func(tx *bbolt.Tx) error { return st.look(tx, id) }); err != nil {
		return 0, err
	}
	for _, err := range st.bad {
		if c.s.stands(err) {
			found++
			c.s.unreadable(id, nil, err)
		}
	}
	return found, nil
}

// stands reports whether a record that was found bad is still what a reader would
// meet: it is not when it is about to be replaced.
func (s *Store) stands(err error) bool {
	bad := (*badRecord)(nil)
	if !errors.As(err, &bad) {
		return true
	}
	p := s.part(bad.partition)
	if p == nil {
		return true // no partition has it: its key is damaged
	}
	_, known := p.lookup([]byte(bad.key))
	return !known
}

// look checks the records of a stretch.
func (st *stretch) look(tx *bbolt.Tx, id ring.Partition) error {
	data := tx.Bucket(bucketData)
	st.state = bytes.Clone(tx.Bucket(bucketMeta).Get(metaKey(id)))
	c, direct := newCursor(data), newCursor(data)
	prefix := appendDataKey(nil, id, nil)
	began := st.from
	for k, v := c.Seek(st.from); ; k, v = c.Next() {
		if k == nil || !bytes.HasPrefix(k, prefix) {
			st.last = true
			return st.whole(c, began, appendDataKey(nil, id+1, nil))
		}
		if st.size >= scrubBytes || st.records >= scrubKeys {
			st.from = bytes.Clone(k)
			return st.whole(c, began, st.from)
		}
		st.records++
		st.size += int64(len(k) + len(v))
		if len(k) >= 3 && k[2] == spaceUser {
			st.items++
		}
		switch _, err := readValue(k, v); {
		case err != nil:
			st.bad = append(st.bad, err)
		default:
			if err := reachable(direct, st.prev, k); err != nil {
				return err
			}
		}
		st.prev = append(st.prev[:0], k...)
	}
}

// reachable checks that a key comes after another, nil for none, and that it is
// found from the root.
func reachable(direct *cursor, prev, k []byte) error {
	if prev != nil && bytes.Compare(prev, k) >= 0 {
		return fmt.Errorf("%w: key %q comes after %q", ErrDamaged, k, prev)
	}
	if at, _ := direct.Seek(k); !bytes.Equal(at, k) {
		return fmt.Errorf("%w: key %q is not found from the root", ErrDamaged, k)
	}
	return nil
}
