package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects/ring"
)

// piece is the keys and values that a step copies.
type piece struct {
	arena []byte
	ends  []int          // in arena, of a key and of its value in turn
	at    ring.Partition // that was read last
	next  []byte
	last  bool
	bad   []error
}

// fill reads from a key on.
func (p *piece) fill(tx *bbolt.Tx, from []byte) error {
	*p = piece{arena: p.arena[:0], ends: p.ends[:0], at: p.at}
	data := tx.Bucket(bucketData)
	c, direct := newCursor(data), newCursor(data)
	prev := []byte(nil)
	k, v := c.Seek(from)
	if k != nil && bytes.Compare(k, from) < 0 {
		return fmt.Errorf("%w: key %q is found in the place of %q", ErrDamaged, k, from)
	}
	for ; k != nil; k, v = c.Next() {
		if len(p.arena) >= compactBytes || len(p.ends) >= 2*compactKeys {
			p.next = bytes.Clone(k)
			return p.whole(c, from, p.next)
		}
		if len(k) >= 2 {
			p.at = ring.Partition(binary.BigEndian.Uint16(k))
		}
		if err := p.check(direct, prev, k, v); err != nil {
			return err
		}
		p.arena = append(p.arena, k...)
		p.ends = append(p.ends, len(p.arena))
		prev = k // while the transaction lasts
		p.arena = append(p.arena, v...)
		p.ends = append(p.ends, len(p.arena))
	}
	p.last = true
	return p.whole(c, from, nil)
}

// check tells what ends the reading. A damaged record does not, unless its key
// could take the place of another.
func (p *piece) check(direct *cursor, prev, k, v []byte) error {
	_, bad := readValue(k, v)
	err := reachable(direct, prev, k)
	switch {
	case bad == nil:
		return err
	case err != nil:
		return bad
	}
	p.bad = append(p.bad, bad)
	return nil
}

func (p *piece) each(f func(k, v []byte) error) error {
	at := 0
	for i := 0; i < len(p.ends); i += 2 {
		k, v := p.arena[at:p.ends[i]], p.arena[p.ends[i]:p.ends[i+1]]
		if err := f(k, v); err != nil {
			return err
		}
		at = p.ends[i+1]
	}
	return nil
}
