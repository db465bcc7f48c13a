// Package digest is records as they leave a store, for backups and for copies
// that are compared, and digests of ranges of them. Two copies with the same
// records have the same ranges with the same digests, and a change of one record
// changes the ranges beside it only.
package digest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// A record outside of a store is: length of the body (4 bytes, little-endian),
// CRC-32C of the length and the body (4), body. The body is: key's length, key,
// epoch, sequence, flags, marks, expiry, token, value. Numbers are unsigned
// varints (expiry a signed one); the value is the rest.
const (
	recordHead = 8
	maxBody    = subjects.MaxKey + subjects.MaxValue + 64
)

// MaxRecord is the size in bytes of the largest record.
const MaxRecord = recordHead + maxBody

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends a record.
func Append(b []byte, r *subjects.Record) []byte {
	at := len(b)
	b = append(b, make([]byte, recordHead)...)
	b = binary.AppendUvarint(b, uint64(len(r.Key)))
	b = append(b, r.Key...)
	b = binary.AppendUvarint(b, uint64(r.Version.Epoch))
	b = binary.AppendUvarint(b, r.Version.Seq)
	b = binary.AppendUvarint(b, uint64(r.Flags))
	b = binary.AppendUvarint(b, uint64(r.Bits))
	b = binary.AppendVarint(b, r.Expiry)
	b = binary.AppendUvarint(b, r.Token)
	b = append(b, r.Value...)
	rec := b[at:]
	binary.LittleEndian.PutUint32(rec, uint32(len(rec)-recordHead))
	binary.LittleEndian.PutUint32(rec[4:], sum(rec))
	return b
}

func sum(rec []byte) uint32 {
	return crc32.Update(crc32.Checksum(rec[:4], castagnoli), castagnoli, rec[recordHead:])
}

// Length tells how many bytes a record takes that begins with b, which has at
// least HeadSize of them.
func Length(b []byte) (int, error) {
	n := int64(binary.LittleEndian.Uint32(b))
	if n > maxBody {
		return 0, fmt.Errorf("record of %d bytes: %w", n, subjects.ErrMalformed)
	}
	return recordHead + int(n), nil
}

// HeadSize is how many bytes Length looks at.
const HeadSize = recordHead

// Next takes a record from the front of b and checks it. raw is the record as it
// stands there; it and what r holds alias b. The error is subjects.ErrMalformed.
func Next(b []byte) (r subjects.Record, raw, rest []byte, err error) {
	if len(b) < recordHead {
		return r, nil, nil, fmt.Errorf("record: %w: it is cut off", subjects.ErrMalformed)
	}
	n, err := Length(b)
	if err != nil {
		return r, nil, nil, err
	}
	if n > len(b) {
		return r, nil, nil, fmt.Errorf("record: %w: it is cut off", subjects.ErrMalformed)
	}
	raw, rest = b[:n:n], b[n:]
	if binary.LittleEndian.Uint32(raw[4:]) != sum(raw) {
		return r, nil, nil, fmt.Errorf("record: %w: its checksum does not match", subjects.ErrMalformed)
	}
	v := varints{b: raw[recordHead:]}
	r.Key = v.bytes()
	r.Version = subjects.Version{Epoch: ring.Epoch(v.uint()), Seq: v.uint()}
	r.Flags, r.Bits = uint32(v.uint()), uint32(v.uint())
	r.Expiry, r.Token = v.int(), v.uint()
	if v.fail || len(r.Key) > subjects.MaxKey {
		return r, nil, nil, fmt.Errorf("record: %w", subjects.ErrMalformed)
	}
	r.Value = v.b
	return r, raw, rest, nil
}

// varints reads numbers; after the first fault all are zero.
type varints struct {
	b    []byte
	fail bool
}

func (v *varints) uint() uint64 {
	x, n := binary.Uvarint(v.b)
	return x * v.took(n)
}

func (v *varints) int() int64 {
	x, n := binary.Varint(v.b)
	return x * int64(v.took(n))
}

// took goes n bytes on and returns 1, or 0 if there was no number.
func (v *varints) took(n int) uint64 {
	if n <= 0 || v.fail {
		v.fail = true
		return 0
	}
	v.b = v.b[n:]
	return 1
}

func (v *varints) bytes() []byte {
	n := v.uint()
	if n > uint64(len(v.b)) {
		v.fail = true
		return nil
	}
	k := v.b[:n:n]
	v.b = v.b[n:]
	return k
}
