package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Who reads or writes with bbolt's cursors and could be misled by damaged pages asks
// one of these.

// ascends checks that a key that a cursor gives, nil at the end, does not come before
// the last one: a child that is another's page would be read there. (unbroken looks at
// the pages between two keys, and so needs these to be the right ones.)
func ascends(last *[]byte, k []byte) error {
	if k == nil {
		return nil
	}
	if bytes.Compare(k, *last) < 0 {
		return fmt.Errorf("%w: key %q is found behind %q", ErrDamaged, k, *last)
	}
	*last = k
	return nil
}

// unbroken checks that nothing is missing between two users' keys of a partition that
// were read with a cursor; a nil one is their end. What is beside that is looked at,
// too: it may be one of these, if its key is damaged.
func unbroken(c *cursor, id ring.Partition, from, to []byte) error {
	if c.err != nil || c.bolt != nil {
		return c.err
	}
	end := appendDataKey(nil, id, []byte{spaceUser + 1})
	if to != nil {
		end = appendUserKey(nil, id, to)
	}
	return c.t.span(appendUserKey(nil, id, from), end)
}

// sound reports, before something is written under a key, whether it is there, and why
// it must not be written: what bbolt writes again looks right, whatever it was before.
// seen are the pages that were looked at in this transaction.
func sound(data *bbolt.Bucket, k []byte, seen looked) (had bool, err error) {
	t, ok := treeOf(data)
	if !ok {
		return data.Get(k) != nil, nil
	}
	t.seen = seen
	n, _, err := t.leafOf(k, true)
	if err != nil {
		return false, err
	}
	had = data.Get(k) != nil // only now: bbolt goes where we have been
	return had, onlyValues(t.writable(&n, k, had))
}

// onlyValues lets damaged records pass that are those of their key: they may be
// written over. One that is another's may not, and nothing be put beside it: nobody
// would notice any more that the other one is missing.
func onlyValues(err error) error {
	bad := (*badRecord)(nil)
	switch {
	case !errors.As(err, &bad):
		return err
	case bad.another:
		return fmt.Errorf("%w: %w: its key is another's", ErrDamaged, err)
	}
	return nil
}

// whole checks the pages of a stretch.
func (st *stretch) whole(c *cursor, from, to []byte) error {
	if c.err != nil || c.bolt != nil {
		return c.err
	}
	err := c.t.span(from, to)
	if errors.Is(err, ErrCorrupt) {
		// One that is in the stretch was counted; one beside it is met next, unless
		// its key is what is damaged, and it is met nowhere.
		st.bad = append(st.bad, err)
		err = nil
	}
	return err
}

// whole finds what the pages of a piece lack. A damaged record beside it is met by
// the piece that it belongs to.
func (p *piece) whole(c *cursor, from, to []byte) error {
	if c.err != nil || c.bolt != nil {
		return c.err
	}
	err := c.t.span(from, to)
	if errors.Is(err, ErrCorrupt) {
		return nil
	}
	return err
}

// owned checks that each partition of which there are records has a state: one whose
// key is damaged is another's, or nobody's, and a copy without one would be taken for
// one that is empty. A record that is damaged may be of another partition.
func owned(data *bbolt.Bucket, parts map[ring.Partition]*partMeta) error {
	c := newCursor(data)
	var last []byte // or a key out of order would lead back for ever
	k, v := c.Seek(last)
	for k != nil {
		if err := ascends(&last, k); err != nil {
			return err
		}
		if len(k) < 3 {
			return fmt.Errorf("%w: a key of %d bytes", ErrDamaged, len(k))
		}
		id := ring.Partition(binary.BigEndian.Uint16(k))
		switch _, err := readValue(k, v); {
		case id >= ring.MaxPartitions:
			return c.err // the pad, or damaged
		case parts[id] != nil:
			last = appendDataKey(nil, id+1, nil)
			k, v = c.Seek(last)
		case err == nil:
			return fmt.Errorf("%w: partition %d has records and no state", ErrDamaged, id)
		default:
			k, v = c.Next()
		}
	}
	return c.err
}

// statesSound checks the pages that are written again with a state, and the one that
// names the buckets: bbolt frees as many pages as the old ones say that they have.
func statesSound(meta *bbolt.Bucket, k []byte, seen looked) error {
	var t tree
	t.open(meta.Tx())
	id := uint64(meta.Tx().Cursor().Bucket().Root())
	if n, err := t.at(id, 0); err != nil {
		return err
	} else if !n.leaf || binary.NativeEndian.Uint64(n.b) != id || binary.NativeEndian.Uint32(n.b[12:]) != 0 {
		return t.bad(id, "names no buckets")
	}
	t, ok := treeOf(meta)
	if !ok {
		return nil
	}
	t.seen = seen
	_, _, err := t.leafOf(k, true)
	return err
}
