package store

import (
	"bytes"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/digest"
)

// One transaction reads so much of a frozen copy.
const (
	pieceBytes = 128 << 10
	pieceKeys  = 4096
)

// Digests returns the ranges from a key on that begins one to another (nil: the
// end), whole ones of at least maxBytes together. next is the key to go on from
// unless last. rest is called after each piece with its size in bytes; its error
// ends the work.
func (f *Frozen) Digests(from, to []byte, maxBytes int64, rest func(bytes int) error) (list []subjects.KeyRange, next []byte, last bool, err error) {
	cut := digest.NewCutter(from)
	var raw []byte
	size := int64(0)
	for {
		recs, on, end, err := f.Read(from, pieceBytes)
		if err != nil {
			return nil, nil, false, err
		}
		read := 0
		for i := range recs {
			if to != nil && bytes.Compare(recs[i].Key, to) >= 0 {
				end = true
				break
			}
			raw = digest.Append(raw[:0], &recs[i])
			read += len(raw)
			done, ok := cut.Add(recs[i].Key, raw)
			if !ok {
				continue
			}
			list = append(list, done)
			if size += done.Bytes; size >= maxBytes {
				return list, done.To, false, rest(read)
			}
		}
		if err := rest(read); err != nil {
			return nil, nil, false, err
		}
		if end {
			return append(list, cut.End(to)), nil, true, nil
		}
		from = on
	}
}
