package heavy_test

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/etolabo/kumofs/kumogateway/heavy"
)

var seed = maphash.MakeSeed()

func add(s *heavy.Sketch, key string, write bool) {
	s.Add(maphash.String(seed, key), []byte(key), write)
}

// What the paper promises holds for any stream: no count is too low, none too
// high by more than its error, the error is bounded, and every key above the
// bound is held.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 20).Draw(t, "size")
		s := heavy.New(size)
		if rapid.Bool().Draw(t, "used before") {
			for i := range 3 * size {
				add(s, fmt.Sprint("old", i), true)
			}
			s.Reset()
		}
		want, writes := map[string]uint64{}, map[string]uint64{}
		stream := rapid.SliceOfN(rapid.IntRange(0, 40), 0, 400).Draw(t, "stream")
		for i, k := range stream {
			key := fmt.Sprint("k", k*k/40) // some far more often than others
			want[key]++
			if i%3 == 0 {
				writes[key]++
			}
			add(s, key, i%3 == 0)
		}
		if s.Total() != uint64(len(stream)) {
			t.Fatalf("total %d of %d", s.Total(), len(stream))
		}
		bound := s.Total() / uint64(size)
		items := s.Items()
		if len(items) > size || len(items) < min(size, len(want)) {
			t.Fatalf("%d of %d keys are held by %d counters", len(items), len(want), size)
		}
		held := map[string]bool{}
		for _, i := range items {
			key := string(i.Key)
			held[key] = true
			if n := want[key]; i.Count < n || i.Count-i.Error > n || i.Error > bound || i.Writes > writes[key] {
				t.Fatalf("%s was added %d times (%d writes), and is told as %+v; error at most %d", key, n, writes[key], i, bound)
			}
		}
		for key, n := range want {
			if !held[key] && (n > s.Floor() || n > bound) {
				t.Fatalf("%s, which was added %d times of %d, is not held; floor %d", key, n, s.Total(), s.Floor())
			}
		}
	})
}

// A skewed stream's head is found, in order.
func TestHead(t *testing.T) {
	s := heavy.New(64)
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.2, 1, 100_000)
	for range 200_000 {
		add(s, fmt.Sprint("key-", zipf.Uint64()), false)
	}
	for i, item := range s.Items()[:5] {
		if want := fmt.Sprint("key-", i); string(item.Key) != want {
			t.Errorf("place %d has %s, want %s", i, item.Key, want)
		}
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	s := heavy.New(16)
	keys := make([][]byte, 100)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key-%d", i)
		s.Add(uint64(i), keys[i], false)
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() { i++; s.Add(uint64(i%100), keys[i%100], true) }); n != 0 {
		t.Errorf("%v allocations for a key", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	s := heavy.New(512)
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.2, 1, 100_000)
	draws := make([]uint64, 1<<16)
	for i := range draws {
		draws[i] = zipf.Uint64()
	}
	key := make([]byte, 32)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d := draws[i&(1<<16-1)]
		s.Add(d*0x9e3779b97f4a7c15, key, false)
	}
}
