package digest

import (
	"bytes"

	"github.com/cespare/xxhash/v2"

	"github.com/etolabo/kumofs/subjects"
)

// One key in aroundKeys, which its hash tells, begins a range, so that copies agree
// on the ranges without talking about them, and a key that comes or goes moves no
// other boundary. A range that is large ends sooner; the next such key brings
// copies together again.
const (
	aroundKeys = 1024
	maxBytes   = 1 << 20
	hashShift  = 40 // the low bits are the partition
)

func begins(key []byte) bool { return xxhash.Sum64(key)>>hashShift&(aroundKeys-1) == 0 }

// Cutter makes ranges of the records of a partition, which are added in the order
// of their keys.
type Cutter struct {
	now  subjects.KeyRange
	hash *xxhash.Digest
}

// NewCutter begins at a key that begins a range; nil is the first.
func NewCutter(from []byte) *Cutter {
	c := &Cutter{hash: xxhash.New()}
	c.now.From = bytes.Clone(from)
	return c
}

// Add takes a record as Append writes it. If it begins another range, done is the
// one before.
func (c *Cutter) Add(key, raw []byte) (done subjects.KeyRange, ok bool) {
	// The first range of a partition begins before every key, another one at a key:
	// one that is empty so far ends at no other.
	if c.now.Count > 0 && (c.now.Bytes >= maxBytes || begins(key)) {
		ok = true
		c.now.To, c.now.Digest = bytes.Clone(key), subjects.Digest(c.hash.Sum64())
		done, c.now = c.now, subjects.KeyRange{From: c.now.To}
		c.hash.Reset()
	}
	c.now.Count++
	c.now.Bytes += int64(len(raw))
	c.hash.Write(raw)
	return done, ok
}

// End returns the last range, which ends at a key or, with nil, with the partition.
func (c *Cutter) End(to []byte) subjects.KeyRange {
	c.now.To, c.now.Last, c.now.Digest = bytes.Clone(to), to == nil, subjects.Digest(c.hash.Sum64())
	return c.now
}
