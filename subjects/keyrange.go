package subjects

import (
	"bytes"
	"fmt"
	"strconv"
)

// Digest is the XXH64 of the records of a range, one after the other as package
// digest writes them: key, version, flags, marks, expiry, token and value. In JSON
// it is 16 hexadecimal digits.
type Digest uint64

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(d)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("digest %q: want 16 hexadecimal digits", b)
	}
	*d = Digest(n)
	return nil
}

// KeyRange is the records of a partition from key From to key To (exclusive; the
// end of the partition with Last).
type KeyRange struct {
	From   []byte `json:"from,omitempty"`
	To     []byte `json:"to,omitempty"`
	Last   bool   `json:"last,omitempty"`
	Count  int64  `json:"count"`
	Bytes  int64  `json:"bytes"` // of the records as package digest writes them
	Digest Digest `json:"digest"`
}

// Same reports whether two ranges hold the same records.
func (r *KeyRange) Same(o *KeyRange) bool {
	return r.Count == o.Count && r.Bytes == o.Bytes && r.Digest == o.Digest && r.Last == o.Last &&
		bytes.Equal(r.From, o.From) && bytes.Equal(r.To, o.To)
}
