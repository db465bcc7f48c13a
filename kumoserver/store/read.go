package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// lookup asks a partition's memory table. known is false when bbolt has to be
// asked.
func (p *part) lookup(key []byte) (v *value, known bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if v, ok := p.mem.vals[string(key)]; ok {
		return v, true
	}
	return nil, p.mem.masked(key)
}

// Get returns the committed value of a key. What it returns must not be
// changed; its Key is key.
func (s *Store) Get(id ring.Partition, key []byte) (rec subjects.Record, found bool, err error) {
	p := s.part(id)
	if p == nil {
		return rec, false, nil
	}
	if v, known := p.lookup(key); known {
		if v == nil || v.gone {
			return rec, false, nil
		}
		return v.record(key), true, nil
	}
	if rec, ok := s.cache.get(id, key); ok {
		return rec, true, nil
	}
	return s.getStored(id, key)
}

// getStored asks bbolt. (Apart from Get, whose results would escape to the heap
// otherwise.)
func (s *Store) getStored(id ring.Partition, key []byte) (rec subjects.Record, found bool, err error) {
	round := s.cache.rounds.Load()
	viewErr := s.viewData(func(data *bbolt.Bucket) error {
		rec, found, err = seek(data, appendUserKey(make([]byte, 0, 3+subjects.MaxKey), id, key))
		rec.Key, rec.Value = key, bytes.Clone(rec.Value)
		if found {
			s.cache.offer(id, &rec, round)
		}
		return nil
	})
	if viewErr != nil {
		err = viewErr
	}
	if err != nil {
		err = s.unreadable(id, key, err)
	}
	return rec, found, err
}

func (s *Store) viewTx(f func(tx *bbolt.Tx) error) error {
	return s.viewData(func(data *bbolt.Bucket) error { return f(data.Tx()) })
}

// viewData runs f in a read transaction. Damage of the file's structure that f meets
// is ErrDamaged.
func (s *Store) viewData(f func(data *bbolt.Bucket) error) error {
	file := s.enter()
	defer file.used.RUnlock()
	newest := file.newest.Load()
	var err error
	if fault := guard(func() error {
		err = file.View(func(tx *bbolt.Tx) error {
			return guard(func() error {
				data := tx.Bucket(bucketData)
				if err := newest.check(data, 0); err != nil {
					return err
				}
				return f(data)
			})
		})
		return nil
	}); fault != nil {
		err = fault
	}
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// seek finds a key and checks its value, or that the key is not there: damage looks
// like that.
func seek(data *bbolt.Bucket, key []byte) (rec subjects.Record, found bool, err error) {
	err = guard(func() error {
		t, ok := treeOf(data)
		var v []byte
		if !ok {
			v = data.Get(key)
			found = v != nil
		} else if v, found, err = t.find(key); err != nil {
			return err
		}
		switch {
		case found:
			rec, err = readValue(key, v)
			return err
		case ok:
			return t.absent(key)
		}
		return nil
	})
	if err != nil {
		rec = subjects.Record{}
	}
	return rec, found && err == nil, err
}

// committedAfter returns the committed entries behind seq; the part is locked.
func (p *part) committedAfter(seq uint64) (list []subjects.Entry, err error) {
	for n := seq + 1; n <= p.commit.Seq; n++ {
		if e := p.log.at(n); e != nil {
			list = append(list, *e)
			continue
		}
		g, off, ok := p.index.find(n)
		if !ok {
			return nil, fmt.Errorf("%w: entry %d is no longer in the log", ErrGap, n)
		}
		e, err := readEntry(g, off, p.id, n)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

func readEntry(g *segment, off int64, id ring.Partition, seq uint64) (e subjects.Entry, err error) {
	kind, body, err := g.read(off)
	if err == nil && kind != recEntry {
		err = errBad
	}
	if err == nil {
		_, err = e.Decode(body)
	}
	if err == nil && (e.Partition != id || e.Version.Seq != seq) {
		err = errBad
	}
	if err != nil {
		return e, fmt.Errorf("entry %d of partition %d in %s: %w: %w", seq, id, g.path, ErrCorrupt, err)
	}
	return e, nil
}

// entriesAtOnce bounds what Entries looks up under a lock.
const entriesAtOnce = 1024

// Entries returns the log's entries from a seq on, in order, about maxBytes of
// them and at least one if there is any. ok is false when from is older than
// what is retained, or when it cannot be read.
func (s *Store) Entries(id ring.Partition, from uint64, maxBytes int) (list []subjects.Entry, ok bool) {
	p := s.part(id)
	if p == nil {
		return nil, from > 0
	}
	type where struct {
		g   *segment
		off int64
	}
	var old []where
	p.mu.RLock()
	if from > p.tail.Seq {
		p.mu.RUnlock()
		return nil, true
	}
	if p.log.at(from) != nil {
		for n, size := from, 0; size < maxBytes || n == from; n++ {
			e := p.log.at(n)
			if e == nil {
				break
			}
			list = append(list, *e)
			size += len(e.Raw)
		}
		p.mu.RUnlock()
		return list, true
	}
	for n := from; len(old) < entriesAtOnce && p.log.at(n) == nil; n++ {
		g, off, ok := p.index.find(n)
		if !ok {
			break
		}
		old = append(old, where{g, off})
	}
	p.mu.RUnlock()
	size := 0
	for i, w := range old {
		if size >= maxBytes && i > 0 {
			break
		}
		e, err := readEntry(w.g, w.off, id, from+uint64(i))
		if err != nil && p.gaveUp(from+uint64(i), w.g) {
			break // it was removed since we looked it up
		}
		if err != nil {
			// bbolt has what it says, but this copy cannot give it to others, and
			// the log would end there at the next start.
			s.retire(w.g, err)
			s.hurt(id, nil, err)
			break
		}
		list = append(list, e)
		size += len(e.Raw)
	}
	return list, len(list) > 0
}

// gaveUp reports whether the log no longer has an entry in a segment.
func (p *part) gaveUp(seq uint64, g *segment) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	now, _, ok := p.index.find(seq)
	return !ok || now != g
}

// Scan returns committed records in the order of their keys, from a key on:
// about maxBytes of them (Record.Size) and at least one if there is any. next is
// the key to go on from unless last. The records are copies.
func (s *Store) Scan(id ring.Partition, from []byte, maxBytes int) (recs []subjects.Record, next []byte, last bool, err error) {
	p := s.part(id)
	if p == nil {
		return nil, nil, true, nil
	}
	m := &merge{from: from, room: maxBytes}
	p.mu.RLock()
	m.masks = p.mem.masks
	for k, v := range p.mem.vals {
		if bytes.Compare([]byte(k), from) >= 0 {
			m.keys = append(m.keys, k)
			m.vals = append(m.vals, v)
		}
	}
	p.mu.RUnlock()
	order(m.keys, m.vals)
	err = s.viewData(func(data *bbolt.Bucket) error {
		c := newCursor(data)
		if err := m.run(c, id); err != nil {
			return err
		}
		return unbroken(c, id, from, m.next)
	})
	if err != nil {
		return nil, nil, false, s.unreadable(id, nil, err)
	}
	return m.recs, m.next, m.next == nil, nil
}

// merge walks the memory table and bbolt in step.
type merge struct {
	from  []byte
	room  int
	keys  []string
	vals  []*value
	masks []*mask
	recs  []subjects.Record
	next  []byte // the first key that did not fit
}

func (m *merge) run(c *cursor, id ring.Partition) error {
	prefix := appendUserKey(nil, id, nil)
	last := append(slices.Clone(prefix), m.from...) // key that the next one must not come before
	k, v := c.Seek(last)
	for m.next == nil {
		if err := ascends(&last, k); err != nil {
			return err
		}
		if k != nil && !bytes.HasPrefix(k, prefix) {
			k = nil
		}
		switch {
		case k == nil && len(m.keys) == 0:
			return nil
		case k == nil || len(m.keys) > 0 && m.keys[0] <= string(k[3:]):
			if k != nil && m.keys[0] == string(k[3:]) {
				k, v = c.Next()
			}
			if !m.vals[0].gone {
				m.take(m.vals[0].record([]byte(m.keys[0])))
			}
			m.keys, m.vals = m.keys[1:], m.vals[1:]
		default:
			if !m.masked(k[2:]) {
				rec, err := readValue(k, v)
				if err != nil {
					return err
				}
				m.take(rec)
			}
			k, v = c.Next()
		}
	}
	return nil
}

func (m *merge) masked(place []byte) bool {
	for _, x := range m.masks {
		if x.covers(place) {
			return true
		}
	}
	return false
}

func (m *merge) take(rec subjects.Record) {
	if m.room <= 0 && len(m.recs) > 0 {
		m.next = bytes.Clone(rec.Key)
		return
	}
	m.room -= rec.Size()
	rec.Key, rec.Value = bytes.Clone(rec.Key), bytes.Clone(rec.Value)
	m.recs = append(m.recs, rec)
}
