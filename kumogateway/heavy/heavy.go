// Package heavy finds the most frequent of a stream of keys in bounded memory. It
// is Space-Saving: A. Metwally, D. Agrawal, A. El Abbadi, "Efficient Computation
// of Frequent and Top-k Elements in Data Streams", ICDT 2005.
//
// A sketch holds a number of counters. A key that has none takes over that of the
// key with the least count, and with it the count: so no count is too low, and
// none too high by more than its Error, which is at most what was added divided
// by the number of counters. Every key that was added more often than that is
// held.
package heavy

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
)

// Sketch counts keys; see New. It has no lock.
type Sketch struct {
	size  int
	total uint64
	at    map[uint64]*counter // by the key's hash
	least counters            // a heap by count, and those not in use behind its end
}

type counter struct {
	hash                 uint64
	key                  []byte
	count, wrong, writes uint64
	index                int // in the heap
}

// Item is a key with its count.
type Item struct {
	Key    []byte
	Count  uint64 // how often it was added, and at most Error more
	Error  uint64
	Writes uint64 // of them, as far as they were counted: at least so many
}

// New makes a sketch of so many counters, each with room for a key that grows to
// the longest that it had.
func New(size int) *Sketch {
	return &Sketch{size: size, at: make(map[uint64]*counter, size), least: make(counters, 0, size)}
}

// Add counts a key once. Keys with the same hash, which should have 64 good bits,
// count as one. The key is copied; in a sketch that is full and warm nothing is
// allocated.
func (s *Sketch) Add(hash uint64, key []byte, write bool) {
	s.total++
	c := s.at[hash]
	if c == nil {
		c = s.take(hash, key)
	}
	c.count++
	if write {
		c.writes++
	}
	heap.Fix(&s.least, c.index)
}

// take finds a counter for a key that has none.
func (s *Sketch) take(hash uint64, key []byte) *counter {
	var c *counter
	switch n := len(s.least); {
	case n < cap(s.least) && n < s.size:
		if c = s.least[:n+1][n]; c == nil {
			c = new(counter)
		}
		*c = counter{key: c.key, index: n}
		s.least = append(s.least, c)
	default:
		c = s.least[0]
		delete(s.at, c.hash)
		c.wrong, c.writes = c.count, 0
	}
	c.hash, c.key = hash, append(c.key[:0], key...)
	s.at[hash] = c
	return c
}

// Total is how often something was added.
func (s *Sketch) Total() uint64 { return s.total }

// Floor is how often a key may have been added that the sketch does not hold.
func (s *Sketch) Floor() uint64 {
	if len(s.least) < s.size {
		return 0
	}
	return s.least[0].count
}

// Items are the keys that are held, the most frequent first. Keys are copies.
func (s *Sketch) Items() []Item {
	list := make([]Item, 0, len(s.least))
	for _, c := range s.least {
		list = append(list, Item{Key: slices.Clone(c.key), Count: c.count, Error: c.wrong, Writes: c.writes})
	}
	order(list)
	return list
}

// order puts the keys first that were added most often, for all that is known.
func order(list []Item) {
	slices.SortFunc(list, func(a, b Item) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Error, b.Error), slices.Compare(a.Key, b.Key))
	})
}

// Merge are the keys of two sketches, with bounds that hold for both streams
// together: a key that one of them does not hold may have its Floor there.
func Merge(a, b *Sketch) []Item {
	sum := map[string]Item{}
	for _, i := range a.Items() {
		i.Count, i.Error = i.Count+b.Floor(), i.Error+b.Floor()
		sum[string(i.Key)] = i
	}
	for _, i := range b.Items() {
		if had, ok := sum[string(i.Key)]; ok {
			i.Count, i.Error, i.Writes = i.Count+had.Count-b.Floor(), i.Error+had.Error-b.Floor(), i.Writes+had.Writes
		} else {
			i.Count, i.Error = i.Count+a.Floor(), i.Error+a.Floor()
		}
		sum[string(i.Key)] = i
	}
	list := slices.Collect(maps.Values(sum))
	order(list)
	return list
}

// Reset forgets everything but the memory.
func (s *Sketch) Reset() {
	s.total = 0
	clear(s.at)
	s.least = s.least[:0]
}

// counters are a heap with the least count first; see container/heap.
type counters []*counter

func (h counters) Len() int           { return len(h) }
func (h counters) Less(i, j int) bool { return h[i].count < h[j].count }
func (h counters) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push and Pop are heap.Interface's; a sketch only calls Fix.
func (h *counters) Push(x any) { *h = append(*h, x.(*counter)) }

func (h *counters) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	*h = (*h)[:last]
	return c
}
