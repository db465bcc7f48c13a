// Package watch keeps the newest partition table of a cluster: it follows the
// leader's updates, asks when one was missed, and goes on asking while nobody
// answers.
package watch

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Conn is the bus as a watcher needs it.
type Conn interface {
	// Subscribe calls h for each message, one at a time, until stop.
	Subscribe(subject string, h func(data []byte)) (stop func(), err error)
	Request(ctx context.Context, subject string, data []byte) ([]byte, error)
}

// Options say whose table to keep. Conn and Cluster are needed.
type Options struct {
	Conn    Conn
	Cluster subjects.Cluster
	// Start is a table known from before, or nil.
	Start *ring.Table
	// OnTable is called with every newer table, by one goroutine.
	OnTable func(*ring.Table)
	// Poll is how often the leader is asked when nothing is heard (1 s), which
	// finds updates that were lost on the way.
	Poll time.Duration
	// At says, in the log, where somebody is looked for who knows the table.
	At  []string
	Log *slog.Logger
}

// Watcher keeps a table; see Start.
type Watcher struct {
	o      Options
	table  atomic.Pointer[ring.Table]
	update chan ring.Update
	ask    chan struct{}
	cancel context.CancelFunc
	stop   func()
	done   chan struct{}
	once   sync.Once
	silent int // questions that nobody has answered, in a row; run's
}

const (
	askTimeout = 500 * time.Millisecond
	// The first questions of a process that has just joined the mesh are lost as
	// a rule: nobody knows the way yet.
	firstTimeout = 100 * time.Millisecond
	askSpacing   = 20 * time.Millisecond // between two questions, however many want one
	maxPages     = 256
	// A page that is larger is made smaller. It is half of what the bus carries.
	maxPageBytes = 512 << 10
)

// Start begins to watch. Close ends it.
func Start(o Options) (*Watcher, error) {
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{o: o, update: make(chan ring.Update, 64), ask: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	if o.Start != nil {
		w.table.Store(o.Start)
	}
	stop, err := o.Conn.Subscribe(o.Cluster.Ring(), w.heard)
	if err != nil {
		cancel()
		return nil, err
	}
	w.stop = stop
	w.Refresh()
	go w.run(ctx)
	return w, nil
}

// Table returns the newest table, nil before the first.
func (w *Watcher) Table() *ring.Table { return w.table.Load() }

// Refresh asks the leader soon, because somebody knows a newer table than ours.
func (w *Watcher) Refresh() {
	select {
	case w.ask <- struct{}{}:
	default:
	}
}

// Offer takes an update that came another way.
func (w *Watcher) Offer(u ring.Update) {
	select {
	case w.update <- u:
	default:
		w.Refresh()
	}
}

// Close ends the watcher and waits for it. It may be called twice.
func (w *Watcher) Close() {
	w.once.Do(func() {
		w.stop()
		w.cancel()
		<-w.done
	})
}

func (w *Watcher) heard(data []byte) {
	var u ring.Update
	if err := json.Unmarshal(data, &u); err != nil {
		w.o.Log.Warn("ring update does not parse", "err", err)
		return
	}
	w.Offer(u)
}

func (w *Watcher) run(ctx context.Context) {
	defer close(w.done)
	poll := time.NewTicker(w.o.Poll)
	defer poll.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case u := <-w.update:
			if !w.merge(u) {
				w.Refresh()
			}
			continue
		case <-poll.C:
		case <-w.ask:
			if d := askSpacing - time.Since(last); d > 0 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(d):
				}
			}
		}
		last = time.Now()
		if w.fetch(ctx) {
			w.silent = 0
			continue
		}
		if w.silent++; w.silent == 20 || w.silent%60 == 0 {
			w.o.Log.Warn("no manager or server answers for the partition table, still asking", "at", w.o.At, "tries", w.silent)
		}
		if w.Table() == nil {
			w.retry(ctx)
		}
	}
}

// retry asks again in a moment, where there is no table at all to work with.
func (w *Watcher) retry(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
		w.Refresh()
	}
}

func (w *Watcher) merge(u ring.Update) bool {
	t := w.table.Load()
	n, ok := t.Merge(u)
	if n != t && n != nil {
		w.table.Store(n)
		if w.o.OnTable != nil {
			w.o.OnTable(n)
		}
	}
	return ok
}

// fetch asks the leader and, where it is silent, whoever knows a table.
func (w *Watcher) fetch(ctx context.Context) bool {
	for _, subject := range []string{w.o.Cluster.RingLatest(), w.o.Cluster.RingGet()} {
		u, err := w.pages(ctx, subject)
		if err != nil {
			w.o.Log.Debug("ask for the partition table", "subject", subject, "err", err)
			continue
		}
		if u == nil {
			return true
		}
		if w.merge(*u) {
			return true
		}
	}
	return false
}

// pages gathers a table that may come in parts; the parts must be of one
// revision. It returns nil when the answerer has nothing newer.
func (w *Watcher) pages(ctx context.Context, subject string) (*ring.Update, error) {
	var whole *ring.Update
	req := subjects.RingGet{}
	if t := w.Table(); t != nil {
		req.Have = t.Revision
	}
	for range maxPages {
		u, err := w.page(ctx, subject, req)
		if err != nil {
			return nil, err
		}
		switch {
		case u == nil:
			return nil, nil
		case whole == nil:
			whole = u
		case u.Revision != whole.Revision:
			return nil, subjects.ErrUnavailable
		default:
			whole.Changed = append(whole.Changed, u.Changed...)
		}
		if u.Next == 0 {
			whole.Next = 0
			return whole, nil
		}
		req.From = u.Next
	}
	return nil, subjects.ErrUnavailable
}

func (w *Watcher) page(ctx context.Context, subject string, req subjects.RingGet) (*ring.Update, error) {
	wait := askTimeout
	if w.Table() == nil && w.silent < 10 {
		wait = firstTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	data, err := w.o.Conn.Request(ctx, subject, body)
	if err != nil {
		return nil, err
	}
	var rep subjects.RingReply
	if err := json.Unmarshal(data, &rep); err != nil {
		return nil, err
	}
	if rep.Error != nil {
		return nil, rep.Error
	}
	return rep.Update, nil
}

// Answer makes the answer to a RingGet from a table, which may be nil: at most
// perPage partitions from req.From on, fewer if they are large.
func Answer(t *ring.Table, req []byte, perPage int) []byte {
	var q subjects.RingGet
	if len(req) > 0 && json.Unmarshal(req, &q) != nil {
		return encode(subjects.RingReply{Error: subjects.ToWire(subjects.ErrBadRequest)})
	}
	if t.Size() == 0 {
		return encode(subjects.RingReply{Error: subjects.ToWire(subjects.ErrNoCluster)})
	}
	if q.Have >= t.Revision && q.From <= 0 {
		return encode(subjects.RingReply{})
	}
	from := min(max(q.From, 0), t.Size())
	for {
		u := t.Page(from, perPage)
		data := encode(subjects.RingReply{Update: &u})
		if len(data) <= maxPageBytes || perPage <= 1 {
			return data
		}
		perPage /= 2
	}
}

func encode(rep subjects.RingReply) []byte {
	data, err := json.Marshal(rep)
	if err != nil {
		data = []byte(`{"error":{"code":"internal","message":"the table does not encode"}}`)
	}
	return data
}
