package digest

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Sum is the XXH64 of the records of a range, one after the other as Append
// writes them: key, version, flags, marks, expiry, token and value. In JSON it is
// 16 hexadecimal digits.
type Sum uint64

// MarshalText implements encoding.TextMarshaler.
func (s Sum) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(s)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sum) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("digest %q: want 16 hexadecimal digits", b)
	}
	*s = Sum(n)
	return nil
}

// Range is the records of a partition from key From to key To (exclusive; the end
// of the partition with Last).
type Range struct {
	From   []byte `json:"from,omitempty"`
	To     []byte `json:"to,omitempty"`
	Last   bool   `json:"last,omitempty"`
	Count  int64  `json:"count"`
	Bytes  int64  `json:"bytes"` // of the records as Append writes them
	Digest Sum    `json:"digest"`
}

// Same reports whether two ranges hold the same records.
func (r *Range) Same(o *Range) bool {
	return r.Count == o.Count && r.Bytes == o.Bytes && r.Digest == o.Digest && r.Last == o.Last &&
		bytes.Equal(r.From, o.From) && bytes.Equal(r.To, o.To)
}

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
	now  Range
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
func (c *Cutter) Add(key, raw []byte) (done Range, ok bool) {
	// The first range of a partition begins before every key, another one at a key:
	// one that is empty so far ends at no other.
	if c.now.Count > 0 && (c.now.Bytes >= maxBytes || begins(key)) {
		ok = true
		c.now.To, c.now.Digest = bytes.Clone(key), Sum(c.hash.Sum64())
		done, c.now = c.now, Range{From: c.now.To}
		c.hash.Reset()
	}
	c.now.Count++
	c.now.Bytes += int64(len(raw))
	c.hash.Write(raw)
	return done, ok
}

// End returns the last range of the partition.
func (c *Cutter) End() Range {
	c.now.Last, c.now.Digest = true, Sum(c.hash.Sum64())
	return c.now
}
