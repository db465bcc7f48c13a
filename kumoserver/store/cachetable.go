package store

import "sync/atomic"

// cacheTable finds records by their keys' hashes: linear probing in a table of which
// half is free at least, each hash once. One writer at a time may change it under
// readers, who then may miss what is there, but find nothing that was removed before
// they began.
type cacheTable struct {
	mask  int
	slots []atomic.Pointer[cached]
}

// cacheTableLeast is the size of the first table; a power of two.
const cacheTableLeast = 64

func newCacheTable(size int) *cacheTable {
	return &cacheTable{mask: size - 1, slots: make([]atomic.Pointer[cached], size)}
}

func (t *cacheTable) size() int { return len(t.slots) }

func (t *cacheTable) at(i int) *atomic.Pointer[cached] { return &t.slots[i&t.mask] }

// home is where a hash belongs. Its upper bits are the shard, its lower ones the
// partition.
func (t *cacheTable) home(hash uint64) int { return int(hash>>28) & t.mask }

// get returns what has a hash, nil if nothing has.
func (t *cacheTable) get(hash uint64) *cached {
	for i := t.home(hash); ; i++ {
		if e := t.at(i).Load(); e == nil || e.hash == hash {
			return e
		}
	}
}

// find returns the place of a hash, for the writer: a free one if it is not there.
func (t *cacheTable) find(hash uint64) int {
	for i := t.home(hash); ; i++ {
		if e := t.at(i).Load(); e == nil || e.hash == hash {
			return i & t.mask
		}
	}
}

// remove empties a place, and moves those behind it that would not be found any
// more (Knuth, The Art of Computer Programming, volume 3, 6.4, algorithm R).
func (t *cacheTable) remove(i int) {
	for j := i + 1; ; j++ {
		e := t.at(j).Load()
		if e == nil {
			break
		}
		if (j-t.home(e.hash))&t.mask >= (j-i)&t.mask {
			t.at(i).Store(e)
			i = j
		}
	}
	t.at(i).Store(nil)
}

// grown returns a table of twice the size with the same records.
func (t *cacheTable) grown() *cacheTable {
	g := newCacheTable(2 * t.size())
	for i := range t.slots {
		if e := t.slots[i].Load(); e != nil {
			g.at(g.find(e.hash)).Store(e)
		}
	}
	return g
}
