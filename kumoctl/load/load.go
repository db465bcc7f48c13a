// Package load stores many records in a running cluster: those of a backup, or of
// an import. It speaks to the servers as a gateway does, with repeats through
// fail-overs, each carried out once.
package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/subjects"
)

// Options say where to store and how fast.
type Options struct {
	Cluster  string
	Managers []string
	Security *bus.Security // credentials; nil: none
	Rate     int64         // bytes a second; 0: as many as the servers take
	Patience time.Duration // for how long a record is tried, through fail-overs
}

// What may be under way at a time.
const (
	maxRecords = 256
	maxBytes   = 16 << 20
)

// Writer stores records. It is for one goroutine.
type Writer struct {
	l    *kumogateway.Loader
	pace *rate.Limiter
	told func(bytes int64)

	mu    sync.Mutex
	ended *sync.Cond
	keys  map[string]struct{} // under way
	bytes int                 // of them
	err   error               // the first failure
}

// Open connects to a cluster. told is called with each record that is stored, on any
// goroutine.
func Open(o Options, told func(bytes int64)) (*Writer, error) {
	g := kumogateway.Defaults()
	g.Cluster, g.Managers, g.Security = subjects.Cluster(o.Cluster), o.Managers, o.Security
	g.MaxItemSize, g.OpTimeout = subjects.MaxValue, o.Patience
	l, err := kumogateway.OpenLoader(g)
	if err != nil {
		return nil, err
	}
	w := &Writer{l: l, told: told, keys: map[string]struct{}{}, pace: rate.NewLimiter(rate.Inf, 0)}
	if o.Rate > 0 {
		w.pace = rate.NewLimiter(rate.Limit(o.Rate), int(max(o.Rate/10, 1)))
	}
	w.ended = sync.NewCond(&w.mu)
	return w, nil
}

// Put stores a record, whose bytes may be used again. It waits while many are under
// way, or the same key is: of two with one key the later stays. The error is the
// first failure so far, of whichever record.
func (w *Writer) Put(ctx context.Context, r *subjects.Record) error {
	size := r.Size()
	for left := size; left > 0 && w.pace.Limit() != rate.Inf; left -= w.pace.Burst() {
		if err := w.pace.WaitN(ctx, min(left, w.pace.Burst())); err != nil {
			return err
		}
	}
	key := string(r.Key)
	if err := w.begin(ctx, key, size); err != nil {
		return err
	}
	w.l.Store(r, func(err error) { w.end(key, size, err) })
	return nil
}

// begin waits for a place.
func (w *Writer) begin(ctx context.Context, key string, size int) error {
	defer w.wakeAtEnd(ctx)()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		_, same := w.keys[key]
		switch {
		case w.err != nil:
			return w.err
		case ctx.Err() != nil:
			return ctx.Err()
		case !same && len(w.keys) < maxRecords && (w.bytes == 0 || w.bytes+size <= maxBytes):
			w.keys[key] = struct{}{}
			w.bytes += size
			return nil
		}
		w.ended.Wait()
	}
}

func (w *Writer) end(key string, size int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.keys, key)
	w.bytes -= size
	switch {
	case err == nil:
		w.told(int64(size))
	case w.err == nil:
		w.err = fmt.Errorf("key %q is not stored: %w", key, err)
	}
	w.ended.Broadcast()
}

// wakeAtEnd wakes who waits when ctx ends, until the function is called.
func (w *Writer) wakeAtEnd(ctx context.Context) func() bool {
	return context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended.Broadcast()
	})
}

// Wait waits until nothing is under way, and returns the first failure.
func (w *Writer) Wait(ctx context.Context) error {
	defer w.wakeAtEnd(ctx)()
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.keys) > 0 && ctx.Err() == nil {
		w.ended.Wait()
	}
	if w.err == nil {
		return ctx.Err()
	}
	return w.err
}

// Close hangs up. What is under way may have been stored or not.
func (w *Writer) Close() error { return w.l.Close() }

// Over reports whether a record's time is over, so that nothing is to be stored.
func Over(r *subjects.Record, now time.Time) bool { return r.Expiry != 0 && r.Expiry <= now.Unix() }
