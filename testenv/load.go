package testenv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
)

// The load's shape: bounded, since tests share a machine.
const (
	loadWorkers  = 8
	loadKeys     = 40                   // of each worker
	loadEvery    = 5 * time.Millisecond // an operation of each worker
	loadValue    = 200                  // bytes, about
	progressStep = 800                  // operations that show that the service goes on
)

// Load is clients that set, get and delete without pause. Each key belongs to
// one worker, so that what a read may show is known: what was acknowledged
// last, or an attempt since of which nobody knows the outcome.
type Load struct {
	t       testing.TB
	c       *Cluster
	number  int // its keys are its own
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	workers []*worker
	ops     atomic.Int64
	failed  atomic.Int64 // answers that are no acknowledgement
	longest atomic.Int64 // nanoseconds that an operation took
}

type worker struct {
	load    *Load
	n       int
	client  *Client
	keys    []keyState
	wrong   []string // reads that show what cannot be
	errors  []string // the first answers that were none
	counter int
}

// keyState is what a key may hold. "" stands for nothing.
type keyState struct {
	acked string
	maybe []string // attempts since whose outcome is unknown
}

// Load starts clients, spread over the gateways. Stop, or the test's end, ends
// them.
func (c *Cluster) Load() *Load {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.loads++
	l := &Load{t: c.t, c: c, number: c.loads, cancel: cancel}
	gateways := len(c.Names(subjects.RoleGateway))
	for i := range loadWorkers {
		w := &worker{load: l, n: i, client: c.Client(i % gateways), keys: make([]keyState, loadKeys)}
		l.workers = append(l.workers, w)
		l.wg.Go(func() { w.run(ctx) })
	}
	c.t.Cleanup(func() { cancel(); l.wg.Wait() })
	return l
}

// GoesOn waits until the clients have done some more operations.
func (l *Load) GoesOn() {
	l.t.Helper()
	want := l.ops.Load() + progressStep
	l.c.Eventually("the service goes on", func() bool { return l.ops.Load() >= want })
}

// Stop ends the load.
func (l *Load) Stop() {
	l.t.Helper()
	l.cancel()
	l.wg.Wait()
	l.t.Logf("load: %d operations, %d not acknowledged, longest %s", l.ops.Load(), l.failed.Load(),
		time.Duration(l.longest.Load()).Round(time.Millisecond))
	for _, w := range l.workers {
		for _, s := range w.wrong {
			l.t.Errorf("worker %d: %s", w.n, s)
		}
	}
}

// NoErrors fails the test if any operation was answered by an error.
func (l *Load) NoErrors() {
	l.t.Helper()
	for _, w := range l.workers {
		for _, s := range w.errors {
			l.t.Errorf("worker %d: %s", w.n, s)
		}
	}
}

// Verify reads every key back, after Stop: each acknowledged write is there.
func (l *Load) Verify() {
	l.t.Helper()
	m := l.c.Client(0)
	wrong := 0
	for _, w := range l.workers {
		for i := range w.keys {
			v, err := m.Get(w.key(i))
			if err != nil && !errors.Is(err, ErrMiss) {
				l.t.Fatalf("read %s back: %v", w.key(i), err)
			}
			if !w.keys[i].may(v) {
				wrong++
				l.t.Errorf("%s is %.40q, want %s", w.key(i), v, &w.keys[i])
			}
		}
	}
	l.t.Logf("read back %d keys, %d wrong", loadWorkers*loadKeys, wrong)
}

func (w *worker) key(i int) string { return fmt.Sprintf("load%d-%d-%d", w.load.number, w.n, i) }

func (w *worker) run(ctx context.Context) {
	defer func() { w.client.Close() }()
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	for ctx.Err() == nil { // after a long operation there is a tick, too
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		i := rand.IntN(len(w.keys))
		began := time.Now()
		err := w.op(i)
		took := time.Since(began)
		for old := w.load.longest.Load(); int64(took) > old && !w.load.longest.CompareAndSwap(old, int64(took)); {
			old = w.load.longest.Load()
		}
		w.load.ops.Add(1)
		if err == nil {
			continue
		}
		w.load.failed.Add(1)
		if len(w.errors) < 5 {
			w.errors = append(w.errors, fmt.Sprintf("%s after %s: %v", w.key(i), took.Round(time.Millisecond), err))
		}
		if !w.reconnect(ctx, err) {
			return
		}
	}
}

// op does one operation on a key and notes what may be there now.
func (w *worker) op(i int) error {
	k := &w.keys[i]
	switch p := rand.IntN(10); {
	case p < 5:
		v, err := w.client.Get(w.key(i))
		if err != nil && !errors.Is(err, ErrMiss) {
			return err
		}
		if !k.may(v) && len(w.wrong) < 5 {
			w.wrong = append(w.wrong, fmt.Sprintf("%s read as %.40q, want %s", w.key(i), v, k))
		}
		return nil
	case p < 9:
		w.counter++
		v := fmt.Sprintf("%d-%d-%s", w.n, w.counter, strings.Repeat("x", rand.IntN(2*loadValue)))
		k.maybe = append(k.maybe, v)
		if err := w.client.Set(w.key(i), v); err != nil {
			return err
		}
		*k = keyState{acked: v}
		return nil
	default:
		k.maybe = append(k.maybe, "")
		if err := w.client.Delete(w.key(i)); err != nil && !errors.Is(err, ErrMiss) {
			return err
		}
		*k = keyState{}
		return nil
	}
}

// reconnect goes on after an error: with a new connection, unless the server
// answered.
func (w *worker) reconnect(ctx context.Context, err error) bool {
	var answer ServerError
	if errors.As(err, &answer) {
		return true
	}
	addr := w.client.conn.RemoteAddr().String()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		w.client.Close()
		c, err := DialMemcached(addr)
		if err == nil {
			w.client = c
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

func (k *keyState) may(v string) bool { return v == k.acked || slices.Contains(k.maybe, v) }

func (k *keyState) String() string {
	s := fmt.Sprintf("%.40q", k.acked)
	for _, m := range k.maybe {
		s += fmt.Sprintf(" or %.40q", m)
	}
	return s
}

// Fill stores n values of 1 KiB, so that there is something to copy.
func (c *Cluster) Fill(n int) {
	c.t.Helper()
	for i := range n {
		c.Set(fmt.Sprint("fill-", i), filling(i))
	}
}

// VerifyFill reads back what Fill stored.
func (c *Cluster) VerifyFill(n int) {
	c.t.Helper()
	wrong := 0
	for i := range n {
		if v := c.Get(fmt.Sprint("fill-", i)); v != filling(i) {
			wrong++
		}
	}
	if wrong > 0 {
		c.t.Errorf("%d of %d values are not what was stored", wrong, n)
	}
}

func filling(i int) string { return strings.Repeat(fmt.Sprint(i, "."), 1024)[:1024] }
