package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Frozen is the committed records of a copy as they were at one entry, for as
// long as somebody reads them, while the copy goes on.
//
// A transaction of bbolt that stays open would be as consistent, but the file
// could not grow while it lasts, and every reader would wait with it. So this
// reads in short ones, and who writes to bbolt first puts aside what this still
// has to read (keep).
type Frozen struct {
	s  *Store
	p  *part
	at subjects.Version

	// What the memory table had. The values are never changed.
	vals  map[string]*value
	masks []*mask
	keys  []string // of vals, sorted, once somebody reads

	mu     sync.Mutex      // guards all below
	before map[string]kept // what bbolt had under a user key that was written since
	gone   []string        // keys of before that were removed, so that bbolt may not show them any more
	sorted bool            // gone is
	size   int64           // of before and gone
	passed []byte          // nobody reads keys below it any more
	err    error           // why it cannot be read any more
}

// kept is what is put aside under a key.
type kept struct {
	value   []byte // nil: bbolt had nothing
	removed bool   // the key is in gone
}

const (
	// frozenBytes bounds what is put aside for one Frozen.
	frozenBytes = 32 << 20
	// keptSize is about what it takes beside keys and values.
	keptSize = 128
)

func sizeOfKept(key string, value []byte) int64 { return keptSize + int64(len(key)+len(value)) }

var (
	// ErrPassed says that a copy has committed more than the entry at which it was
	// to be frozen.
	ErrPassed = errors.New("the copy has gone past that entry")
	// ErrNotWhole says that a copy is being made, or may lack what it acknowledged.
	ErrNotWhole = errors.New("the copy is not whole")
	// ErrChangedTooMuch says that more was written while a frozen copy was read than
	// is put aside for it.
	ErrChangedTooMuch = errors.New("the copy changes faster than it is read")
)

// trap freezes a copy in the moment in which it commits an entry.
type trap struct {
	seq    uint64
	frozen chan *Frozen // gets one, or is closed if the entry was passed
}

// Freeze returns a copy's records as they are now, or, if seq is not 0, when entry
// seq has committed and the one after it has not; it waits for that until ctx ends.
// Thaw ends it.
func (s *Store) Freeze(ctx context.Context, id ring.Partition, seq uint64) (*Frozen, error) {
	p := s.part(id)
	if p == nil {
		return nil, fmt.Errorf("freeze %d: %w", id, ErrNotWhole)
	}
	p.mu.Lock()
	switch {
	case p.incomplete || p.lost || p.unclean:
		p.mu.Unlock()
		return nil, fmt.Errorf("freeze %d: %w", id, ErrNotWhole)
	case seq == 0 || seq == p.commit.Seq:
		f := s.freeze(p)
		p.mu.Unlock()
		return f, nil
	case seq < p.commit.Seq:
		at := p.commit
		p.mu.Unlock()
		return nil, fmt.Errorf("freeze %d at %d: %w: it is at %s", id, seq, ErrPassed, at)
	}
	t := &trap{seq: seq, frozen: make(chan *Frozen, 1)}
	p.traps = append(p.traps, t)
	p.mu.Unlock()
	select {
	case f := <-t.frozen:
		if f == nil {
			return nil, fmt.Errorf("freeze %d at %d: %w", id, seq, ErrPassed)
		}
		return f, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.traps = slices.DeleteFunc(p.traps, func(x *trap) bool { return x == t })
	p.mu.Unlock()
	select {
	case f := <-t.frozen: // in the last moment
		if f != nil {
			return f, nil
		}
	default:
	}
	return nil, fmt.Errorf("freeze %d at %d: %w", id, seq, ctx.Err())
}

// freeze is called with the part locked. What a transaction of the applier that
// runs has written already is in the memory table still, and so in vals or below
// masks.
func (s *Store) freeze(p *part) *Frozen {
	f := &Frozen{s: s, p: p, at: p.commit, vals: maps.Clone(p.mem.vals), masks: p.mem.masks}
	p.frozenMu.Lock()
	defer p.frozenMu.Unlock()
	list := append([]*Frozen{f}, p.frozenNow()...)
	p.frozen.Store(&list)
	return f
}

// spring makes entries through seq visible, and stops at each that a trap is for.
func (s *Store) spring(p *part, seq uint64) {
	slices.SortFunc(p.traps, func(a, b *trap) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	for len(p.traps) > 0 && p.traps[0].seq <= seq {
		t := p.traps[0]
		p.traps = p.traps[1:]
		p.advance(t.seq)
		if p.commit.Seq == t.seq && !p.incomplete && !p.unclean {
			t.frozen <- s.freeze(p)
		} else {
			close(t.frozen)
		}
	}
}

// Thaw forgets a frozen copy. It may be called twice.
func (f *Frozen) Thaw() {
	f.end(ErrClosed)
	f.p.frozenMu.Lock()
	defer f.p.frozenMu.Unlock()
	list := slices.DeleteFunc(slices.Clone(f.p.frozenNow()), func(x *Frozen) bool { return x == f })
	if len(list) == 0 {
		f.p.frozen.Store(nil)
		return
	}
	f.p.frozen.Store(&list)
}

func (f *Frozen) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.before, f.gone, f.size = nil, nil, 0
}

// At is the entry at which the copy was frozen.
func (f *Frozen) At() subjects.Version { return f.at }

// Partition is whose copy it is.
func (f *Frozen) Partition() ring.Partition { return f.p.id }

// Pass says that nobody reads keys below one any more.
func (f *Frozen) Pass(key []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if bytes.Compare(key, f.passed) > 0 {
		f.passed = bytes.Clone(key)
		for k, v := range f.before {
			if k < string(key) {
				delete(f.before, k)
				f.size -= sizeOfKept(k, v.value)
			}
		}
		f.gone = slices.DeleteFunc(f.gone, func(k string) bool { return k < string(key) })
	}
}

func (p *part) frozenNow() []*Frozen {
	if list := p.frozen.Load(); list != nil {
		return *list
	}
	return nil
}

// keep puts aside what bbolt has under a key, before it is written. It is called
// by who writes, within the transaction.
func (p *part) keep(data *bbolt.Bucket, k []byte, removed bool) {
	list := p.frozenNow()
	if len(list) == 0 || len(k) < 3 || k[2] != spaceUser {
		return
	}
	old := data.Get(k)
	for _, f := range list {
		f.keep(k[3:], old, removed)
	}
}

func (f *Frozen) keep(key, old []byte, removed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || bytes.Compare(key, f.passed) < 0 {
		return
	}
	k := string(key)
	if _, newer := f.vals[k]; newer || slices.ContainsFunc(f.masks, func(m *mask) bool { return m.covers(place(key)) }) {
		return
	}
	b, known := f.before[k]
	if !known {
		if f.before == nil {
			f.before = make(map[string]kept)
		}
		b.value = bytes.Clone(old)
		f.before[k] = b
		f.size += sizeOfKept(k, old)
		if f.size > frozenBytes {
			f.err, f.before, f.gone, f.size = ErrChangedTooMuch, nil, nil, 0
			return
		}
	}
	if removed && b.value != nil && !b.removed {
		b.removed = true
		f.before[k] = b
		f.gone, f.sorted = append(f.gone, k), false
	}
}

// Read returns records in the order of their keys, from a key on: about maxBytes of
// them (Record.Size), and perhaps none where many keys were removed. next is the key
// to go on from unless last. The records are copies.
func (f *Frozen) Read(from []byte, maxBytes int) (recs []subjects.Record, next []byte, last bool, err error) {
	f.mu.Lock()
	if f.keys == nil && len(f.vals) > 0 {
		f.keys = slices.Sorted(maps.Keys(f.vals))
	}
	f.mu.Unlock()
	m := merge{room: maxBytes}
	err = f.s.viewData(func(data *bbolt.Bucket) error {
		c := newCursor(data)
		// After the transaction began: what was written to bbolt before is put aside
		// by now, and of what is put aside later bbolt shows the same.
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err != nil {
			return f.err
		}
		if !f.sorted {
			slices.Sort(f.gone)
			f.sorted = true
		}
		if err := f.merge(c, &m, from); err != nil {
			return err
		}
		return unbroken(c, f.p.id, from, m.next)
	})
	if err != nil {
		return nil, nil, false, fmt.Errorf("read partition %d at %s: %w", f.p.id, f.at, f.s.unreadable(f.p.id, nil, err))
	}
	return m.recs, m.next, m.next == nil, nil
}

// merge walks the memory table as it was, the removed keys and bbolt in step.
func (f *Frozen) merge(c *cursor, m *merge, from []byte) error {
	prefix := appendUserKey(nil, f.p.id, nil)
	m.masks = f.masks
	keys := f.keys[lowerBound(f.keys, from):]
	gone := f.gone[lowerBound(f.gone, from):]
	last := append(slices.Clone(prefix), from...) // key that the next one must not come before
	k, v := c.Seek(last)
	for steps := 0; m.next == nil; steps++ {
		if err := ascends(&last, k); err != nil {
			return err
		}
		if k != nil && !bytes.HasPrefix(k, prefix) {
			k = nil
		}
		key, any := "", false
		if len(keys) > 0 {
			key, any = keys[0], true
		}
		if len(gone) > 0 && (!any || gone[0] < key) {
			key, any = gone[0], true
		}
		if k != nil && (!any || string(k[3:]) < key) {
			key, any = string(k[3:]), true
		}
		if !any {
			return nil
		}
		if steps == pieceKeys {
			m.next = []byte(key)
			return nil
		}
		var stored []byte
		if k != nil && string(k[3:]) == key {
			stored = v
		}
		if err := f.take(m, key, stored); err != nil {
			return err
		}
		if len(keys) > 0 && keys[0] == key {
			keys = keys[1:]
		}
		if len(gone) > 0 && gone[0] == key {
			gone = gone[1:]
		}
		if k != nil && string(k[3:]) == key {
			k, v = c.Next()
		}
	}
	return nil
}

// take takes what a key had; stored is what bbolt has now.
func (f *Frozen) take(m *merge, key string, stored []byte) error {
	if v, ok := f.vals[key]; ok {
		if !v.gone {
			m.take(v.record([]byte(key)))
		}
		return nil
	}
	if old, ok := f.before[key]; ok {
		stored = old.value
	}
	if stored == nil || m.masked(place([]byte(key))) {
		return nil
	}
	rec, err := readValue(appendUserKey(nil, f.p.id, []byte(key)), stored)
	if err == nil {
		m.take(rec)
	}
	return err
}

func lowerBound(keys []string, from []byte) int {
	i, _ := slices.BinarySearch(keys, string(from))
	return i
}
