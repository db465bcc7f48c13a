package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects/ring"
)

// compaction copies the data to a new file, in the order of the keys, while the
// applier writes to the old one.
//
// What holds between any two transactions is that the new file has of the keys
// before next just what the old one has. A step copies the keys that come then
// and moves next behind them; a transaction of the applier that changes keys
// before next does the same to the new file (follow). Both hold applier.files, so
// that neither comes between. When next has reached the end the files are alike,
// and nothing is to be caught up with.
//
// So no state of the old file has to be kept for longer than a step takes: a read
// transaction as long as the compaction would keep bbolt from using any freed
// page again, and the file would grow most while it is to shrink.
type compaction struct {
	s    *Store
	db   *bbolt.DB // the new file, which nobody else knows of
	path string
	read piece // the compactor's own, as is writing next and whole

	// applier.files guards all below.
	next    []byte // data keys before it have been copied
	whole   bool   // all have
	items   map[ring.Partition]int64
	changes []change // of the applier's transaction, to keys that have been copied
	err     error    // why the new file does not follow the old one any more
}

// change is what the applier did to a key; without a value it was removed.
type change struct {
	key, val []byte
	items    int64 // more than there were
}

const (
	compactBytes = 512 << 10 // of a step
	compactKeys  = 2048
	// dataFill is how full pages become that are split, here and by sweeps: three values of 1 KiB go into one, where
	// bbolt's own half leaves them with two. It leaves some room for values that grow.
	dataFill = 0.9
)

func newCompaction(s *Store, path string) (*compaction, error) {
	if err := s.opts.disk.remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	// It is synced before it counts.
	db, err := s.opts.disk.openBolt(path, true)
	if err != nil {
		s.opts.disk.remove(path)
		return nil, err
	}
	n := &compaction{s: s, db: db, path: path, items: make(map[ring.Partition]int64)}
	if _, _, _, err = loadBolt(db); err != nil {
		n.err = err
		n.giveUp(false)
		return nil, err
	}
	s.applier.files.Lock()
	defer s.applier.files.Unlock()
	s.applier.compaction = n
	return n, nil
}

// giveUp leaves the old file as the only one.
func (n *compaction) giveUp(keep bool) {
	a := n.s.applier
	a.files.Lock()
	if a.compaction == n {
		a.compaction = nil
	}
	err := n.err
	a.files.Unlock()
	// As with closeData: after a panic bbolt may not let go of its locks.
	if !errors.Is(err, ErrDamaged) {
		if err := guard(n.db.Close); err != nil {
			n.s.opts.Log.Warn("close the new data file", "path", n.path, "error", err)
		}
	}
	if !keep {
		n.s.opts.disk.remove(n.path) // or the next compaction does, or the next start
	}
}

// step copies some keys and tells how many bytes they are.
func (n *compaction) step() (int64, error) {
	a := n.s.applier
	turn := a.turn.Load()
	// Not with the lock: the disk may be slow.
	if err := n.look(); err != nil {
		return 0, err
	}
	a.files.Lock()
	defer a.files.Unlock()
	if turn != a.turn.Load() {
		// The applier has been there. What it left alone is in memory by now.
		if err := n.look(); err != nil {
			return 0, err
		}
	}
	n.tell()
	err := n.write(func(data *bbolt.Bucket) error {
		data.FillPercent = dataFill
		return n.read.each(data.Put)
	})
	if err != nil {
		return 0, err
	}
	n.read.each(func(k, _ []byte) error {
		n.count(k, 1)
		return nil
	})
	n.next, n.whole = n.read.next, n.read.last
	return int64(len(n.read.arena)), nil
}

// look reads the keys that come next.
//
// A record that is damaged is copied as it is: its checksum covers the key and
// all of the value, so that it is in the new file what it was in the old one, a
// record that cannot be read and that is repaired like any other. It is told of
// as the scrub would. Where keys may be missing, since the file's structure is
// damaged, there is nothing to copy: the compaction ends, and so do writes to the
// file.
func (n *compaction) look() error {
	err := n.s.viewTx(func(tx *bbolt.Tx) error { return n.read.fill(tx, n.next) })
	if err != nil {
		return n.s.unreadable(n.read.at, nil, err)
	}
	return nil
}

// tell tells of the damaged records of what is copied. It has applier.files: else
// one could be written again meanwhile, and would be told of after it was taken
// for mended.
func (n *compaction) tell() {
	for _, err := range n.read.bad {
		if n.s.stands(err) {
			n.s.unreadable(partitionOf(err, n.read.at), nil, err)
		}
	}
}

// write changes the new file's data. Whatever goes wrong ends the compaction and
// nothing else.
func (n *compaction) write(f func(data *bbolt.Bucket) error) error {
	if n.err == nil {
		n.err = guard(func() error {
			return n.db.Update(func(tx *bbolt.Tx) error { return f(tx.Bucket(bucketData)) })
		})
	}
	return n.failed()
}

// failed tells why the new file is not what it should be.
func (n *compaction) failed() error {
	if n.err != nil {
		return fmt.Errorf("write %s: %w", newDataName, n.err)
	}
	return nil
}

// sync brings what has been copied to disk.
func (n *compaction) sync() error {
	d := n.s.opts.disk
	err := d.ask(deed{what: deedSync, path: n.path})
	if err == nil && !d.lax {
		err = n.db.Sync()
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", newDataName, err)
	}
	return nil
}

func (n *compaction) count(key []byte, items int64) {
	if key[2] == spaceUser {
		n.items[ring.Partition(binary.BigEndian.Uint16(key))] += items
	}
}

// begin and note take down what a transaction of the applier changes, follow does
// it to the new file once it is done to the old one. There need not be one: n may
// be nil.
func (n *compaction) begin() {
	if n != nil {
		clear(n.changes)
		n.changes = n.changes[:0]
	}
}

func (n *compaction) note(key, val []byte, items int64) {
	if n == nil || n.err != nil || !n.whole && bytes.Compare(key, n.next) >= 0 {
		return
	}
	n.changes = append(n.changes, change{bytes.Clone(key), val, items})
}

func (n *compaction) follow() {
	if n == nil || len(n.changes) == 0 {
		return
	}
	n.write(func(data *bbolt.Bucket) error { // the next step reports it
		for _, c := range n.changes {
			var err error
			if c.val == nil {
				err = data.Delete(c.key)
			} else {
				err = data.Put(c.key, c.val)
			}
			if err != nil {
				return err
			}
			n.count(c.key, c.items)
		}
		return nil
	})
	n.begin()
}

// finish puts the new file in the old one's place.
//
// Until the rename the old one is the store's, from then on the new one, and
// there is always one of them: a crash finds either, and since nothing is written
// to either before the folder is on disk, it does not matter which.
func (n *compaction) finish() error {
	s, a := n.s, n.s.applier
	stage := s.opts.compact.stage
	a.files.Lock()
	defer a.files.Unlock()
	// With a new file that does not follow, states would find keys missing.
	if err := errors.Join(s.Broken(), s.failedWith(), n.failed()); err != nil {
		return err
	}
	if err := n.states(); err != nil {
		return err
	}
	if err := n.sync(); err != nil {
		return err
	}
	stage("written")
	if err := s.opts.disk.rename(n.path, filepath.Join(s.opts.Dir, dataName)); err != nil {
		return err
	}
	stage("renamed")
	if err := s.opts.disk.syncFolder(s.opts.Dir); err != nil {
		// Nobody knows which file a crash would leave, and nothing may be written
		// to the other: the only error that a compaction does not take on itself.
		err = fmt.Errorf("put %s in its place: %w", newDataName, err)
		s.fail(err)
		return err
	}
	n.db.NoSync, n.db.NoGrowSync = s.opts.disk.lax, s.opts.disk.lax
	a.compaction = nil
	file := &dataFile{DB: n.db}
	if err := file.note(); err != nil {
		s.fail(fmt.Errorf("read %s: %w", newDataName, err)) // it is the only one
		return err
	}
	s.closeReplaced(s.db.Swap(file))
	stage("switched")
	return nil
}

// states copies what the file says of the copies and of the store, and looks
// whether the new file has as many keys as were counted.
func (n *compaction) states() error {
	type state struct{ k, v []byte }
	var list []state
	err := n.s.viewTx(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketMeta).ForEach(func(k, v []byte) error {
			if _, ok := unseal(v); !ok {
				return fmt.Errorf("state %q: %w", k, ErrDamaged) // the next start would find so
			}
			list = append(list, state{bytes.Clone(k), bytes.Clone(v)})
			return nil
		})
	})
	if err != nil {
		return n.s.unreadable(n.read.at, nil, err)
	}
	for _, st := range list {
		if err := n.agrees(st.k, st.v); err != nil {
			return err
		}
	}
	return n.write(func(data *bbolt.Bucket) error {
		meta := data.Tx().Bucket(bucketMeta)
		for _, st := range list {
			if err := meta.Put(st.k, st.v); err != nil {
				return err
			}
		}
		return nil
	})
}

// agrees finds keys that are missing without a trace, as the scrub does. The old
// file is kept then: it may be made whole, or be all that there is.
func (n *compaction) agrees(key, val []byte) error {
	var m partMeta
	if len(key) != 3 || key[0] != 'p' || m.decode(val) != nil || m.torn {
		return nil
	}
	id := ring.Partition(binary.BigEndian.Uint16(key[1:]))
	if got := n.items[id]; got != m.items {
		return n.s.unreadable(id, nil, fmt.Errorf("partition %d: %w: %d keys were stored, %d are found", id, ErrCorrupt, m.items, got))
	}
	return nil
}
