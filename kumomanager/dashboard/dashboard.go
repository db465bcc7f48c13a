package dashboard

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// The bounds of a dashboard.
const (
	maxListeners = 32  // of events and snapshots at a time; more are told to come again
	maxEntries   = 200 // of the log that are kept, and as many of epochs
	maxNodes     = 256 // of a role that are shown; those that are not well go first
	maxAlarms    = 50
	maxText      = 400 // characters of a text that comes from the cluster

	lookEvery    = time.Second
	lookAtMost   = 200 * time.Millisecond // between two looks, whatever happens, and
	restOf       = 10                     // so many times as long as the last one took, but not
	lookLeast    = 2 * time.Second        // more than that
	quietFor     = 5 * time.Second        // after which a listener is told something, if only that there is nothing
	snapshotWait = 3 * time.Second
)

// writeTimeout is for how long a listener may take nothing; a test has less.
var writeTimeout = 10 * time.Second

// Source is where a dashboard has from what it shows. Its functions are called
// by one goroutine.
type Source struct {
	Node   string // the manager that serves the dashboard
	Status func() (*subjects.ClusterStatus, error)
	Table  func() *ring.Table // the newest; nil: none yet
	// Events has take called for all that happens until stop is called.
	Events func(take func(subjects.Event)) (stop func(), err error)
	Log    *slog.Logger
}

// Dashboard answers HTTP requests. Its methods may be called from any goroutine.
type Dashboard struct {
	src       Source
	mux       *http.ServeMux
	page      *page
	listeners atomic.Int64
	news      chan struct{} // somebody listens, or something has happened
	stop      func()        // ends the events
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup

	mu      sync.Mutex
	shown   shown         // guarded by mu
	changed chan struct{} // guarded by mu; closed when shown changes

	// Of the goroutine that looks.
	rates   rates
	moves   mover
	table   *ring.Table // that moves have seen
	drawn   *ring.Table
	drawnAt time.Time
}

// Open begins to follow the cluster.
func Open(src Source) (*Dashboard, error) {
	p, err := readPage()
	if err != nil {
		return nil, fmt.Errorf("the dashboard's page: %w", err)
	}
	d := &Dashboard{
		src: src, mux: http.NewServeMux(), page: p,
		news: make(chan struct{}, 1), changed: make(chan struct{}), rates: rates{}, moves: mover{},
	}
	d.shown.last = State{Alarms: []string{}, Nodes: []Node{}} // until the leader says more
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.mux.Handle("GET /", p)
	d.mux.HandleFunc("GET /events", d.stream)
	d.mux.HandleFunc("GET /snapshot", d.snapshot)
	if d.stop, err = src.Events(d.happened); err != nil {
		d.cancel()
		return nil, fmt.Errorf("the dashboard's events: %w", err)
	}
	d.wg.Go(d.follow)
	return d, nil
}

// Close ends all streams. It may be called twice.
func (d *Dashboard) Close() {
	d.cancel()
	d.stop()
	d.wg.Wait()
}

// ServeHTTP implements http.Handler.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	d.mux.ServeHTTP(w, r)
}

// happened takes an event.
func (d *Dashboard) happened(e subjects.Event) {
	d.mu.Lock()
	d.shown.log.add(e)
	d.tell()
	d.mu.Unlock()
	d.wake()
}

// Before takes events from before the dashboard began, the oldest first. It is called
// once at most.
func (d *Dashboard) Before(list []subjects.Event) {
	d.show(func(s *shown) { s.log.before(list) })
}

// wake has the dashboard look soon.
func (d *Dashboard) wake() {
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// tell wakes the listeners; the caller holds mu.
func (d *Dashboard) tell() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// follow looks at the cluster until Close.
func (d *Dashboard) follow() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-pause.C:
		}
		began := time.Now()
		d.look(began)
		rest := min(max(lookAtMost, restOf*time.Since(began)), lookLeast)
		select {
		case <-d.ctx.Done():
			return
		case <-tick.C:
		case <-d.news:
		}
		pause.Reset(rest)
	}
}

// look brings what is shown up to date.
func (d *Dashboard) look(now time.Time) {
	t := d.src.Table()
	if t != d.table {
		d.table = t
		d.moves.look(t, now)
	}
	if d.listeners.Load() == 0 {
		return
	}
	if t != d.drawn && now.Sub(d.drawnAt) >= drawEvery(t.Size()) {
		d.drawn, d.drawnAt = t, now
		p := draw(t)
		d.show(func(s *shown) { s.ring.set(p) })
	}
	st, err := d.src.Status()
	if d.ctx.Err() != nil {
		return
	}
	now = time.Now()
	d.show(func(s *shown) {
		if err == nil {
			s.last = d.stateOf(st, now)
		} else { // what was known stays
			s.last.Error = clip(err.Error())
		}
		s.last.Moves = d.moves.view(now)
		if err == nil {
			s.last.Moves.estimate(st.Moves)
		}
		s.last.Node, s.last.Page, s.last.Now = d.src.Node, d.page.hash, now.UnixMilli()
		s.state.set(s.last)
	})
}

// show changes what is shown and tells the listeners.
func (d *Dashboard) show(change func(*shown)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.shown)
	d.tell()
}

// drawEvery bounds how often a picture is made of so many partitions: one of
// 16,384 has 240 KB.
func drawEvery(partitions int) time.Duration {
	return min(max(time.Duration(partitions)*100*time.Microsecond, lookAtMost), 2*time.Second)
}
