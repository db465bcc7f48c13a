package memcache

import "github.com/etolabo/kumofs/subjects"

// Numbers of meta commands are stricter than those of the classic ones: digits
// and nothing else.

// metaInt parses a time or a length. As with memcached, no digits are 0; but
// it is not cut to 32 bits, where memcached refuses an expiry after 2038.
func metaInt(tok []byte) (int64, bool) {
	negative := len(tok) > 0 && tok[0] == '-'
	if negative {
		tok = tok[1:]
	}
	if len(tok) == 0 {
		return 0, true
	}
	v, ok := metaUint(tok)
	if !ok {
		return 0, false
	}
	return subjects.Signed(v, negative)
}

// metaUint parses a token, which has 22 digits at most.
func metaUint(tok []byte) (v uint64, ok bool) {
	if len(tok) == 0 || len(tok) > 22 {
		return 0, false
	}
	for _, c := range tok {
		d := uint64(c - '0')
		if c < '0' || d > 9 || v > (1<<64-1-d)/10 {
			return 0, false
		}
		v = v*10 + d
	}
	return v, true
}

const alphabet64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// digits64 holds each character's six bits, and 0x80 for what is no base64.
var digits64 = func() (t [256]byte) {
	for i := range t {
		t[i] = 0x80
	}
	for i, c := range []byte(alphabet64) {
		t[c] = byte(i)
	}
	t['='] = 0
	return t
}()

// decode64 decodes base64 as memcached does, which passes over what is none and
// ends at padding. It returns the length, and 0 if it cannot. dst has room for
// as many bytes as src.
func decode64(dst, src []byte) int {
	count := 0
	for _, c := range src {
		if digits64[c] != 0x80 {
			count++
		}
	}
	if count == 0 || count%4 != 0 || count/4*3 > len(dst) {
		return 0
	}
	var block [4]byte
	n, have, pad := 0, 0, 0
	for _, c := range src {
		d := digits64[c]
		if d == 0x80 {
			continue
		}
		if c == '=' {
			pad++
		}
		block[have] = d
		if have++; have < 4 {
			continue
		}
		have = 0
		dst[n] = block[0]<<2 | block[1]>>4
		dst[n+1] = block[1]<<4 | block[2]>>2
		dst[n+2] = block[2]<<6 | block[3]
		n += 3
		if pad > 2 {
			return 0
		}
		if pad > 0 {
			return n - pad
		}
	}
	return n
}

// append64 appends base64 with padding.
func append64(dst, src []byte) []byte {
	for ; len(src) >= 3; src = src[3:] {
		dst = append(dst, alphabet64[src[0]>>2], alphabet64[src[0]&3<<4|src[1]>>4],
			alphabet64[src[1]&15<<2|src[2]>>6], alphabet64[src[2]&63])
	}
	switch len(src) {
	case 1:
		dst = append(dst, alphabet64[src[0]>>2], alphabet64[src[0]&3<<4], '=', '=')
	case 2:
		dst = append(dst, alphabet64[src[0]>>2], alphabet64[src[0]&3<<4|src[1]>>4], alphabet64[src[1]&15<<2], '=')
	}
	return dst
}
