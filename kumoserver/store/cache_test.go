package store

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// A record enters the cache when it was missed, and leaves when bbolt gets another,
// loses it, or loses the partition.
func TestCacheFollows(t *testing.T) {
	s := open(t, small(t.TempDir()))
	m := &maker{p: 1, e: 1}
	apply := func() {
		t.Helper()
		flush(t, s)
		s.Commit(1, m.tail.Seq)
		eventually(t, "applied", applied(s))
	}
	cached := func(key, value string) {
		t.Helper()
		for range 2 { // from the file, and from the cache
			want(t, s, 1, key, value)
		}
		if n, _ := s.cache.size(); n != 1 {
			t.Fatalf("%d records are cached, want 1", n)
		}
	}
	m.put(t, s, "k", "one")
	apply()
	cached("k", "one")
	m.put(t, s, "k", "two")
	apply()
	want(t, s, 1, "k", "two")
	cached("k", "two")
	if err := s.Append(m.entry(subjects.EntryDelete, "k", "")); err != nil {
		t.Fatal(err)
	}
	apply()
	want(t, s, 1, "k", "")

	m.put(t, s, "k", "three")
	apply()
	cached("k", "three")
	if err := s.Append(m.entry(subjects.EntryFlush, "", "")); err != nil {
		t.Fatal(err)
	}
	apply()
	want(t, s, 1, "k", "")

	m.put(t, s, "k", "four")
	apply()
	cached("k", "four")
	if err := s.Reset(1, 2, subjects.Version{}); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	want(t, s, 1, "k", "")
	s.applier.arm()
	eventually(t, "cleared", func() bool { n, _ := s.cache.size(); return n == 0 })
	want(t, s, 1, "k", "")
}

// What was read before a change of bbolt does not enter after it.
func TestCacheRefusesThePast(t *testing.T) {
	c := newCache(1 << 20)
	rec := subjects.Record{Key: []byte("k"), Value: []byte("old")}
	round := c.rounds.Load()
	c.offer(1, &rec, round)
	c.changed(1, []string{"k"}, false)
	c.offer(1, &rec, round)
	if _, ok := c.get(1, rec.Key); ok {
		t.Error("a record of before the change entered")
	}
	c.offer(1, &rec, c.rounds.Load())
	if got, ok := c.get(1, rec.Key); !ok || string(got.Value) != "old" {
		t.Error("a record did not enter")
	}
	if _, ok := c.get(2, rec.Key); ok {
		t.Error("a record is found in another partition")
	}
	rec.Value[0] = 'X'
	if got, _ := c.get(1, []byte("k")); string(got.Value) != "old" {
		t.Error("the cache keeps the reader's bytes")
	}
}

// The cache stays within its bound and gives only what it was given, whatever
// enters and leaves; without a size it keeps nothing.
func TestCacheBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := newCache(256 << 10)
	key := func(i int) []byte { return fmt.Appendf(nil, "key-%d", i) }
	hits, most := 0, 0
	for range 200_000 {
		i := min(r.IntN(4000), r.IntN(4000), r.IntN(4000))
		p := ring.Partition(i % 4)
		switch k := key(i); {
		case r.IntN(1000) == 0:
			c.changed(p, nil, true)
		case r.IntN(50) == 0:
			c.changed(p, []string{string(k)}, false)
		default:
			value := fmt.Sprintf("%d-%0*d", i, i%1500, 0)
			if rec, ok := c.get(p, k); !ok {
				rec = subjects.Record{Key: k, Value: []byte(value)}
				c.offer(p, &rec, c.rounds.Load())
			} else if hits++; string(rec.Value) != value || string(rec.Key) != string(k) {
				t.Fatalf("%s has %.20q", k, rec.Value)
			}
		}
		if _, bytes := c.size(); bytes > 256<<10 {
			t.Fatalf("%d bytes", bytes)
		} else {
			most = max(most, bytes)
		}
	}
	if hits < 20_000 || most < 128<<10 {
		t.Errorf("%d hits, %d bytes at most: the cache is of no use", hits, most)
	}
	for p := range ring.Partition(4) {
		c.changed(p, nil, true)
	}
	if n, bytes := c.size(); n+bytes != 0 {
		t.Errorf("%d records, %d bytes are left of nothing", n, bytes)
	}
	none := newCache(-1)
	rec := subjects.Record{Key: []byte("k")}
	none.offer(1, &rec, 0)
	none.offer(1, &rec, 0)
	if _, ok := none.get(1, rec.Key); ok {
		t.Error("a cache without size keeps a record")
	}
}

// Readers never see what was overwritten before they asked, while hot keys go
// from memory to bbolt to the cache and back.
func TestCacheDuringApply(t *testing.T) {
	o := small(t.TempDir())
	o.ApplyAfter, o.batch = time.Millisecond, 4
	s := open(t, o)
	const keys = 8
	committed := make([]atomic.Uint64, 1)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() { readWhile(t, s, stop, r*4, keys, committed) })
	}
	m := &maker{p: 0, e: 1}
	for round := range uint64(150) {
		for k := range keys {
			m.put(t, s, keyOf(k), fmt.Sprint(round+1))
		}
		flush(t, s)
		s.Commit(0, m.tail.Seq)
		committed[0].Store(round + 1)
		if round%3 == 0 {
			eventually(t, "applied and cached", func() bool { n, _ := s.cache.size(); return n > 0 && applied(s)() })
		}
	}
	close(stop)
	readers.Wait()
}

// Into a full cache few of those enter that are missed now and then, and one that is
// missed again and again does.
func TestFullCacheExchangesLittle(t *testing.T) {
	c := newCache(1 << 20)
	offer := func(i int) {
		rec := subjects.Record{Key: fmt.Appendf(nil, "key-%d", i), Value: make([]byte, 1000)}
		c.offer(1, &rec, 0)
	}
	cached := func(i int) bool {
		_, ok := c.get(1, fmt.Appendf(nil, "key-%d", i))
		return ok
	}
	const many = 4000
	for i := range many {
		offer(i)
		offer(i)
	}
	full, _ := c.size()
	entered := 0
	for i := many; i < 2*many; i++ {
		offer(i)
		offer(i)
		if cached(i) {
			entered++
		}
	}
	if now, _ := c.size(); now < full-cacheShards || now > full+cacheShards || entered < many/cacheTurn/2 || entered > many/cacheTurn*2 {
		t.Errorf("of %d records %d entered; there were %d and are %d", many, entered, full, now)
	}
	for range 10 * cacheTurn {
		if offer(2 * many); cached(2 * many) {
			return
		}
	}
	t.Error("one that is missed all the time does not enter")
}
