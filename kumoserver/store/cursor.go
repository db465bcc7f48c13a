package store

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// bbolt follows the pages of a tree as far down as they lead. One bit of a branch's
// pointer may be what it takes to lead back to where one came from: that ends no
// guard but the process, when its stack or the machine's memory is full. So what is
// read in the data is read with these instead, and what bbolt is to write is gone to
// before (sound).

// deepest is more levels than a tree of bbolt's can have, whose branches have two
// children each at least.
const deepest = 64

// at is a page as bbolt would take it: its form is not looked at.
func (t *tree) at(id uint64, depth int) (n node, err error) {
	pages := uint64(len(t.db) / t.size)
	if id < 2 || id >= pages {
		return n, t.bad(id, "is none of %d", pages)
	}
	n = nodeAt(id, t.db[id*uint64(t.size):])
	switch {
	case n.flags != boltLeaf && n.flags != boltBranch:
		err = t.bad(id, "is of kind %d", n.flags)
	case n.n == 0 && !n.leaf:
		err = t.bad(id, "is empty")
	case depth > deepest:
		err = t.bad(id, "leads back to itself")
	}
	return n, err
}

// find looks for a key as bbolt does.
func (t *tree) find(key []byte) (val []byte, found bool, err error) {
	n, err := t.at(t.root, 0)
	for depth := 1; err == nil && !n.leaf; depth++ {
		n, err = t.at(n.child(n.towards(key)), depth)
	}
	if err != nil {
		return nil, false, err
	}
	i, _ := n.place(key)
	if i == n.n || !bytes.Equal(n.key(i), key) {
		return nil, false, nil
	}
	return n.value(i), true, nil
}

// cursor goes through the records of the data as bbolt's does. After the last one
// err tells whether that is the end.
type cursor struct {
	data  *bbolt.Bucket
	bolt  *bbolt.Cursor // while the bucket has no page of its own
	t     tree
	stack []level
	err   error
}

type level struct {
	node
	i int
}

func newCursor(data *bbolt.Bucket) *cursor {
	c := &cursor{data: data}
	if t, ok := treeOf(data); ok {
		c.t, c.stack = t, make([]level, 0, 8)
	} else {
		c.bolt = data.Cursor()
	}
	return c
}

// Seek returns the first record whose key is not less than one, nil if there is none.
func (c *cursor) Seek(key []byte) (k, v []byte) {
	if c.bolt != nil {
		return c.bolt.Seek(key)
	}
	c.stack, c.err = c.stack[:0], nil
	id := c.t.root
	for {
		n, ok := c.push(id)
		if !ok {
			return nil, nil
		}
		if n.leaf {
			n.i, _ = n.place(key)
			return c.record()
		}
		n.i = n.towards(key)
		id = n.child(n.i)
	}
}

// Next returns the record behind the last one.
func (c *cursor) Next() (k, v []byte) {
	if c.bolt != nil {
		return c.bolt.Next()
	}
	if len(c.stack) == 0 {
		return nil, nil
	}
	c.stack[len(c.stack)-1].i++
	return c.record()
}

func (c *cursor) push(id uint64) (*level, bool) {
	n, err := c.t.at(id, len(c.stack))
	if err != nil {
		c.stack, c.err = c.stack[:0], err
		return nil, false
	}
	c.stack = append(c.stack, level{node: n})
	return &c.stack[len(c.stack)-1], true
}

// record is the one at the place of the cursor, or the next where a page ends.
func (c *cursor) record() (k, v []byte) {
	for len(c.stack) > 0 {
		top := &c.stack[len(c.stack)-1]
		switch {
		case top.i >= top.n:
			c.stack = c.stack[:len(c.stack)-1]
			if len(c.stack) > 0 {
				c.stack[len(c.stack)-1].i++
			}
		case top.leaf:
			return top.key(top.i), top.value(top.i)
		default:
			c.push(top.child(top.i))
		}
	}
	return nil, nil
}
