package store

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// step is what one transaction did of a snapshot.
type step struct {
	snap     *snapshot
	from, to int // of its keys
	cleared  int // masks, from the first on
	whole    bool
}

// transact applies as much of the snapshots as one transaction should and
// returns those that have not been finished.
func (a *applier) transact(snaps []*snapshot, need uint64) ([]*snapshot, error) {
	a.budget, a.bytes, a.steps, a.vals = a.s.opts.batch, batchBytes, a.steps[:0], a.vals[:0]
	if a.s.backlog.Load() > a.s.opts.MemtableBytes/2 {
		a.budget *= urgency
	}
	saved := make([]int64, 0, 16)
	err := a.write(func(file *dataFile) error {
		return file.Update(func(tx *bbolt.Tx) error {
			clear(a.seen)
			data, meta := tx.Bucket(bucketData), tx.Bucket(bucketMeta)
			data.FillPercent = dataFill
			if err := file.newest.Load().check(data, 1); err != nil {
				return err
			}
			for _, n := range snaps {
				saved = append(saved, n.items)
				st, err := a.apply(data, n)
				if err != nil {
					return err
				}
				if err := statesSound(meta, metaKey(n.part.id), a.seen); err != nil {
					return err
				}
				if err := meta.Put(metaKey(n.part.id), n.state(st.whole).encode()); err != nil {
					return err
				}
				a.steps = append(a.steps, st)
				a.budget--
				if !st.whole || a.budget <= 0 || a.bytes <= 0 {
					break
				}
			}
			a.lsn = max(a.lsn, need)
			st := storeMeta{lost: a.s.lostBefore, from: a.s.recordsFrom, lsn: a.lsn}
			return meta.Put(keyStore, st.encode())
		})
	})
	if err != nil {
		for i, items := range saved {
			snaps[i].items = items
		}
		return nil, err
	}
	finished := 0
	for _, st := range a.steps {
		a.settle(st)
		if st.whole {
			finished++
		}
	}
	return snaps[finished:], nil
}

// write runs what writes to the file, and does to the new one, if it is being
// compacted, what that changed.
func (a *applier) write(f func(*dataFile) error) error {
	a.files.Lock()
	defer a.files.Unlock()
	// A compaction may have failed the store between the two files.
	if err := a.s.failedWith(); err != nil {
		return err
	}
	a.compaction.begin()
	file := a.s.db.Load()
	err := guard(func() error { return f(file) })
	if err == nil {
		err = file.note()
	}
	a.turn.Add(1) // after the commit: whoever read before it is to see that
	if err == nil {
		a.compaction.follow()
	}
	return err
}

// apply brings one snapshot to the bucket, as far as the budget goes: first the
// masks' ranges are cleared, then the values written.
func (a *applier) apply(data *bbolt.Bucket, n *snapshot) (step, error) {
	st := step{snap: n, from: n.next, to: n.next, cleared: n.cleared}
	for ; st.cleared < len(n.masks); st.cleared++ {
		whole, err := a.clear(data, n, n.masks[st.cleared])
		if err != nil || !whole {
			return st, err
		}
	}
	for st.to < len(n.keys) {
		if a.budget <= 0 || a.bytes <= 0 {
			return st, nil
		}
		if err := a.put(data, n, n.keys[st.to], n.vals[st.to]); err != nil {
			return st, err
		}
		st.to++
	}
	st.whole = true
	return st, nil
}

func (a *applier) put(data *bbolt.Bucket, n *snapshot, key string, v *value) error {
	a.budget--
	k := append(appendDataKey(a.key[:0], n.part.id, userSpace), key...)
	a.key = k
	had, err := sound(data, k, a.seen)
	if err != nil {
		return err
	}
	n.part.keep(data, k, v.gone)
	if v.gone {
		if had {
			n.items--
			a.compaction.note(k, nil, -1)
			return data.Delete(k)
		}
		return nil
	}
	more := int64(0)
	if !had {
		more = 1
	}
	n.items += more
	a.bytes -= len(v.data)
	val := appendValue(a.room(valueHead+len(v.data)), k, v)
	a.compaction.note(k, val, more)
	return data.Put(k, val)
}

// room returns an empty slice for so many bytes of a value. bbolt, and a new file
// that follows, keep values until the transaction ends, and then need them no more.
func (a *applier) room(size int) []byte {
	if cap(a.vals)-len(a.vals) < size {
		a.vals = make([]byte, 0, max(size, valuesAtOnce))
	}
	at := len(a.vals)
	a.vals = a.vals[:at+size]
	return a.vals[at : at : at+size]
}

// clear removes a range, as far as the budget goes.
func (a *applier) clear(data *bbolt.Bucket, n *snapshot, m *mask) (whole bool, err error) {
	from := appendDataKey(nil, n.part.id, m.from)
	if t, ok := treeOf(data); ok {
		to := appendDataKey(nil, n.part.id+1, nil)
		if m.to != nil {
			to = appendDataKey(nil, n.part.id, m.to)
		}
		// Damaged records are what is often cleared; one beside the range that belongs
		// in it, or keys that are not where they are found, would end it early.
		if err := onlyValues(t.span(from, to)); err != nil {
			return false, err
		}
	}
	keys := make([][]byte, 0, 64)
	c := data.Cursor()
	for k, _ := c.Seek(from); k != nil && bytes.HasPrefix(k, from[:2]); k, _ = c.Next() {
		if m.to != nil && bytes.Compare(k[2:], m.to) >= 0 {
			break
		}
		if len(keys) >= a.budget {
			return false, a.remove(data, n, keys)
		}
		keys = append(keys, bytes.Clone(k))
	}
	return true, a.remove(data, n, keys)
}

func (a *applier) remove(data *bbolt.Bucket, n *snapshot, keys [][]byte) error {
	a.budget -= len(keys)
	for _, k := range keys {
		if k[2] == spaceUser {
			n.items--
		}
		if _, err := sound(data, k, a.seen); err != nil {
			return err
		}
		n.part.keep(data, k, true)
		a.compaction.note(k, nil, -1)
		if err := data.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// settle takes what a transaction wrote out of memory.
func (a *applier) settle(st step) {
	n, p := st.snap, st.snap.part
	n.next, n.cleared = st.to, st.cleared
	a.s.cache.changed(p.id, n.keys[st.from:st.to], st.cleared > 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.items, p.stored = n.items, n.written
	if p.gen != n.gen {
		return // the copy was replaced meanwhile; what was written is masked
	}
	p.mend(n.keys[st.from:st.to], n.masks[:st.cleared])
	if len(n.masks) == 0 {
		p.mem.settle(n.keys[st.from:st.to], n.vals[st.from:st.to], nil)
	}
	if !st.whole {
		return
	}
	if len(n.masks) > 0 {
		p.mem.settle(n.keys, n.vals, n.masks)
	}
	before := p.held()
	p.applied = n.meta.applied
	p.log.trim(p.applied.Seq)
	p.extra -= n.extra
	a.s.backlog.Add(p.held() - before)
	p.dirtyLSN = 0
	switch {
	case p.log.len() > 0:
		p.dirtyLSN = p.index.lsn(p.log.first())
		if p.endLSN > n.meta.lsn {
			p.dirtyLSN = min(p.dirtyLSN, n.meta.lsn)
		}
	case p.endLSN > n.meta.lsn:
		p.dirtyLSN = n.meta.lsn
	}
	switch {
	case n.meta.lsn >= p.keptFor:
		p.keptFrom, p.keptFor = 0, 0
	case p.keptFrom < p.dirtyLSN:
		p.dirtyLSN = p.keptFrom
	}
}
