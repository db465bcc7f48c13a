package store

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
)

// dataFile is the bbolt file that is read. A compaction puts another in its
// place; this one is closed when its last reader has left it.
type dataFile struct {
	*bbolt.DB
	// used is read-locked by readers, and locked for good by who closes a file
	// that was replaced. (bbolt's Close waits for readers, too, but keeps those
	// from leaving meanwhile that have read.)
	used sync.RWMutex
	// newest is what the last transaction that wrote has left. Where the page that
	// says so is damaged, bbolt goes on from the transaction before.
	newest atomic.Pointer[commit]
}

// commit is what tells a transaction's state of the file from an older one.
type commit struct {
	tx   int
	root uint64 // page of the data
}

func commitOf(data *bbolt.Bucket) commit {
	return commit{data.Tx().ID(), uint64(data.Root())}
}

// note takes the newest state down; nobody writes meanwhile.
func (f *dataFile) note() error {
	return guard(func() error {
		return f.View(func(tx *bbolt.Tx) error {
			c := commitOf(tx.Bucket(bucketData))
			if was := f.newest.Load(); was != nil && c.tx < was.tx {
				return fmt.Errorf("%w: it has gone back from transaction %d to %d", ErrDamaged, was.tx, c.tx)
			}
			f.newest.Store(&c)
			return nil
		})
	})
}

// check reports that a transaction began from an older state than the newest, or
// from no state that there was. was is the newest before it began; writes are the
// transactions that it is ahead of what it reads: 1 if it writes.
func (was *commit) check(data *bbolt.Bucket, writes int) error {
	if was == nil {
		return nil
	}
	now := commitOf(data)
	now.tx -= writes
	if now.tx < was.tx || now.tx == was.tx && now.root != was.root {
		return fmt.Errorf("%w: transaction %d from page %d is behind %d from page %d", ErrDamaged, now.tx, now.root, was.tx, was.root)
	}
	return nil
}

// enter returns the file for reading; used is to be unlocked.
//
// Whoever has got a file just before it was replaced reads it as it then was.
// That is as good as the new one: the reader asked the memory table before, so
// that what has left the table since is none that it must see.
func (s *Store) enter() *dataFile {
	for {
		// It fails for a file that was replaced: then there is another already.
		if f := s.db.Load(); f.used.TryRLock() {
			return f
		}
	}
}

// closeReplaced closes a file that was replaced, once nobody reads it.
func (s *Store) closeReplaced(f *dataFile) {
	s.retiring.Go(func() {
		f.used.Lock()
		if err := guard(f.Close); err != nil {
			s.opts.Log.Warn("close the old data file", "folder", s.opts.Dir, "error", err)
		}
	})
}

// use opens a bbolt file as the store's.
func (s *Store) use(path string) error {
	db, err := s.opts.disk.openBolt(path, s.opts.disk.lax)
	if err == nil {
		s.db.Store(&dataFile{DB: db})
	}
	return err
}

// The file's format, of which bbolt tells nothing while it keeps no statistics
// (which cost each reader a lock): the first two pages hold a state each, that
// with the higher transaction counts, and names the page that lists free ones.
// A page has a head of 16 bytes.
const (
	boltPageHead  = 16
	boltMagic     = 0xED0CDAED
	boltStateSize = 64
	boltManyFree  = 0xFFFF // the list's count is its first element
)

// pages tells how many bytes of a bbolt file are in use or were, and how many of
// them are free. Nobody may write to it meanwhile.
func pages(path string) (size, free int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var page, list, top, newest uint64
	for i := range int64(2) {
		b := make([]byte, boltStateSize)
		if _, err := f.ReadAt(b, i*int64(page)+boltPageHead); err != nil {
			return 0, 0, err
		}
		sum := fnv.New64a()
		sum.Write(b[:56])
		if binary.NativeEndian.Uint32(b) != boltMagic || binary.NativeEndian.Uint64(b[56:]) != sum.Sum64() {
			return 0, 0, fmt.Errorf("state %d of %s cannot be read", i, path)
		}
		page = uint64(binary.NativeEndian.Uint32(b[8:]))
		if tx := binary.NativeEndian.Uint64(b[48:]); tx >= newest {
			newest, list, top = tx, binary.NativeEndian.Uint64(b[32:]), binary.NativeEndian.Uint64(b[40:])
		}
	}
	b := make([]byte, boltPageHead+8)
	if _, err := f.ReadAt(b, int64(list*page)); err != nil {
		return 0, 0, err
	}
	n := uint64(binary.NativeEndian.Uint16(b[10:]))
	if n == boltManyFree {
		n = binary.NativeEndian.Uint64(b[boltPageHead:])
	}
	if n > top {
		return 0, 0, fmt.Errorf("%s: %d free pages of %d", path, n, top)
	}
	return int64(top * page), int64(n * page), nil
}
