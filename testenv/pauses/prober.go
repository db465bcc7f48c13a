package pauses

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

// Options say how clients probe.
type Options struct {
	Every time.Duration // an operation of each partition's reader, and of its writer
	Value int           // bytes of a value that is set, about
}

// Defaults probe 64 partitions with 1,280 operations a second: of a fault that
// concerns a third of them a few milliseconds are missed, of one of a single
// partition up to Every.
func Defaults() Options { return Options{Every: 100 * time.Millisecond, Value: 100} }

// tooLate is the time-out of clients: what takes longer counts as an error.
const tooLate = 10 * time.Second

// Prober is clients at work: for each partition a reader and a writer, each with
// a connection of its own, so that a partition that stands still holds up
// nobody else.
type Prober struct {
	t       testing.TB
	c       *testenv.Cluster
	o       Options
	began   time.Time
	size    int // partitions
	workers []*worker
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	done    bool
}

// Start begins to probe. The first reads wait until there is something to read.
func Start(t testing.TB, c *testenv.Cluster, o Options) *Prober {
	t.Helper()
	table := c.Table()
	ctx, cancel := context.WithCancel(context.Background())
	p := &Prober{t: t, c: c, o: o, size: table.Size(), cancel: cancel}
	t.Cleanup(p.end)
	gateways := len(c.Names(subjects.RoleGateway))
	for i := range p.size {
		b := &book{name: keyIn(table, ring.Partition(i))}
		// Readers and writers of a key are at different gateways, where there are.
		w := &worker{p: p, partition: ring.Partition(i), book: b, writes: true, client: c.Client(i % gateways)}
		r := &worker{p: p, partition: ring.Partition(i), book: b, client: c.Client((i + 1) % gateways)}
		if err := w.begin(); err != nil {
			t.Fatalf("begin with partition %d: %v", i, err)
		}
		p.workers = append(p.workers, w, r)
	}
	p.began = time.Now()
	for i, w := range p.workers {
		phase := time.Duration(i) * o.Every / time.Duration(len(p.workers))
		p.wg.Go(func() { w.run(ctx, p.began.Add(phase)) })
	}
	return p
}

// keyIn finds a key of each kind that is in a partition.
func keyIn(t *ring.Table, p ring.Partition) [kinds]string {
	var names [kinds]string
	for k := range names {
		for n := 0; names[k] == ""; n++ {
			if name := fmt.Sprintf("probe-%d-%s-%d", p, kindNames[k], n); t.Of([]byte(name)) == p {
				names[k] = name
			}
		}
	}
	return names
}

// end lets the operations under way end, and begins none.
func (p *Prober) end() {
	p.cancel()
	p.wg.Wait()
}

// Stop ends the clients, reads every key back, and fails the test for every
// wrong answer and every acknowledged write that is not there.
func (p *Prober) Stop() Totals {
	p.t.Helper()
	if !p.done {
		p.done = true
		p.end()
		p.audit()
	}
	sum := p.totals()
	p.t.Logf("%d operations, %d errors, %d wrong answers, %d wrong values at the end; longest %s",
		sum.Operations, sum.Errors, sum.Wrong, sum.Lost, show(sum.Longest))
	shown := 0
	for _, w := range p.workers {
		for _, s := range w.wrong {
			p.t.Errorf("partition %d: %s", w.partition, s)
		}
		for _, s := range w.errors {
			if shown++; shown <= 10 {
				p.t.Logf("error: partition %d: %s", w.partition, s)
			}
		}
	}
	return sum
}

// Totals are what all clients saw.
type Totals struct {
	Operations, Errors int
	Wrong              int // answers that cannot be right: stale, from nowhere, applied twice or not at all
	Lost               int // keys that at the end were not what was acknowledged
	Longest            time.Duration
}

func (p *Prober) totals() (sum Totals) {
	for _, w := range p.workers {
		w.mu.Lock()
		sum.Operations += len(w.samples)
		for _, s := range w.samples {
			sum.Longest = max(sum.Longest, s.took)
			if s.failed {
				sum.Errors++
			}
		}
		sum.Wrong += w.wrongs
		sum.Lost += w.lost
		w.mu.Unlock()
	}
	return sum
}

// audit reads everything back through a new connection.
func (p *Prober) audit() {
	p.t.Helper()
	m := p.c.Client(0)
	for _, w := range p.workers {
		if w.writes {
			w.audit(m)
		}
	}
}
