package store

import (
	"sync"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// missed is what GetMany keeps of the keys that the memory table does not know.
type missed struct {
	index []int
	hash  []uint64
	found []*cached
	key   []byte
}

var missedPool = sync.Pool{New: func() any { return new(missed) }}

// GetMany returns the committed values of n keys, in any order: at tells the
// i-th key, out takes its value. Values that come from bbolt are valid only
// inside out; none may be changed.
func (s *Store) GetMany(n int, at func(i int) (ring.Partition, []byte), out func(i int, rec subjects.Record, found bool, err error)) {
	m := missedPool.Get().(*missed)
	defer func() {
		clear(m.found)
		m.index, m.hash, m.found = m.index[:0], m.hash[:0], m.found[:0]
		missedPool.Put(m)
	}()
	round := s.cache.rounds.Load()
	for i := range n {
		id, key := at(i)
		p := s.part(id)
		if p == nil {
			out(i, subjects.Record{}, false, nil)
			continue
		}
		switch v, known := p.lookup(key); {
		case !known:
			m.index = append(m.index, i)
		case v == nil || v.gone:
			out(i, subjects.Record{}, false, nil)
		default:
			out(i, v.record(key), true, nil)
		}
	}
	if s.getCached(m, at, out); len(m.index) == 0 {
		return
	}
	// Only now, for a transaction older than a value's removal from the memory
	// table would not have it.
	next := 0
	err := s.viewData(func(data *bbolt.Bucket) error {
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
	for ; err != nil && next < len(m.index); next++ {
		id, key := at(m.index[next])
		out(m.index[next], subjects.Record{}, false, s.unreadable(id, key, err))
	}
}

// getCached answers what the cache knows of m, and leaves the rest there. It goes step
// by step for all keys, each with nothing that makes the processor wait for the
// memory of one before it asks for that of the next.
func (s *Store) getCached(m *missed, at func(i int) (ring.Partition, []byte), out func(i int, rec subjects.Record, found bool, err error)) {
	for _, i := range m.index {
		_, key := at(i)
		m.hash = append(m.hash, ring.Hash(key))
	}
	for _, hash := range m.hash {
		m.found = append(m.found, s.cache.find(hash))
	}
	for k, i := range m.index {
		if id, key := at(i); !m.found[k].is(id, key) {
			m.found[k] = nil
		}
	}
	rest := m.index[:0]
	for k, i := range m.index {
		if e := m.found[k]; e != nil {
			out(i, e.take(), true, nil)
		} else {
			rest = append(rest, i)
		}
	}
	m.index = rest
}
