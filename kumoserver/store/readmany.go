package store

import (
	"sync"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// lookups is what GetMany keeps of its keys: those whose values are in hand, and
// those that the memory table does not know.
type lookups struct {
	index []int
	hash  []uint64
	found []*cached
	hits  []hit
	key   []byte
}

// hit is a key's value in memory: in the memory table, or else in the cache.
type hit struct {
	i int
	v *value // nil: it has none
	e *cached
}

var lookupsPool = sync.Pool{New: func() any { return new(lookups) }}

// GetMany returns the committed values of n keys, in any order: at tells the
// i-th key, out takes its value. Before it is given values taken is called, once
// they are in hand: for some of the keys, and then for the others. Values that
// come from bbolt are valid only inside out; none may be changed.
func (s *Store) GetMany(n int, at func(i int) (ring.Partition, []byte), taken func(), out func(i int, rec subjects.Record, found bool, err error)) {
	m := lookupsPool.Get().(*lookups)
	defer func() {
		clear(m.found)
		clear(m.hits)
		m.index, m.hash, m.found, m.hits = m.index[:0], m.hash[:0], m.found[:0], m.hits[:0]
		lookupsPool.Put(m)
	}()
	round := s.cache.rounds.Load()
	for i := range n {
		id, key := at(i)
		p := s.part(id)
		if p == nil {
			m.hits = append(m.hits, hit{i: i})
			continue
		}
		switch v, known := p.lookup(key); {
		case !known:
			m.index = append(m.index, i)
		case v == nil || v.gone:
			m.hits = append(m.hits, hit{i: i})
		default:
			m.hits = append(m.hits, hit{i: i, v: v})
		}
	}
	s.findCached(m, at)
	if len(m.hits) > 0 {
		taken()
	}
	for _, h := range m.hits {
		switch {
		case h.e != nil:
			out(h.i, h.e.take(), true, nil)
		case h.v != nil:
			_, key := at(h.i)
			out(h.i, h.v.record(key), true, nil)
		default:
			out(h.i, subjects.Record{}, false, nil)
		}
	}
	if len(m.index) == 0 {
		return
	}
	// Only now, for a transaction older than a value's removal from the memory
	// table would not have it.
	next := 0
	err := s.viewData(func(data *bbolt.Bucket) error {
		taken()
		for ; next < len(m.index); next++ {
			i := m.index[next]
			id, key := at(i)
			m.key = appendUserKey(m.key[:0], id, key)
			rec, found, err := seek(data, m.key)
			if err != nil {
				err = s.unreadable(id, key, err)
			}
			rec.Key = key
			if found {
				s.cache.offer(id, &rec, round)
			}
			out(i, rec, found, err)
		}
		return nil
	})
	if err != nil {
		taken()
	}
	for ; err != nil && next < len(m.index); next++ {
		id, key := at(m.index[next])
		out(m.index[next], subjects.Record{}, false, s.unreadable(id, key, err))
	}
}

// findCached takes what the cache knows of m, and leaves the rest there. It goes step
// by step for all keys, each with nothing that makes the processor wait for the
// memory of one before it asks for that of the next.
func (s *Store) findCached(m *lookups, at func(i int) (ring.Partition, []byte)) {
	for _, i := range m.index {
		_, key := at(i)
		m.hash = append(m.hash, ring.Hash(key))
	}
	for _, hash := range m.hash {
		m.found = append(m.found, s.cache.find(hash))
	}
	rest := m.index[:0]
	for k, i := range m.index {
		if id, key := at(i); m.found[k].is(id, key) {
			m.hits = append(m.hits, hit{i: i, e: m.found[k]})
		} else {
			rest = append(rest, i)
		}
	}
	m.index = rest
}
