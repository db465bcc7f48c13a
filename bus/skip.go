package bus

import "encoding/binary"

// skip returns the length in bytes of the msgpack value that p begins with, or
// -1 if there is none. It counts what is still to come rather than recurse, so
// that nesting costs no stack; every value takes at least a byte, so that the
// work is bounded by len(p) whatever an array claims to hold.
func skip(p []byte) int {
	at := uint64(0)
	size := uint64(len(p))
	for want := uint64(1); want > 0; want-- {
		if at >= size {
			return -1
		}
		head, body, more := shape(p[at:])
		if head == 0 || body > size-at-head {
			return -1
		}
		at += head + body
		want += more
	}
	return int(at)
}

// shape reads the type byte and length of one msgpack value: head is the bytes
// of both, or 0 if they are cut short or not msgpack; body the bytes that
// follow, more the number of values inside it.
func shape(p []byte) (head, body, more uint64) {
	c := p[0]
	switch {
	case c < 0x80 || c >= 0xe0: // fixint
		return 1, 0, 0
	case c < 0x90: // fixmap
		return 1, 0, 2 * uint64(c&0x0f)
	case c < 0xa0: // fixarray
		return 1, 0, uint64(c & 0x0f)
	case c < 0xc0: // fixstr
		return 1, uint64(c & 0x1f), 0
	}
	k := &kinds[c-0xc0]
	if k.head == 0 || len(p) < int(k.head) {
		return 0, 0, 0
	}
	n := uint64(0)
	switch k.width {
	case 1:
		n = uint64(p[1])
	case 2:
		n = uint64(binary.BigEndian.Uint16(p[1:]))
	case 4:
		n = uint64(binary.BigEndian.Uint32(p[1:]))
	}
	return uint64(k.head), uint64(k.fixed) + n*uint64(k.bytes), n * uint64(k.values)
}

// kind says how the length of a value with a given type byte is found: a length
// field of width bytes is part of the head, counts bytes or values, and fixed
// bytes follow in any case.
type kind struct{ head, width, fixed, bytes, values uint8 }

// kinds are the type bytes 0xc0 to 0xdf. A zero head marks 0xc1, which msgpack
// never uses.
var kinds = [32]kind{
	0x00: {head: 1},                      // nil
	0x02: {head: 1},                      // false
	0x03: {head: 1},                      // true
	0x04: {head: 2, width: 1, bytes: 1},  // bin 8
	0x05: {head: 3, width: 2, bytes: 1},  // bin 16
	0x06: {head: 5, width: 4, bytes: 1},  // bin 32
	0x07: {head: 3, width: 1, bytes: 1},  // ext 8: length, type
	0x08: {head: 4, width: 2, bytes: 1},  // ext 16
	0x09: {head: 6, width: 4, bytes: 1},  // ext 32
	0x0a: {head: 1, fixed: 4},            // float 32
	0x0b: {head: 1, fixed: 8},            // float 64
	0x0c: {head: 1, fixed: 1},            // uint 8
	0x0d: {head: 1, fixed: 2},            // uint 16
	0x0e: {head: 1, fixed: 4},            // uint 32
	0x0f: {head: 1, fixed: 8},            // uint 64
	0x10: {head: 1, fixed: 1},            // int 8
	0x11: {head: 1, fixed: 2},            // int 16
	0x12: {head: 1, fixed: 4},            // int 32
	0x13: {head: 1, fixed: 8},            // int 64
	0x14: {head: 2, fixed: 1},            // fixext 1: type, data
	0x15: {head: 2, fixed: 2},            // fixext 2
	0x16: {head: 2, fixed: 4},            // fixext 4
	0x17: {head: 2, fixed: 8},            // fixext 8
	0x18: {head: 2, fixed: 16},           // fixext 16
	0x19: {head: 2, width: 1, bytes: 1},  // str 8
	0x1a: {head: 3, width: 2, bytes: 1},  // str 16
	0x1b: {head: 5, width: 4, bytes: 1},  // str 32
	0x1c: {head: 3, width: 2, values: 1}, // array 16
	0x1d: {head: 5, width: 4, values: 1}, // array 32
	0x1e: {head: 3, width: 2, values: 2}, // map 16
	0x1f: {head: 5, width: 4, values: 2}, // map 32
}
