package store

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Whatever becomes of a partition while others read it, and while its data goes
// from memory to bbolt, to another file and to the cache, who changes it reads just
// what it then holds.
func TestCacheIsNeverBehind(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			o := small(t.TempDir())
			o.ApplyAfter, o.batch, o.compact = 100*time.Microsecond, 3, always
			s := open(t, o)
			stop := make(chan struct{})
			var readers sync.WaitGroup
			defer readers.Wait()
			defer close(stop)
			for r := range 3 {
				readers.Go(func() { readMany(s, stop, r) })
			}
			c := &churn{t: t, s: s, r: rand.New(rand.NewPCG(seed, 5)), m: maker{p: 1, e: 1}, vals: map[string]string{}}
			for range 300 {
				c.step()
			}
			if c.hits == 0 {
				t.Error("the cache was empty all the time")
			}
		})
	}
}

const churnKeys = 12

func readMany(s *Store, stop chan struct{}, r int) {
	for i := r; !isStopped(stop); i++ {
		if i%3 > 0 {
			s.Get(1, []byte(keyOf(i%churnKeys)))
			continue
		}
		s.GetMany(churnKeys, func(j int) (ring.Partition, []byte) {
			return 1, []byte(keyOf(j))
		}, func() {}, func(int, subjects.Record, bool, error) {})
	}
}

// churn changes a partition as a core loop does, and knows what it holds.
type churn struct {
	t    *testing.T
	s    *Store
	r    *rand.Rand
	m    maker
	vals map[string]string
	n    int
	hits int
}

func (c *churn) step() {
	c.n++
	key := keyOf(c.r.IntN(churnKeys))
	switch i := c.r.IntN(100); {
	case i < 40:
		value := fmt.Sprintf("%d-%0*d", c.n, c.r.IntN(200), 0)
		c.m.put(c.t, c.s, key, value)
		c.vals[key] = value
		c.commit()
	case i < 50:
		c.append(c.m.entry(subjects.EntryDelete, key, ""))
		delete(c.vals, key)
		c.commit()
	case i < 53:
		c.append(c.m.entry(subjects.EntryFlush, "", ""))
		clear(c.vals)
		c.commit()
	case i < 56:
		c.again()
	case i < 60:
		eventually(c.t, "applied", func() bool { return c.s.Stats().Waiting == 0 })
	}
	for i := range churnKeys {
		want(c.t, c.s, 1, keyOf(i), c.vals[keyOf(i)])
	}
	n, _ := c.s.cache.size()
	c.hits += n
}

func (c *churn) append(e *subjects.Entry) {
	if err := c.s.Append(e); err != nil {
		c.t.Fatal(err)
	}
}

func (c *churn) commit() {
	flush(c.t, c.s)
	c.s.Commit(1, c.m.tail.Seq)
}

// again makes the copy anew, of two ranges, or replaces one of a copy that is whole.
func (c *churn) again() {
	from, to := 0, churnKeys
	whole := c.r.IntN(2) == 0
	if whole {
		from = c.r.IntN(churnKeys)
		to = from + 1 + c.r.IntN(churnKeys-from)
	} else {
		c.m.e++
		if c.r.IntN(2) == 0 {
			if err := c.s.Drop(1); err != nil {
				c.t.Fatal(err)
			}
			clear(c.vals)
			for i := range churnKeys {
				want(c.t, c.s, 1, keyOf(i), "")
			}
		}
		if err := c.s.Reset(1, c.m.e, c.m.tail); err != nil {
			c.t.Fatal(err)
		}
		clear(c.vals)
		for i := range churnKeys {
			want(c.t, c.s, 1, keyOf(i), "")
		}
	}
	m := &subjects.Range{Header: subjects.Header{Partition: 1, Epoch: c.m.e}, Through: c.m.tail.Seq, Last: to == churnKeys}
	if from > 0 {
		m.From = []byte(keyOf(from))
	}
	if !m.Last {
		m.To = []byte(keyOf(to))
	}
	for i := from; i < to; i++ {
		delete(c.vals, keyOf(i))
		if c.r.IntN(2) == 0 {
			value := fmt.Sprintf("%d-range", c.n)
			m.Records = append(m.Records, subjects.Record{Key: []byte(keyOf(i)), Value: []byte(value), Token: aToken})
			c.vals[keyOf(i)] = value
		}
	}
	if err := c.s.Range(1, m); err != nil {
		c.t.Fatal(err)
	}
	flush(c.t, c.s)
}
