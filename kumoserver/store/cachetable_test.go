package store

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// crowded returns hashes that belong in few places, those at the table's end among
// them.
func crowded(r *rand.Rand) uint64 {
	home := []uint64{0, 1, 30, cacheTableLeast - 2, cacheTableLeast - 1}[r.IntN(5)]
	return home<<28 | r.Uint64N(20) | r.Uint64N(2)<<40 // which a larger table tells apart
}

// The table holds what a map holds, whatever enters and leaves.
func TestCacheTable(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	table, model := newCacheTable(cacheTableLeast), map[uint64]*cached{}
	for n := range 100_000 {
		hash := crowded(r)
		switch e := table.get(hash); {
		case e != model[hash]:
			t.Fatalf("step %d: %x has %p, want %p", n, hash, e, model[hash])
		case e != nil:
			table.remove(table.find(hash))
			delete(model, hash)
		case len(model) < 28:
			model[hash] = &cached{hash: hash}
			table.at(table.find(hash)).Store(model[hash])
		}
		if n%1000 == 999 && table.size() < 8*cacheTableLeast {
			table = table.grown()
		}
		held := 0
		for i := range table.slots {
			if e := table.slots[i].Load(); e != nil {
				held++
				if model[e.hash] != e {
					t.Fatalf("step %d: %x is held and was removed", n, e.hash)
				}
			}
		}
		if held != len(model) {
			t.Fatalf("step %d: %d records are held, want %d", n, held, len(model))
		}
	}
}

// Readers beside a writer find nothing that was removed before they began, and
// always come to an end.
func TestCacheTableBesideWriter(t *testing.T) {
	table := newCacheTable(cacheTableLeast)
	r := rand.New(rand.NewPCG(5, 6))
	hashes := make([]uint64, 0, 24)
	removed := map[uint64]*atomic.Uint64{} // the last generation of each that is gone
	for len(hashes) < cap(hashes) {
		if h := crowded(r); removed[h] == nil {
			removed[h] = new(atomic.Uint64)
			hashes = append(hashes, h)
		}
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for n := range 3 {
		readers.Go(func() {
			found := 0
			for i := n; !isStopped(stop) || found == 0; i++ {
				h := hashes[i%len(hashes)]
				gone := removed[h].Load()
				e := table.get(h)
				if e == nil {
					continue
				}
				found++
				if e.hash != h || e.rec.Token <= gone {
					t.Errorf("%x has %x of generation %d, and %d was gone", h, e.hash, e.rec.Token, gone)
					return
				}
			}
		})
	}
	in := map[uint64]*cached{}
	for n := range uint64(200_000) {
		h := hashes[r.IntN(len(hashes))]
		if e := in[h]; e != nil {
			table.remove(table.find(h))
			removed[h].Store(e.rec.Token)
			delete(in, h)
			continue
		}
		e := &cached{hash: h}
		e.rec.Token = n + 1
		in[h] = e
		table.at(table.find(h)).Store(e)
	}
	for _, h := range hashes { // for readers that have found nothing yet
		if in[h] == nil {
			e := &cached{hash: h}
			e.rec.Token = 1 << 40
			table.at(table.find(h)).Store(e)
		}
	}
	close(stop)
	readers.Wait()
}
