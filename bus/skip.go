package bus

import "encoding/binary"

// skip returns the length in bytes of the msgpack value that p begins with, or
// -1 if there is none. It counts what is still to come rather than recurse, so
// that nesting costs no stack; every value takes at least a byte, so that the
// work is bounded by len(p) whatever an array claims to hold.
func skip(p []byte) int {
	at := 0
	for want := 1; want > 0; want-- {
		if at >= len(p) {
			return -1
		}
		k := &kinds[p[at]]
		if k.size == 0 { // 0xc1, which msgpack never uses
			return -1
		}
		if k.width > 0 {
			n, ok := length(p[at+1:], k.width)
			if !ok {
				return -1
			}
			at += n * int(k.bytes)
			want += n * int(k.values)
		}
		at += int(k.size)
		want += int(k.inside)
	}
	if at > len(p) {
		return -1
	}
	return at
}

// length reads a length field of 1, 2 or 4 bytes.
func length(p []byte, width uint8) (n int, ok bool) {
	if len(p) < int(width) {
		return 0, false
	}
	switch width {
	case 1:
		return int(p[0]), true
	case 2:
		return int(binary.BigEndian.Uint16(p)), true
	}
	return int(binary.BigEndian.Uint32(p)), true
}

// kind says what follows a type byte: size is what the value takes in any case,
// type byte included, and inside the number of values in it. A length field of
// width bytes, if there is one, counts further bytes or values.
type kind struct{ size, inside, width, bytes, values uint8 }

// kinds has an entry per type byte
// (https://github.com/msgpack/msgpack/blob/master/spec.md#formats).
var kinds = makeKinds()

func makeKinds() (k [256]kind) {
	for c := range 0x80 {
		k[c] = kind{size: 1} // positive fixint
	}
	for n := range uint8(16) {
		k[0x80|n] = kind{size: 1, inside: 2 * n} // fixmap
		k[0x90|n] = kind{size: 1, inside: n}     // fixarray
	}
	for n := range uint8(32) {
		k[0xa0|n] = kind{size: 1 + n} // fixstr
		k[0xe0|n] = kind{size: 1}     // negative fixint
	}
	k[0xc0] = kind{size: 1} // nil
	k[0xc2] = kind{size: 1} // false
	k[0xc3] = kind{size: 1} // true
	k[0xca] = kind{size: 5} // float 32
	k[0xcb] = kind{size: 9} // float 64
	for i := range 4 {
		k[0xcc+i] = kind{size: 1 + 1<<i} // uint 8 to 64
		k[0xd0+i] = kind{size: 1 + 1<<i} // int 8 to 64
	}
	for i := range 5 {
		k[0xd4+i] = kind{size: 2 + 1<<i} // fixext 1 to 16: type, data
	}
	for i := range 3 {
		w := uint8(1) << i
		k[0xc4+i] = kind{size: 1 + w, width: w, bytes: 1} // bin 8 to 32
		k[0xc7+i] = kind{size: 2 + w, width: w, bytes: 1} // ext 8 to 32: length, type, data
		k[0xd9+i] = kind{size: 1 + w, width: w, bytes: 1} // str 8 to 32
	}
	for i := range 2 {
		w := uint8(2) << i
		k[0xdc+i] = kind{size: 1 + w, width: w, values: 1} // array 16 and 32
		k[0xde+i] = kind{size: 1 + w, width: w, values: 2} // map 16 and 32
	}
	return k
}
