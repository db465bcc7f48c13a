package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// compactor makes the bbolt file anew when most of it is free: bbolt uses freed
// pages again, but never gives them back.
type compactor struct {
	s    *Store
	stop chan struct{}
	done sync.WaitGroup
	keep atomic.Bool // what is half done stays where it is, as after a crash
	full bool        // the disk was, when the one that runs began

	free  atomic.Int64 // bytes of the file, when last looked at
	runs  atomic.Int64 // that reached their end
	bytes atomic.Int64 // that were copied, by all
	now   atomic.Int64 // by the one that runs
}

// compactOptions are a compactor's measures; zero values are defaults.
type compactOptions struct {
	every time.Duration // between looks at the file; 10 s
	floor int64         // bytes; a smaller file is left alone; 64 MiB
	share float64       // of the file that must be free; a half
	rate  int64         // bytes a second that are copied at most; 16 MiB
	stage func(string)  // told how far a compaction is, in tests
}

func (o *compactOptions) withDefaults() {
	defaultTo(&o.every, 10*time.Second)
	defaultTo(&o.floor, 64<<20)
	defaultTo(&o.share, 0.5)
	defaultTo(&o.rate, 16<<20)
	if o.stage == nil {
		o.stage = func(string) {}
	}
}

const (
	newDataName = "data.db.new"
	// compactSync is how many bytes are copied before they are brought to disk, so
	// that the end has not much to wait for and the log's syncs have not either.
	compactSync = 8 << 20
	// compactSlack is what a copy may take beyond what is in use, and an eighth.
	compactSlack = 1 << 20
	// compactRest is for how many times as long as a step took nothing is done: a
	// quarter of a core.
	compactRest = 3
	// compactRetry is the first wait after a failure, in looks; it doubles with
	// each, compactDoubles times at most: from a minute to an hour.
	compactRetry   = 6
	compactDoubles = 6
	// giveWay is the wait for memory that is short.
	giveWay = 50 * time.Millisecond
)

// errBusy gives a compaction up: whatever reaches bbolt has to reach its new file
// as well, which costs too much when clients wait for it.
var errBusy = errors.New("more is written than reaches the data file")

func startCompactor(s *Store) *compactor {
	c := &compactor{s: s, stop: make(chan struct{})}
	c.done.Add(1)
	go c.loop()
	return c
}

func (c *compactor) path() string { return filepath.Join(c.s.opts.Dir, newDataName) }

func (c *compactor) halt() {
	if c != nil && !isStopped(c.stop) {
		close(c.stop)
		c.done.Wait()
	}
}

// abandon is halt, with what is half done left as a crash would leave it.
func (c *compactor) abandon() {
	c.keep.Store(true)
	c.halt()
}

func (c *compactor) loop() {
	defer c.done.Done()
	every := c.s.opts.compact.every
	failed := 0
	for wait := every; pause(c.stop, wait); {
		err := c.round(failed > 0)
		switch {
		case err == nil:
			wait, failed = every, 0
			continue
		case isStopped(c.stop) || c.s.Broken() != nil || c.s.failedWith() != nil:
			return
		case failed == 0:
			c.s.opts.Log.Warn("the data file cannot be compacted now; it is tried again later", "folder", c.s.opts.Dir, "error", err)
		}
		wait = compactRetry * every << min(failed, compactDoubles)
		failed++
	}
}

// round looks at the file, and compacts it if that is due.
func (c *compactor) round(again bool) error {
	size, free, err := c.measure()
	o := &c.s.opts.compact
	if err != nil || size < o.floor || float64(free) <= o.share*float64(size) {
		return err
	}
	c.full = c.s.Full()
	if err := c.room(size - free); err != nil {
		return err
	}
	began := time.Now()
	tell := c.s.opts.Log.Info
	if again {
		tell = c.s.opts.Log.Debug
	}
	tell("compaction of the data file begins", "folder", c.s.opts.Dir, "bytes", size, "free", free)
	if err := c.compact(); err != nil {
		return err
	}
	now, _, err := c.measure()
	c.s.opts.Log.Info("compaction of the data file ends", "folder", c.s.opts.Dir,
		"before", size, "after", now, "copied", c.now.Swap(0), "took", time.Since(began).Round(time.Millisecond))
	return err
}

// measure looks at the file while nobody writes to it.
func (c *compactor) measure() (size, free int64, err error) {
	a := c.s.applier
	a.files.Lock()
	defer a.files.Unlock()
	if size, free, err = pages(filepath.Join(c.s.opts.Dir, dataName)); err == nil {
		c.free.Store(free)
	}
	return size, free, err
}

// room reports that a file of so many bytes would leave less than what the log
// may need. Where the disk was full a while ago that is a segment, and where it is
// full the copy itself must fit and no more: it is what makes room.
func (c *compactor) room(size int64) error {
	o := &c.s.opts
	need := size + size/8 + compactSlack
	switch {
	case c.s.Full():
	case c.s.lean.Load():
		need += o.SegmentBytes
	default:
		need += o.RetainBytes + spareSegments*o.SegmentBytes
	}
	if has := o.disk.freeIn(o.Dir); has < need {
		return fmt.Errorf("%w: %d bytes are free on the disk, %d are wanted", ErrNoSpace, has, need)
	}
	return nil
}

// compact copies the file and puts the copy in its place.
func (c *compactor) compact() (err error) {
	n, err := newCompaction(c.s, c.path())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			n.giveUp(c.keep.Load())
			c.now.Store(0)
		}
	}()
	c.s.opts.compact.stage("began")
	unsynced := int64(0)
	for !n.whole {
		if err := c.mayGoOn(); err != nil {
			return err
		}
		began := time.Now()
		size, err := n.step()
		if err != nil {
			return err
		}
		c.now.Add(size)
		c.bytes.Add(size)
		if unsynced += size; unsynced >= compactSync || n.whole {
			if err := n.sync(); err != nil {
				return err
			}
			if err := c.room(0); err != nil {
				return err
			}
			unsynced = 0
		}
		c.s.opts.compact.stage("copied")
		if !c.rest(time.Since(began), size) {
			return ErrClosed
		}
	}
	if err := n.finish(); err != nil {
		return err
	}
	c.runs.Add(1)
	return nil
}

// rest leaves the machine to others after a step.
func (c *compactor) rest(d time.Duration, size int64) bool {
	rate := time.Duration(float64(size) / float64(c.s.opts.compact.rate) * float64(time.Second))
	return pause(c.stop, max(compactRest*d, rate))
}

// mayGoOn waits while memory is short, and tells why there is nothing to be
// waited for.
func (c *compactor) mayGoOn() error {
	for {
		waits, bound := c.s.Backlog(), c.s.opts.MemtableBytes
		switch {
		case c.s.Broken() != nil:
			return c.s.Broken()
		case c.s.failedWith() != nil:
			return c.s.failedWith()
		case c.s.Full() && !c.full: // the log needs what the copy has taken
			return ErrNoSpace
		case waits >= bound:
			return errBusy
		case waits < bound/2:
			return nil
		case !pause(c.stop, giveWay):
			return ErrClosed
		}
	}
}

// pause waits, false when it is time to stop.
func pause(stop <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return !isStopped(stop)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-stop:
		return false
	case <-t.C:
		return true
	}
}
