package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/testenv"
)

const (
	redial      = 50 * time.Millisecond // after a refused connection
	longSilence = 2 * time.Second       // that is worth a line

	// crowd bounds how many clients work on a key at a time. While a partition
	// waits for a primary more of them would gather on its keys than there are
	// orders to try when the history is checked.
	crowd = 6
)

// clients work on a few keys through all gateways and write down what happens.
type clients struct {
	o        *Options
	gateways []string // addresses
	began    time.Time
	history  *History
	busy     []atomic.Int32 // by number of the key: clients that work on it

	asked    atomic.Int64 // operations that were sent
	unknown  atomic.Int64 // writes whose outcome nobody knows
	refused  atomic.Int64 // operations of which it is known that nothing was done
	answered atomic.Int64
	longest  atomic.Int64 // nanoseconds that an answer took
	silence  atomic.Int64 // nanoseconds in which nobody was answered
	heard    atomic.Int64 // when somebody last was

	mu       sync.Mutex
	silences []string // long times without an answer, for the timeline
	wrong    []string // answers that no model has: internal errors and the like
}

func (c *clients) now() int64 { return int64(time.Since(c.began)) }

// worker is one client: one connection, one operation at a time.
type worker struct {
	*clients
	*rand.Rand
	n       int
	gateway int
	conn    *testenv.Client // nil after an error
	count   int             // of values made
	epoch   int
	tokens  map[string]uint64 // read last, of the keys of this epoch
}

func (c *clients) worker(n int) *worker {
	return &worker{clients: c, Rand: rand.New(rand.NewPCG(c.o.Seed, uint64(n)+1)), n: n, gateway: n % len(c.gateways), tokens: map[string]uint64{}}
}

// run works until ctx ends, at a pace that all clients together make the rate.
func (w *worker) run(ctx context.Context) {
	defer w.hangUp()
	tick := time.NewTicker(time.Duration(w.o.Clients) * time.Second / time.Duration(w.o.Rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if w.conn == nil && !w.dial() {
			if !pause(ctx, redial) {
				return
			}
			continue
		}
		w.step()
	}
}

// step does one operation, on a key that is not crowded.
func (w *worker) step() {
	i := w.IntN(w.o.Keys)
	if w.IntN(4) == 0 {
		i %= 4 // a few are busier
	}
	for w.busy[i].Add(1) > crowd {
		w.busy[i].Add(-1)
		i = w.IntN(w.o.Keys)
	}
	w.do(w.draw(i))
	w.busy[i].Add(-1)
}

func (w *worker) hangUp() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

// dial connects, half of the times to another gateway than before.
func (w *worker) dial() bool {
	if w.IntN(2) == 0 {
		w.gateway = w.IntN(len(w.gateways))
	}
	conn, err := testenv.DialMemcached(w.gateways[w.gateway])
	if err != nil {
		return false
	}
	w.conn = conn
	return true
}

// draw chooses an operation. Keys change every so often, since the history of a
// key must stay short; a quarter of them are counters.
func (w *worker) draw(i int) *Op {
	epoch := int(time.Since(w.began) / w.o.Rotate)
	if epoch != w.epoch {
		w.epoch = epoch
		clear(w.tokens)
	}
	o := &Op{Verb: w.verb(i%4 == 3), Key: fmt.Sprintf("e%d-%d", epoch, i)}
	w.count++
	switch o.Verb {
	case "set", "add", "replace", "cas":
		o.Value = fmt.Sprintf("%d.%d", w.n, w.count)
		if i%4 == 3 {
			o.Value = strconv.Itoa((w.n+1)*1e9 + w.count*1000)
		}
	case "append":
		o.Value = fmt.Sprintf(",%d.%d", w.n, w.count)
	case "prepend":
		o.Value = fmt.Sprintf("%d.%d,", w.n, w.count)
	case "incr", "decr":
		o.Delta = uint64(1 + w.IntN(9))
	}
	if o.Verb == "cas" {
		if o.Cas = w.tokens[o.Key]; o.Cas == 0 || w.IntN(2) == 0 {
			if !w.do(&Op{Verb: "gets", Key: o.Key}) || w.tokens[o.Key] == 0 {
				return &Op{Verb: "get", Key: o.Key}
			}
			o.Cas = w.tokens[o.Key]
		}
	}
	return o
}

// verb draws what to do: of ten operations three or four read, and at least two
// are cas, append, prepend, incr or decr.
func (w *worker) verb(counter bool) string {
	n := w.IntN(100)
	for _, v := range []struct {
		share int
		verb  string
	}{{22, "get"}, {10, "gets"}, {3, "add"}, {3, "replace"}, {6, "delete"}, {3, "touch"}, {12, "cas"}} {
		if n -= v.share; n < 0 {
			return v.verb
		}
	}
	switch {
	case counter && n < 25:
		return "incr"
	case counter && n < 33:
		return "decr"
	case !counter && n < 14:
		return "append"
	case !counter && n < 18:
		return "prepend"
	}
	return "set"
}

// do sends an operation and notes its outcome. It reports whether there was an
// answer that tells it.
func (w *worker) do(o *Op) bool {
	if w.conn == nil {
		return false
	}
	o.Client, o.Gateway = w.n, w.gateway
	w.asked.Add(1)
	o.Call = w.now()
	err := w.ask(o)
	ret := w.now()
	if err == nil {
		o.Ret = ret
		w.answered.Add(1)
		raise(&w.longest, ret-o.Call)
		w.hear(ret)
		if o.Verb == "gets" {
			w.tokens[o.Key] = o.Token
		}
		w.history.Add(o)
		return true
	}
	var said testenv.ServerError
	switch write := o.Verb != "get" && o.Verb != "gets"; {
	case !errors.As(err, &said):
		w.hangUp()
		if write {
			w.open(o)
		}
	case said == "SERVER_ERROR outcome unknown":
		w.open(o)
	case said == "SERVER_ERROR timed out", said == "SERVER_ERROR shutting down", said == "SERVER_ERROR too many requests are waiting":
		w.refused.Add(1)
	default:
		w.complain(fmt.Sprintf("%s is answered %q", o, string(said)))
	}
	return false
}

func (w *worker) open(o *Op) {
	o.Answer = answerOpen
	w.unknown.Add(1)
	w.history.Add(o)
}

// hear notes an answer, and how long there was none.
func (c *clients) hear(now int64) {
	last := c.heard.Swap(now)
	raise(&c.silence, now-last)
	if silent := time.Duration(now - last); silent > longSilence {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.silences = append(c.silences, fmt.Sprintf("%9.3f nobody was answered for %s", time.Duration(now).Seconds(), silent.Round(time.Millisecond)))
	}
}

func raise(to *atomic.Int64, n int64) {
	for old := to.Load(); n > old && !to.CompareAndSwap(old, n); {
		old = to.Load()
	}
}

// mostWrong bounds what is kept of what all runs alike.
const mostWrong = 20

func (c *clients) complain(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.wrong) < mostWrong {
		c.wrong = append(c.wrong, s)
	}
}

// ask sends an operation and fills its answer in.
func (w *worker) ask(o *Op) (err error) {
	switch o.Verb {
	case "get", "gets":
		if o.Verb == "get" {
			o.Text, err = w.conn.Get(o.Key)
		} else {
			o.Text, o.Token, err = w.conn.Gets(o.Key)
		}
		if o.Answer = answerValue; errors.Is(err, testenv.ErrMiss) {
			o.Answer, err = answerMiss, nil
		}
	case "cas":
		o.Answer, err = w.conn.Cas(o.Key, o.Value, o.Cas)
	case "delete":
		o.Answer, err = w.conn.Line("delete %s", o.Key)
	case "touch":
		o.Answer, err = w.conn.Line("touch %s 0", o.Key)
	case "incr", "decr":
		o.Answer, err = w.conn.Line("%s %s %d", o.Verb, o.Key, o.Delta)
		if err == testenv.ServerError("CLIENT_ERROR cannot increment or decrement non-numeric value") {
			o.Answer, err = answerNonNumeric, nil
		} else if _, bad := strconv.ParseUint(o.Answer, 10, 64); err == nil && bad == nil {
			o.Answer, o.Text = answerNumber, o.Answer
		}
	default:
		o.Answer, err = w.conn.Store(o.Verb, o.Key, o.Value)
	}
	return err
}

// read asks for a key until there is an answer, for the audit.
func (w *worker) read(ctx context.Context, key string) error {
	for {
		if w.conn != nil || w.dial() {
			if w.do(&Op{Verb: "gets", Key: key}) {
				return nil
			}
		}
		if !pause(ctx, redial) {
			return fmt.Errorf("no answer for %s after everything was healed: %w", key, ctx.Err())
		}
	}
}

// pause waits, or returns false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
