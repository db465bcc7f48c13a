package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
)

// wal is the write-ahead log. The core loop appends records to a buffer and
// flushes it; one goroutine syncs, one makes the segment that comes next.
type wal struct {
	opts Options
	id   ring.NodeID
	prep *preparer
	// head gives the record that begins every segment.
	head func(b []byte) []byte
	fail func(error)

	// The buffer, the core loop's own.
	buf    []byte
	splits []split  // where in buf a new segment begins
	first  *segment // that buf begins in
	off    int64    // where in it
	last   *segment // that buf ends in
	room   int64    // left in it
	broken error    // no record is taken any more

	touched []*segment // scratch of flush

	// end is the LSN behind the last record, written or not.
	end atomic.Uint64

	mu      sync.Mutex
	moved   sync.Cond  // synced has, or the log ended
	segs    []*segment // oldest first
	written uint64     // LSNs
	synced  uint64
	dirty   []*segment
	queue   []waiting
	waiters int // of waitSynced
	ended   error
	halted  bool

	kick  chan struct{} // somebody waits for a sync
	armed chan struct{} // something was written, to be synced within SyncEvery
	stop  chan struct{}
	done  sync.WaitGroup

	stats            syncStats
	writing, syncing stopwatch
}

// stopwatch tells for how long something has been under way.
type stopwatch struct{ began atomic.Int64 }

var watchZero = time.Now()

func (s *stopwatch) start() { s.began.Store(int64(time.Since(watchZero)) + 1) }

// stop ends it and returns how long it took.
func (s *stopwatch) stop() time.Duration {
	took := s.since()
	s.began.Store(0)
	return took
}

func (s *stopwatch) since() time.Duration {
	began := s.began.Load()
	if began == 0 {
		return 0
	}
	return time.Since(watchZero) + 1 - time.Duration(began)
}

type split struct {
	at  int // in buf
	seg *segment
}

// waiting is a Flush that reports once its records are on disk.
type waiting struct {
	err  error
	done func(error)
}

type syncStats struct {
	count   atomic.Uint64
	total   atomic.Int64 // nanoseconds
	longest atomic.Int64
}

func newWAL(o Options, id ring.NodeID) *wal {
	w := &wal{
		opts: o, id: id,
		kick: make(chan struct{}, 1), armed: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	w.moved.L = &w.mu
	return w
}

// begin opens the log for writing, in a new segment at LSN end, behind those
// that recovery read. after is where the last of them ends.
func (w *wal) begin(segs []*segment, end, after uint64) error {
	w.segs = segs
	w.written, w.synced = end, end
	w.end.Store(end)
	if err := w.rotate(after); err != nil {
		return err
	}
	w.first, w.off = w.last, 0
	w.splits = w.splits[:0]
	if _, err := w.flush(); err != nil {
		return err
	}
	if err := w.syncOnce(); err != nil {
		return err
	}
	w.done.Add(1)
	go w.syncLoop()
	return nil
}

// rotate lets the buffer go on in the next segment.
func (w *wal) rotate(after uint64) error {
	seg, err := w.prep.take()
	if err != nil {
		return err
	}
	seg.start = w.end.Load()
	w.splits = append(w.splits, split{len(w.buf), seg})
	w.last, w.room = seg, seg.size
	at := len(w.buf)
	w.buf = appendHead(w.buf, seg.number, seg.start, after, w.id)
	w.buf = w.head(w.buf)
	w.grew(len(w.buf) - at)
	return nil
}

func (w *wal) grew(n int) {
	w.room -= int64(n)
	w.end.Add(uint64(n))
}

// pos is where the next record begins.
func (w *wal) pos() (*segment, int64) { return w.last, int64(w.end.Load() - w.last.start) }

// reserve makes room for a record with n bytes of body and returns where it
// will be. A record larger than a segment gets one for itself.
func (w *wal) reserve(n int) (*segment, int64, error) {
	if w.broken != nil {
		return nil, 0, w.broken
	}
	n += recordHead
	if int64(n) > w.room {
		if err := w.rotate(w.end.Load()); err != nil {
			w.broken = err
			w.fail(err)
			return nil, 0, err
		}
	}
	g, off := w.pos()
	return g, off, nil
}

// add appends a record and returns where it begins.
func (w *wal) add(kind recordKind, body []byte) (*segment, int64, error) {
	g, off, err := w.reserve(len(body))
	if err != nil {
		return nil, 0, err
	}
	at := len(w.buf)
	w.buf = append(beginRecord(w.buf, kind), body...)
	endRecord(w.buf, at)
	w.grew(len(w.buf) - at)
	return g, off, nil
}

// keepBuffer is the most that the buffer keeps between flushes.
const keepBuffer = 4 << 20

// flush writes the buffer: one write(2), or one for each segment it touches.
func (w *wal) flush() (end uint64, err error) {
	end = w.end.Load()
	if w.broken != nil {
		return end, w.broken
	}
	if len(w.buf) == 0 {
		return end, nil
	}
	w.writing.start()
	defer func() { observe(w.opts.Timed.Write, w.writing.stop()) }()
	at, touched := 0, w.touched[:0]
	for i := 0; i <= len(w.splits); i++ {
		to := len(w.buf)
		if i < len(w.splits) {
			to = w.splits[i].at
		}
		if to > at {
			if err := w.opts.disk.writeAt(w.first.file, w.buf[at:to], w.off); err != nil {
				if isNoSpace(err) {
					err = fmt.Errorf("%w: %w", ErrNoSpace, err)
				}
				w.broken = fmt.Errorf("write %s: %w", w.first.path, err)
				w.fail(w.broken)
				return end, w.broken
			}
			w.off += int64(to - at)
			touched = append(touched, w.first)
			at = to
		}
		if i < len(w.splits) {
			w.first, w.off = w.splits[i].seg, 0
		}
	}
	w.publish(touched, end)
	clear(touched)
	w.touched = touched
	clear(w.splits)
	w.buf, w.splits = w.buf[:0], w.splits[:0]
	if cap(w.buf) > keepBuffer {
		w.buf = nil
	}
	return end, nil
}

// publish tells the sync goroutine what was written.
func (w *wal) publish(touched []*segment, end uint64) {
	w.mu.Lock()
	w.written = end
	for _, g := range touched {
		if !g.dirty {
			g.dirty = true
			w.dirty = append(w.dirty, g)
		}
		if n := len(w.segs); n == 0 || w.segs[n-1].number < g.number {
			w.segs = append(w.segs, g)
		}
	}
	wanted := w.waiters > 0
	w.mu.Unlock()
	if wanted {
		w.wake()
	}
	if w.opts.Sync == SyncInterval {
		select {
		case w.armed <- struct{}{}:
		default:
		}
	}
}

func (w *wal) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// whenSynced has done called once everything written so far is on disk.
func (w *wal) whenSynced(done func(error), err error) {
	w.mu.Lock()
	if w.halted {
		defer w.mu.Unlock()
		done(errors.Join(err, w.ended))
		return
	}
	w.queue = append(w.queue, waiting{err, done})
	w.mu.Unlock()
	w.wake()
}

// isSynced reports whether everything written is on disk.
func (w *wal) isSynced() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.synced == w.written
}

// waitSynced returns once the log is on disk up to an LSN. What is not flushed
// yet must be by somebody else.
func (w *wal) waitSynced(lsn uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiters++
	defer func() { w.waiters-- }()
	for w.synced < lsn && w.ended == nil {
		if w.written > w.synced {
			w.wake()
		}
		w.moved.Wait()
	}
	if w.synced < lsn {
		return w.ended
	}
	return nil
}

func (w *wal) syncLoop() {
	defer w.done.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-w.kick:
		case <-w.armed:
			timer.Reset(w.opts.SyncEvery)
			select {
			case <-w.stop:
				return
			case <-w.kick:
			case <-timer.C:
			}
		}
		if err := w.syncOnce(); err != nil {
			w.fail(err)
		}
	}
}

// syncOnce brings everything written to disk and reports to those who wait: one
// fdatasync for all that were queued while the last one ran.
func (w *wal) syncOnce() error {
	w.mu.Lock()
	target, dirty, queue := w.written, w.dirty, w.queue
	w.dirty, w.queue = nil, nil
	for _, g := range dirty {
		g.dirty = false
	}
	err := w.ended
	w.mu.Unlock()
	for _, g := range dirty {
		if err != nil {
			break
		}
		w.syncing.start()
		if e := w.opts.disk.datasync(g.file); e != nil {
			err = &syncError{g.path, e}
		}
		took := w.syncing.stop()
		w.stats.add(took)
		observe(w.opts.Timed.Sync, took)
	}
	w.mu.Lock()
	if err == nil {
		w.synced = max(w.synced, target)
	} else if w.ended == nil {
		w.ended = err
	}
	w.moved.Broadcast()
	w.mu.Unlock()
	for _, q := range queue {
		q.done(errors.Join(q.err, err))
	}
	return err
}

// syncError is an fsync that failed: what the kernel held may be gone, so that
// the log cannot be trusted afterwards.
type syncError struct {
	path string
	err  error
}

func (e *syncError) Error() string { return fmt.Sprintf("sync %s: %v", e.path, e.err) }
func (e *syncError) Unwrap() error { return e.err }

func (s *syncStats) add(d time.Duration) {
	s.count.Add(1)
	s.total.Add(int64(d))
	for {
		old := s.longest.Load()
		if int64(d) <= old || s.longest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// halt ends the sync goroutine and wakes those who wait with err.
func (w *wal) halt(err error) {
	if isStopped(w.stop) {
		return
	}
	close(w.stop)
	w.done.Wait()
	w.mu.Lock()
	w.halted = true
	if w.ended == nil {
		w.ended = err
	}
	w.moved.Broadcast()
	queue := w.queue
	w.queue = nil
	w.mu.Unlock()
	for _, q := range queue {
		q.done(errors.Join(q.err, err))
	}
}

// syncAll is the last sync, after halt.
func (w *wal) syncAll() error {
	w.mu.Lock()
	dirty := w.dirty
	w.dirty = nil
	w.mu.Unlock()
	for _, g := range dirty {
		if err := w.opts.disk.datasync(g.file); err != nil {
			return &syncError{g.path, err}
		}
	}
	return nil
}

// abandon forgets the buffer.
func (w *wal) abandon() {
	w.broken = ErrClosed
	w.buf = nil
}

func (w *wal) closeFiles() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.segs {
		g.file.Close()
	}
	for _, p := range w.splits { // begun in the buffer only
		p.seg.file.Close()
	}
}
