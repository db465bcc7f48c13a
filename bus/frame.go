package bus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// WireVersion is the first element of every frame. A frame of another version
// is refused.
const WireVersion = 1

// msgpack type bytes (https://github.com/msgpack/msgpack/blob/master/spec.md).
const (
	mpFixArray2 = 0x92
	mpFixArray4 = 0x94
	mpNil       = 0xc0
	mpUint8     = 0xcc
	mpUint16    = 0xcd
	mpUint32    = 0xce
	mpUint64    = 0xcf
	mpStr8      = 0xd9
	mpStr16     = 0xda
	mpStr32     = 0xdb
	mpArray16   = 0xdc
	mpArray32   = 0xdd
)

// What is wrong with a frame that is refused.
var (
	errMalformed = errors.New("malformed frame")
	errVersion   = errors.New("frame of another wire version")
	errForeign   = errors.New("frame of another cluster")
)

// itemOverhead is the most that an item adds to its body: an array header and
// a uint64.
const itemOverhead = 1 + 9

// Frame is a received message of many items. It may be used until the handler that
// it is given to returns. Bodies alias the message's data, which is never written
// again, so they may be kept.
type Frame struct {
	Subject string // the NATS subject that it was published on
	Reply   string // where answers go; empty if none is wanted

	rest  []byte   // the items not read yet; known to be well formed
	sizes []uint32 // of their bodies
}

// Len is the number of items that Next has still to return.
func (f *Frame) Len() int { return len(f.sizes) }

// Next returns the next item: its id (0 if no answer is wanted) and its body, one
// msgpack value. ok is false after the last one.
func (f *Frame) Next() (id uint64, body []byte, ok bool) {
	if len(f.sizes) == 0 {
		return 0, nil, false
	}
	n := f.sizes[0]
	f.sizes = f.sizes[1:]
	// parseFrame has walked the whole frame, so nothing here can fail.
	_, p, _ := readArray(f.rest)
	id, p, _ = readUint(p)
	f.rest = p[n:]
	return id, p[:n:n], true
}

// appendFrameHead appends a frame's header with an item count of zero and
// returns the buffer and the offset of the count, which patchCount fills in.
func appendFrameHead(b []byte, clusterID uint64, reply string) (_ []byte, count int) {
	b = append(b, mpFixArray4, WireVersion, mpUint64)
	b = binary.BigEndian.AppendUint64(b, clusterID)
	b = appendString(b, reply)
	b = append(b, mpArray32, 0, 0, 0, 0)
	return b, len(b) - 4
}

// patchCount writes the number of items at the offset that appendFrameHead gave.
func patchCount(b []byte, at int, n uint32) { binary.BigEndian.PutUint32(b[at:], n) }

// appendItemHead appends what stands before an item's body.
func appendItemHead(b []byte, id uint64) []byte {
	b = append(b, mpFixArray2)
	switch {
	case id < 0x80:
		return append(b, byte(id))
	case id <= math.MaxUint32:
		b = append(b, mpUint32)
		return binary.BigEndian.AppendUint32(b, uint32(id))
	}
	b = append(b, mpUint64)
	return binary.BigEndian.AppendUint64(b, id)
}

func appendString(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n < 1<<8:
		b = append(b, mpStr8, byte(n))
	default:
		b = append(b, mpStr16)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	}
	return append(b, s...)
}

// parseFrame reads the header of a frame and checks every byte of the rest, so
// that a frame is taken or refused as a whole. The frame's memory is that of last,
// which is used again for the next one, as is its Reply where a sender is steady.
func parseFrame(data []byte, clusterID uint64, last *scratch) (f Frame, err error) {
	n, p, ok := readArray(data)
	if !ok || n == 0 {
		return f, errMalformed
	}
	version, p, ok := readUint(p)
	if !ok {
		return f, errMalformed
	}
	if version != WireVersion {
		return f, fmt.Errorf("%w: %d", errVersion, version)
	}
	if n != 4 {
		return f, errMalformed
	}
	id, p, ok := readUint(p)
	if !ok {
		return f, errMalformed
	}
	if id != clusterID {
		return f, fmt.Errorf("%w: %016x", errForeign, id)
	}
	reply, p, ok := readString(p)
	if !ok {
		return f, errMalformed
	}
	count, p, ok := readArray(p)
	if !ok {
		return f, errMalformed
	}
	sizes, ok := wellFormed(p, count, last.sizes[:0])
	if last.sizes = nil; cap(sizes) <= keepSizes {
		last.sizes = sizes
	}
	if !ok {
		return f, errMalformed
	}
	if string(reply) != last.reply {
		last.reply = string(reply)
	}
	f.Reply, f.rest, f.sizes = last.reply, p, sizes
	return f, nil
}

// scratch is what the next frame of a subscription uses of the last one.
type scratch struct {
	reply string
	sizes []uint32
}

// keepSizes is for how many items' sizes memory is kept.
const keepSizes = 4096

// wellFormed tells whether p is exactly count items, and appends the sizes of their
// bodies in bytes.
func wellFormed(p []byte, count uint32, sizes []uint32) ([]uint32, bool) {
	for range count {
		n, q, ok := readArray(p)
		if !ok || n != 2 {
			return sizes, false
		}
		if _, q, ok = readUint(q); !ok {
			return sizes, false
		}
		size := skip(q)
		if size <= 0 {
			return sizes, false
		}
		sizes = append(sizes, uint32(size))
		p = q[size:]
	}
	return sizes, len(p) == 0
}

// readArray reads an array header.
func readArray(p []byte) (n uint32, rest []byte, ok bool) {
	if len(p) == 0 {
		return 0, nil, false
	}
	switch c := p[0]; {
	case c&0xf0 == 0x90:
		return uint32(c & 0x0f), p[1:], true
	case c == mpArray16 && len(p) >= 3:
		return uint32(binary.BigEndian.Uint16(p[1:])), p[3:], true
	case c == mpArray32 && len(p) >= 5:
		return binary.BigEndian.Uint32(p[1:]), p[5:], true
	}
	return 0, nil, false
}

// readUint reads an unsigned integer of any width.
func readUint(p []byte) (v uint64, rest []byte, ok bool) {
	if len(p) == 0 {
		return 0, nil, false
	}
	switch c := p[0]; {
	case c < 0x80:
		return uint64(c), p[1:], true
	case c == mpUint64 && len(p) >= 9:
		return binary.BigEndian.Uint64(p[1:]), p[9:], true
	case c == mpUint32 && len(p) >= 5:
		return uint64(binary.BigEndian.Uint32(p[1:])), p[5:], true
	case c == mpUint16 && len(p) >= 3:
		return uint64(binary.BigEndian.Uint16(p[1:])), p[3:], true
	case c == mpUint8 && len(p) >= 2:
		return uint64(p[1]), p[2:], true
	}
	return 0, nil, false
}

// readString reads a string of any width.
func readString(p []byte) (s, rest []byte, ok bool) {
	if len(p) == 0 {
		return nil, nil, false
	}
	var n, head uint64
	switch c := p[0]; {
	case c&0xe0 == 0xa0:
		n, head = uint64(c&0x1f), 1
	case c == mpStr8 && len(p) >= 2:
		n, head = uint64(p[1]), 2
	case c == mpStr16 && len(p) >= 3:
		n, head = uint64(binary.BigEndian.Uint16(p[1:])), 3
	case c == mpStr32 && len(p) >= 5:
		n, head = uint64(binary.BigEndian.Uint32(p[1:])), 5
	default:
		return nil, nil, false
	}
	if n > uint64(len(p))-head {
		return nil, nil, false
	}
	return p[head : head+n], p[head+n:], true
}
