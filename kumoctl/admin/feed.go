package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// askFeedEvery is how often servers are told that somebody still listens; they say
// then how far they are, which shows what was missed of partitions that are calm.
const askFeedEvery = 2 * time.Second

// feedWaiting is how many reports may wait for WatchOptions.Change. More are lost,
// and told as gaps.
const feedWaiting = 1024

// WatchOptions say what to watch, and who is told; from one goroutine.
type WatchOptions struct {
	Prefix []byte
	Values bool // tell values, too
	// Ready is called once every partition is heard: what changes from then on is
	// told, or a gap is.
	Ready func()
	// Change is told of each change once, in the order of its partition's log. An
	// error, which Watch returns, ends it.
	Change func(ring.Partition, *subjects.Change) error
	// Gap is told where changes of a partition may have been missed: those behind
	// after, up to through.
	Gap func(p ring.Partition, after, through subjects.Version) error
	// Waiting is how many reports may wait for Change; 0: a thousand.
	Waiting int
}

// Watch tells of changes until ctx ends, which is no error.
func (c *Client) Watch(ctx context.Context, ready time.Duration, o WatchOptions) error {
	req := subjects.NewFeedRequest(o.Prefix, o.Values)
	if err := req.Check(); err != nil {
		return err
	}
	ask, err := json.Marshal(req)
	if err != nil {
		return err
	}
	first, cancel := context.WithTimeout(ctx, ready)
	defer cancel()
	t, err := c.Table(first)
	if err != nil {
		return err
	}
	if o.Waiting <= 0 {
		o.Waiting = feedWaiting
	}
	reports := make(chan []byte, o.Waiting)
	sub, err := c.bus.Subscribe(c.cluster.Feed(req.Hash()), func(m *bus.Msg) {
		select {
		case reports <- m.Data:
		default:
		}
	})
	if err != nil {
		return fmt.Errorf("listen to changes: %w", err)
	}
	defer sub.Close()
	forbidden, hangUp := c.forbids(first, ask)
	defer hangUp()
	w := &watcher{o: o, req: req, size: t.Size(), at: map[ring.Partition]subjects.Version{}}
	every := time.NewTicker(askFeedEvery)
	defer every.Stop()
	soon := time.NewTicker(retryPause) // until all are heard
	defer soon.Stop()
	for {
		if w.ready() {
			soon.Stop()
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-forbidden:
			return err
		case <-first.Done():
			if !w.ready() {
				return fmt.Errorf("%d of %d partitions have no primary that tells changes: %w", w.size-len(w.at), w.size, subjects.ErrTimeout)
			}
			first = context.WithoutCancel(ctx)
		case data := <-reports:
			if err := w.take(data); err != nil {
				return err
			}
			continue
		case <-every.C:
		case <-soon.C:
		}
		_ = c.bus.Publish(c.cluster.Feeds(), ask) // what a lost connection misses shows as a gap
	}
}

// forbids tells if the credentials do not allow to ask for changes: nobody answers,
// but a request is told so. hangUp ends it.
func (c *Client) forbids(ctx context.Context, ask []byte) (_ <-chan error, hangUp func()) {
	ctx, cancel := context.WithCancel(ctx)
	forbidden, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		if _, err := c.bus.Request(ctx, c.cluster.Feeds(), ask); errors.Is(err, bus.ErrForbidden) {
			forbidden <- plain(c.cluster.Feeds(), err)
		}
	}()
	return forbidden, func() { cancel(); <-done }
}

// watcher knows how far it has heard each partition.
type watcher struct {
	o    WatchOptions
	req  subjects.FeedRequest
	size int
	at   map[ring.Partition]subjects.Version
	told bool // Ready was
}

func (w *watcher) ready() bool { return len(w.at) >= w.size }

// take goes through a report.
func (w *watcher) take(data []byte) error {
	var r subjects.FeedReport
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("a report of changes does not parse: %w", err)
	}
	if string(r.Key()) != string(w.req.Key()) || r.Values != w.req.Values {
		return nil // another prefix has the same hash
	}
	if r.Error != "" {
		return fmt.Errorf("%s: %s: %w", r.Node, r.Error, subjects.ErrBusy)
	}
	for i := range r.Spans {
		if err := w.span(&r.Spans[i]); err != nil {
			return err
		}
	}
	if w.ready() && !w.told {
		w.told = true
		if w.o.Ready != nil {
			w.o.Ready()
		}
	}
	return nil
}

func (w *watcher) span(s *subjects.FeedSpan) error {
	at, known := w.at[s.Partition]
	if !known {
		at = s.After
	}
	if at.Seq < s.After.Seq {
		if err := w.o.Gap(s.Partition, at, s.After); err != nil {
			return err
		}
		at = s.After
	}
	for i := range s.Changes {
		c := &s.Changes[i]
		if !at.Less(c.Version) {
			continue // told before, by this primary or the last
		}
		if err := w.o.Change(s.Partition, c); err != nil {
			return err
		}
		at = c.Version
	}
	if at.Less(s.Through) {
		at = s.Through
	}
	w.at[s.Partition] = at
	return nil
}
