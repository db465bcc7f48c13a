package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unsafe"

	"go.etcd.io/bbolt"
)

// tree looks at the pages of the data bucket past bbolt, which trusts what its
// file holds: a page that says it has fewer records, a key of a branch that is
// another, or a record whose key is another look to it like the absence of what is
// there. bbolt keeps no checksums of pages, but what it writes has only one form:
//
//   - the keys and values of a page follow each other without gaps, behind as many
//     elements as it has, and fill as many pages as it takes;
//   - the key of a child in its branch is the child's first key;
//   - each record has a checksum over its key and value (readValue).
//
// So a key is absent if the pages on the way to its place are of that form and the
// records on both sides of the place are whole. What no read can tell is a branch
// that leads to an older state of the very page that it should lead to.
type tree struct {
	db   []byte // all pages of the transaction
	size int    // of a page
	root uint64
	seen looked // nil: pages are looked at each time
}

// looked are the pages of a transaction that were found to be of the right form. What a
// transaction reads does not change while it lasts.
type looked map[uint64]node

// treeOf is the data bucket's tree as it is on disk, without what the transaction
// itself has changed. ok is false while the bucket has no page of its own.
func treeOf(data *bbolt.Bucket) (t tree, ok bool) {
	if t.root = uint64(data.Root()); t.root == 0 {
		return t, false
	}
	t.open(data.Tx())
	return t, true
}

func (t *tree) open(tx *bbolt.Tx) {
	info := tx.DB().Info()
	t.size = info.PageSize
	// The mapping is no memory of Go's, and stays while the transaction lasts.
	t.db = unsafe.Slice(*(**byte)(unsafe.Pointer(&info.Data)), tx.Size())
}

// node is a page that has the right form.
type node struct {
	id    uint64
	b     []byte
	n     int
	flags uint16
	leaf  bool
}

// nodeAt is what the head of a page says.
func nodeAt(id uint64, b []byte) node {
	flags := binary.NativeEndian.Uint16(b[8:])
	return node{id: id, b: b, n: int(binary.NativeEndian.Uint16(b[10:])), flags: flags, leaf: flags == boltLeaf}
}

// An element of a page has 16 bytes. A branch's: where its key is, from the element
// on (4), how long (4), the child's page (8). A leaf's: flags (4), where its key is
// (4), how long key (4) and value are (4). The value follows the key.
const (
	boltElement = 16
	boltBranch  = 1
	boltLeaf    = 2
)

func (t *tree) bad(id uint64, format string, args ...any) error {
	return fmt.Errorf("%w: page %d %s", ErrDamaged, id, fmt.Sprintf(format, args...))
}

// node reads a page and checks its form.
func (t *tree) node(id uint64) (n node, err error) {
	n, ok := t.seen[id]
	if ok {
		return n, nil
	}
	if n, err = t.look(id); err == nil && t.seen != nil {
		t.seen[id] = n
	}
	return n, err
}

func (t *tree) look(id uint64) (n node, err error) {
	pages := uint64(len(t.db) / t.size)
	if id < 2 || id >= pages {
		return n, t.bad(id, "is none of %d", pages)
	}
	at := id * uint64(t.size)
	n = nodeAt(id, t.db[at:])
	more := uint64(binary.NativeEndian.Uint32(n.b[12:]))
	switch {
	case binary.NativeEndian.Uint64(n.b) != id:
		return n, t.bad(id, "says that it is page %d", binary.NativeEndian.Uint64(n.b))
	case n.flags != boltLeaf && n.flags != boltBranch:
		return n, t.bad(id, "is of kind %d", n.flags)
	case n.n == 0:
		if n.leaf && id == t.root && more == 0 {
			n.b = n.b[:t.size]
			return n, nil
		}
		return n, t.bad(id, "is empty")
	case more >= pages-id:
		return n, t.bad(id, "has %d pages more, of %d", more, pages)
	}
	n.b = t.db[at : at+(more+1)*uint64(t.size)]
	end, ok := n.measure()
	if !ok || uint64(end+t.size-1)/uint64(t.size) != more+1 {
		return n, t.bad(id, "has %d records in %d bytes that are not where they should be", n.n, len(n.b))
	}
	return n, nil
}

// measure returns where the last record ends; ok is false unless each begins where
// the one before ends.
func (n *node) measure() (end int, ok bool) {
	end = boltPageHead + n.n*boltElement
	if end > len(n.b) {
		return end, false
	}
	for i := range n.n {
		at := boltPageHead + i*boltElement
		e := n.b[at : at+boltElement]
		pos, size := e, int(binary.NativeEndian.Uint32(e[4:]))
		if n.leaf {
			if binary.NativeEndian.Uint32(e) != 0 {
				return end, false // it would be a bucket
			}
			pos, size = e[4:], int(binary.NativeEndian.Uint32(e[8:]))+int(binary.NativeEndian.Uint32(e[12:]))
		}
		if at+int(binary.NativeEndian.Uint32(pos)) != end {
			return end, false
		}
		if end += size; end > len(n.b) {
			return end, false
		}
	}
	return end, true
}

func (n *node) key(i int) []byte {
	at := boltPageHead + i*boltElement
	pos, size := n.b[at:], n.b[at+4:]
	if n.leaf {
		pos, size = n.b[at+4:], n.b[at+8:]
	}
	from := at + int(binary.NativeEndian.Uint32(pos))
	return n.b[from : from+int(binary.NativeEndian.Uint32(size))]
}

func (n *node) value(i int) []byte {
	at := boltPageHead + i*boltElement
	from := at + int(binary.NativeEndian.Uint32(n.b[at+4:])) + int(binary.NativeEndian.Uint32(n.b[at+8:]))
	return n.b[from : from+int(binary.NativeEndian.Uint32(n.b[at+12:]))]
}

func (n *node) child(i int) uint64 {
	return binary.NativeEndian.Uint64(n.b[boltPageHead+i*boltElement+8:])
}

// place is the first record whose key is not less than one, as bbolt looks for it.
func (n *node) place(key []byte) (i int, exact bool) {
	lo, hi := 0, n.n
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		c := bytes.Compare(n.key(mid), key)
		exact = exact || c == 0
		if c < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, exact
}

// towards is the child in which bbolt looks for a key.
func (n *node) towards(key []byte) int {
	i, exact := n.place(key)
	if !exact && i > 0 {
		i--
	}
	return i
}

// enter reads a child, which must begin with the key that its branch has for it.
func (t *tree) enter(n *node, i int) (node, error) {
	c, err := t.node(n.child(i))
	if err == nil && (c.n == 0 || !bytes.Equal(c.key(0), n.key(i))) {
		err = t.bad(c.id, "does not begin as page %d says", n.id)
	}
	return c, err
}

// leafOf goes to the leaf in which a key is or would be. first reports whether that
// is the tree's first. Every sibling is looked at that could take or give records
// when the leaf is written, if siblings says so, and the next one in any case, since
// the key must come before it.
func (t *tree) leafOf(key []byte, siblings bool) (n node, first bool, err error) {
	first = true
	var next node
	var at int // of next's child that comes behind the key
	if n, err = t.node(t.root); err != nil {
		return n, first, err
	}
	for depth := 1; !n.leaf; depth++ {
		if depth > deepest {
			return n, first, t.bad(n.id, "leads back to itself")
		}
		i := n.towards(key)
		if i > 0 {
			first = false
			if siblings {
				if _, err = t.enter(&n, i-1); err != nil {
					return n, first, err
				}
			}
		}
		if i+1 < n.n {
			next, at = n, i+1
			if siblings {
				if _, err = t.enter(&n, at); err != nil {
					return n, first, err
				}
			}
			if bytes.Compare(n.key(at), key) <= 0 {
				return n, first, t.bad(n.id, "has keys out of order")
			}
		}
		if n, err = t.enter(&n, i); err != nil {
			return n, first, err
		}
	}
	if i, _ := n.place(key); i == n.n && next.n > 0 && !siblings {
		_, err = t.enter(&next, at)
	}
	return n, first, err
}

// absent returns nil if a key is not in the tree, and why that cannot be said
// otherwise: ErrDamaged, or ErrCorrupt for a record beside its place.
func (t *tree) absent(key []byte) error {
	n, first, err := t.leafOf(key, false)
	if err != nil {
		return err
	}
	i, _ := n.place(key)
	if i == 0 && !first {
		return t.bad(n.id, "begins behind a key that belongs there")
	}
	if i < n.n && bytes.Equal(n.key(i), key) {
		return t.bad(n.id, "has a key that was not found")
	}
	return n.whole(i-1, i)
}

// writable returns why a key must not be written to its leaf (leafOf with siblings, so
// that each page that would be written again is of the right form): its record, or if
// there is none one beside its place, is damaged. Each of these is looked at, and the
// worst is told.
func (t *tree) writable(n *node, key []byte, had bool) (err error) {
	i, _ := n.place(key)
	there := i < n.n && bytes.Equal(n.key(i), key)
	switch {
	case there:
		err = n.whole(i)
	case !had: // it may have been put by the same transaction
		if i > 0 && i < n.n && bytes.Compare(n.key(i-1), n.key(i)) >= 0 {
			return t.bad(n.id, "has keys out of order")
		}
		if err = n.whole(i - 1); onlyValues(err) == nil {
			err = n.whole(i)
		}
	}
	return err
}

// whole checks records of a leaf, as far as there are any.
func (n *node) whole(list ...int) error {
	for _, i := range list {
		if i < 0 || i >= n.n {
			continue
		}
		if k := n.key(i); bytes.Equal(k, padKey) {
			continue // nobody wants its value, and nobody would write it again
		} else if len(k) < 3 {
			return fmt.Errorf("%w: page %d has a key of %d bytes", ErrDamaged, n.id, len(k))
		} else if _, err := readValue(k, n.value(i)); err != nil {
			return err
		}
	}
	return nil
}

// span checks all pages on which keys from one to another are or would be (nil:
// the end), that the keys there are in order, and the records on both sides. The
// records between are the caller's to check.
func (t *tree) span(from, to []byte) error {
	n, err := t.node(t.root)
	if err != nil {
		return err
	}
	return t.spanOf(&n, from, to, nil, 0)
}

// spanOf is span of a page and those below; their keys come before one, next, if that
// is not nil.
func (t *tree) spanOf(n *node, from, to, next []byte, depth int) error {
	if depth > deepest {
		return t.bad(n.id, "leads back to itself")
	}
	first, last := 0, n.n-1
	if n.leaf {
		first, _ = n.place(from)
		beside := []int{first - 1}
		if to != nil {
			last, _ = n.place(to)
			beside = append(beside, last)
		}
		if err := n.whole(beside...); err != nil {
			return err
		}
		if next != nil && n.n > 0 && bytes.Compare(n.key(n.n-1), next) >= 0 {
			return t.bad(n.id, "has keys that belong behind it")
		}
		first, last = max(first-1, 0), min(last, n.n-1)
	} else {
		first = n.towards(from)
		if to != nil {
			last = min(n.towards(to)+1, last)
		}
	}
	for i := first; i <= last; i++ {
		if i > first && bytes.Compare(n.key(i-1), n.key(i)) >= 0 {
			return t.bad(n.id, "has keys out of order")
		}
		if n.leaf {
			continue
		}
		c, err := t.enter(n, i)
		if err == nil && (to == nil || bytes.Compare(n.key(i), to) <= 0 || i == first) {
			behind := next
			if i+1 < n.n {
				behind = n.key(i + 1)
			}
			err = t.spanOf(&c, from, to, behind, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
