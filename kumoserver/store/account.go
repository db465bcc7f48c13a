package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"

	"go.etcd.io/bbolt"
)

// accountPages bounds the files of which all pages are accounted for at the start and
// by the scrubber: 256 MiB in pages of 4 KiB. It costs a look at each.
const accountPages = 1 << 16

// account checks, before anything is written, that each page of a file is part of a
// bucket or free, and just one of these. So no page is free by mistake that would be
// written over, and no branch leads to an older state of a page, for then the newer
// one would be neither.
//
// Of the two states that a file has of itself, the older counts where the newer one
// cannot be read. That is right if the machine died while it was written, which torn
// says may be; if not, the older one lacks what is in no log any more.
func account(db *bbolt.DB, torn bool) error {
	return guard(func() error {
		return db.View(func(tx *bbolt.Tx) error { return accountFor(tx, torn) })
	})
}

// accountFor is account within a transaction, while nobody writes.
func accountFor(tx *bbolt.Tx, torn bool) error {
	a := accounts{}
	a.open(tx)
	for id := range 2 {
		if _, ok := a.state(id); !ok && !torn {
			return a.bad(uint64(id), "has no state of the file")
		}
	}
	return a.check(tx.ID(), len(a.db)/a.size <= accountPages)
}

// pages accounts for all pages of the data file, as a start does.
func (c *scrubber) pages() error {
	if c.s.Broken() != nil {
		return nil
	}
	c.s.applier.files.Lock()
	err := c.s.viewTx(func(tx *bbolt.Tx) error { return accountFor(tx, true) })
	c.s.applier.files.Unlock()
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	c.s.broken(err)
	return c.count(0, 0, 1)
}

// accounts has a tree with all that a file holds.
type accounts struct {
	tree
	used []bool
}

// state returns one of the two states of the file; see pages.
func (a *accounts) state(id int) (b []byte, ok bool) {
	b = a.db[id*a.size+boltPageHead:][:boltStateSize]
	sum := fnv.New64a()
	sum.Write(b[:56])
	return b, binary.NativeEndian.Uint64(b[56:]) == sum.Sum64()
}

func (a *accounts) check(tx int, all bool) error {
	a.used = make([]bool, len(a.db)/a.size)
	state, _ := a.state(tx % 2)
	if binary.NativeEndian.Uint64(state[48:]) != uint64(tx) {
		return a.bad(uint64(tx%2), "has no state of transaction %d", tx)
	}
	if err := errors.Join(a.take(0, 0), a.take(1, 0), a.free(binary.NativeEndian.Uint64(state[32:]))); err != nil {
		return err
	}
	if err := a.buckets(binary.NativeEndian.Uint64(state[16:]), all); err != nil || !all {
		return err
	}
	for id, used := range a.used {
		if !used {
			return a.bad(uint64(id), "is neither used nor free")
		}
	}
	return nil
}

// take counts a page and those that belong to it.
func (a *accounts) take(id, more uint64) error {
	if pages := uint64(len(a.used)); id >= pages || more >= pages-id {
		return a.bad(id, "and %d more are beyond %d", more, pages)
	}
	for ; ; id++ {
		if a.used[id] {
			return a.bad(id, "is used twice, or used and free")
		}
		a.used[id] = true
		if more == 0 {
			return nil
		}
		more--
	}
}

// free counts the pages of the list of free ones, and those on it.
func (a *accounts) free(id uint64) error {
	if id >= uint64(len(a.used)) {
		return a.bad(id, "should be the list of free pages")
	}
	list := a.db[id*uint64(a.size):]
	if binary.NativeEndian.Uint64(list) != id || binary.NativeEndian.Uint16(list[8:]) != boltFreeList {
		return a.bad(id, "is no list of free pages")
	}
	if err := a.take(id, uint64(binary.NativeEndian.Uint32(list[12:]))); err != nil {
		return err
	}
	n, ids := uint64(binary.NativeEndian.Uint16(list[10:])), list[boltPageHead:]
	if n == boltManyFree {
		n, ids = binary.NativeEndian.Uint64(ids), ids[8:]
	}
	if n > uint64(len(a.used)) || n > uint64(len(ids)/8) {
		return a.bad(id, "lists %d free pages of %d", n, len(a.used))
	}
	for i := range n {
		if err := a.take(binary.NativeEndian.Uint64(ids[8*i:]), 0); err != nil {
			return err
		}
	}
	return nil
}

const (
	boltFreeList = 0x10
	// boltBucket is the flag of an element that is a bucket: its page (8), a number
	// (8), and if the page is 0, a page within.
	boltBucket = 1
)

// buckets counts the page that names the buckets, and with all theirs. There are
// both, or none in a file that has just been made.
func (a *accounts) buckets(id uint64, all bool) error {
	if id < 2 || id >= uint64(len(a.used)) {
		return a.bad(id, "should name the buckets")
	}
	b := a.db[id*uint64(a.size):][:a.size]
	n := nodeAt(id, b)
	names := [][]byte{bucketData, bucketMeta}
	if binary.NativeEndian.Uint64(b) != id || !n.leaf ||
		binary.NativeEndian.Uint32(b[12:]) != 0 || n.n != 0 && n.n != len(names) {
		return a.bad(id, "names no buckets")
	}
	if err := a.take(id, 0); err != nil {
		return err
	}
	for i := range n.n {
		v := n.value(i)
		if !bytes.Equal(n.key(i), names[i]) || binary.NativeEndian.Uint32(b[boltPageHead+i*boltElement:]) != boltBucket || len(v) < 16 {
			return a.bad(id, "names %q, which is no bucket", n.key(i))
		}
		root := binary.NativeEndian.Uint64(v)
		if root == 0 || !all && i == 0 {
			continue // within this page, until loadBolt has padded it; or too much to look at
		}
		if err := a.pages(root); err != nil {
			return fmt.Errorf("bucket %q: %w", n.key(i), err)
		}
	}
	return nil
}

// pages counts the pages of a bucket.
func (a *accounts) pages(root uint64) error {
	a.root = root
	n, err := a.node(root)
	if err != nil {
		return err
	}
	return a.nodes(&n)
}

func (a *accounts) nodes(n *node) error {
	if err := a.take(n.id, uint64(max(len(n.b)/a.size, 1)-1)); err != nil || n.leaf {
		return err
	}
	for i := range n.n {
		c, err := a.enter(n, i)
		if err == nil {
			err = a.nodes(&c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
