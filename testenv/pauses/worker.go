package pauses

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

// Each partition has a key of each kind; one writer writes all four.
const (
	kindSet    = iota // set to a number that grows
	kindIncr          // incremented
	kindAppend        // appended to, a number each time
	kindCas           // a number, raised by cas
	kinds
)

var kindNames = [kinds]string{"set", "incr", "append", "cas"}

// order is what a writer does, again and again.
var order = [...]int{kindSet, kindIncr, kindSet, kindAppend, kindSet, kindIncr, kindSet, kindCas}

// maxAppended is how long an appended value may get, in bytes, before it is
// begun anew.
const maxAppended = 2000

// book is what is known of a partition's keys. The writer writes it, the reader
// looks at it. A value is a number between acked, which was acknowledged last,
// and tried, the last that was sent.
type book struct {
	name  [kinds]string
	acked [kinds]atomic.Int64
	tried [kinds]atomic.Int64
}

// sample is one operation.
type sample struct {
	at     time.Duration // scheduled, since the prober began
	took   time.Duration // from then on
	failed bool
}

// worker is the reader or the writer of a partition.
type worker struct {
	p         *Prober
	partition ring.Partition
	book      *book
	writes    bool
	client    *testenv.Client
	at        atomic.Int64 // everything scheduled before is in samples; since the prober began

	n        int    // operations so far
	token    uint64 // of the key that is raised by cas; 0: not known
	appended string // what was appended and acknowledged
	maybe    string // appended since, of unknown outcome; "" if nothing
	cleared  bool   // or begun anew, of unknown outcome
	seen     [kinds]int64

	mu      sync.Mutex // guards the rest
	samples []sample
	errors  []string // the first few
	wrong   []string // likewise
	wrongs  int
	lost    int
}

// begin gives every key its first value.
func (w *worker) begin() error {
	for k, name := range w.book.name {
		if err := w.client.Set(name, w.value(k, 0)); err != nil {
			return err
		}
	}
	return w.look()
}

// value is what a key of a kind holds at a number.
func (w *worker) value(kind int, n int64) string {
	switch kind {
	case kindSet:
		return fmt.Sprintf("%d %s", n, strings.Repeat("x", w.p.o.Value))
	case kindAppend:
		return "" // it holds w.appended instead
	}
	return strconv.FormatInt(n, 10)
}

// look reads the token of the key that is raised by cas, and what it holds.
func (w *worker) look() error {
	v, token, err := w.client.Gets(w.book.name[kindCas])
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || !w.known(kindCas, n) {
		w.isWrong("gets %s: %.40q, want %s", w.book.name[kindCas], v, w.between(kindCas))
		n = w.book.tried[kindCas].Load()
	}
	w.settle(kindCas, n)
	w.token = token
	return nil
}

func (w *worker) known(kind int, n int64) bool {
	return n >= w.book.acked[kind].Load() && n <= w.book.tried[kind].Load()
}

func (w *worker) between(kind int) string {
	return fmt.Sprintf("%d to %d", w.book.acked[kind].Load(), w.book.tried[kind].Load())
}

// settle notes that a key of this writer holds a number, whatever was unknown.
func (w *worker) settle(kind int, n int64) {
	w.book.acked[kind].Store(n)
	w.book.tried[kind].Store(n)
}

// run does an operation each time one is due, as soon as the one before is
// answered.
func (w *worker) run(ctx context.Context, due time.Time) {
	defer func() { w.client.Close() }()
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for ; ; due = due.Add(w.p.o.Every) {
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			w.at.Store(int64(1<<62 - 1))
			return
		case <-timer.C:
		}
		err := w.op()
		took := time.Since(due)
		w.note(due, took, err)
		if err != nil && !w.reconnect(ctx, err) {
			w.at.Store(int64(1<<62 - 1))
			return
		}
	}
}

func (w *worker) note(due time.Time, took time.Duration, err error) {
	at := due.Sub(w.p.began)
	w.mu.Lock()
	w.samples = append(w.samples, sample{at: at, took: took, failed: err != nil || took > tooLate})
	if (err != nil || took > tooLate) && len(w.errors) < 3 {
		w.errors = append(w.errors, fmt.Sprintf("at %s, after %s: %v", show(at), show(took), err))
	}
	w.mu.Unlock()
	w.at.Store(int64(at) + 1)
}

func (w *worker) isWrong(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrongs++; len(w.wrong) < 3 {
		w.wrong = append(w.wrong, fmt.Sprintf("at %s: ", show(time.Since(w.p.began)))+fmt.Sprintf(format, args...))
	}
}

func (w *worker) op() error {
	w.n++
	if !w.writes {
		return w.read([...]int{kindSet, kindIncr, kindSet, kindCas}[w.n%4])
	}
	switch order[w.n%len(order)] {
	case kindSet:
		return w.set()
	case kindIncr:
		return w.incr()
	case kindAppend:
		return w.append()
	}
	return w.cas()
}

// read checks that a value is none that was overwritten before the read began,
// nor older than one that was seen, and that somebody has written it.
func (w *worker) read(kind int) error {
	least := max(w.book.acked[kind].Load(), w.seen[kind])
	v, err := w.client.Get(w.book.name[kind])
	if errors.Is(err, testenv.ErrMiss) {
		w.isWrong("get %s: a miss, want at least %d", w.book.name[kind], least)
		return nil
	}
	if err != nil {
		return err
	}
	digits, _, _ := strings.Cut(v, " ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if most := w.book.tried[kind].Load(); err != nil || n < least || n > most {
		w.isWrong("get %s: %.40q, want %d to %d", w.book.name[kind], v, least, most)
		return nil
	}
	w.seen[kind] = n
	return nil
}

func (w *worker) set() error {
	n := w.book.tried[kindSet].Add(1)
	if err := w.client.Set(w.book.name[kindSet], w.value(kindSet, n)); err != nil {
		return err
	}
	w.book.acked[kindSet].Store(n)
	return nil
}

// incr checks that the counter tells how many increments there were: all that
// were acknowledged, and of the others some.
func (w *worker) incr() error {
	most := w.book.tried[kindIncr].Add(1)
	least := w.book.acked[kindIncr].Load() + 1
	s, err := w.client.Line("incr %s 1", w.book.name[kindIncr])
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most {
		w.isWrong("incr %s: %.40q, want %d to %d", w.book.name[kindIncr], s, least, most)
		return nil
	}
	w.settle(kindIncr, n)
	return nil
}

func (w *worker) append() error {
	name := w.book.name[kindAppend]
	if w.maybe != "" || w.cleared || len(w.appended) > maxAppended {
		if err := w.reread(); err != nil {
			return err
		}
		if len(w.appended) > maxAppended {
			w.cleared = true
			if err := w.client.Set(name, ""); err != nil {
				return err
			}
			w.appended, w.cleared = "", false
		}
	}
	one := fmt.Sprintf("%d;", w.n)
	w.maybe = one
	s, err := w.client.Store("append", name, one)
	switch {
	case err != nil:
		return err
	case s != "STORED":
		w.isWrong("append %s: %q", name, s)
	}
	w.appended, w.maybe = w.appended+one, ""
	return nil
}

// reread settles what an append of unknown outcome has done, and checks that
// each other one was done once.
func (w *worker) reread() error {
	v, err := w.client.Get(w.book.name[kindAppend])
	if err != nil && !errors.Is(err, testenv.ErrMiss) {
		return err
	}
	if v != w.appended && !(w.maybe != "" && v == w.appended+w.maybe) && !(w.cleared && v == "") {
		w.isWrong("get %s: …%q, want …%q and perhaps %q", w.book.name[kindAppend], tail(v), tail(w.appended), w.maybe)
	}
	w.appended, w.maybe, w.cleared = v, "", false
	return nil
}

func tail(s string) string { return s[max(0, len(s)-40):] }

// cas raises a number with the token that the last answer left. Nobody else
// writes the key, so that EXISTS is wrong unless an outcome is unknown, and then
// the token is read anew first.
func (w *worker) cas() error {
	if w.token == 0 {
		if err := w.look(); err != nil {
			return err
		}
	}
	n := w.book.tried[kindCas].Add(1)
	token := w.token
	w.token = 0
	s, err := w.client.Cas(w.book.name[kindCas], w.value(kindCas, n), token)
	if err != nil {
		return err
	}
	if s != "STORED" {
		w.isWrong("cas %s %d with token %d: %q", w.book.name[kindCas], n, token, s)
		return nil
	}
	w.book.acked[kindCas].Store(n)
	return nil
}

// audit checks at the end that every key holds what was acknowledged last, or an
// attempt since of which nobody knows the outcome.
func (w *worker) audit(m *testenv.Client) {
	w.client = m
	before := w.wrongs
	for _, kind := range []int{kindSet, kindIncr, kindCas} {
		w.seen[kind] = 0
		if err := w.read(kind); err != nil {
			w.isWrong("read %s back: %v", w.book.name[kind], err)
		}
	}
	if err := w.reread(); err != nil {
		w.isWrong("read %s back: %v", w.book.name[kindAppend], err)
	}
	w.lost = w.wrongs - before
	w.wrongs = before
}

// reconnect goes on after an error: with a new connection, unless the server
// answered.
func (w *worker) reconnect(ctx context.Context, err error) bool {
	var answer testenv.ServerError
	if errors.As(err, &answer) {
		return true
	}
	addr := w.client.Addr()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		w.client.Close()
		c, err := testenv.DialMemcached(addr)
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
