package subjects

// Clients have come to rely on what memcached's parser takes for a number,
// which is what C's strtoul takes: leading white space, a sign, digits, and
// then the end or more white space with anything after it.

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// magnitude parses as strtoull does, before it applies the sign.
func magnitude(tok []byte) (v uint64, negative, ok bool) {
	i := 0
	for i < len(tok) && isSpace(tok[i]) {
		i++
	}
	if i < len(tok) && (tok[i] == '-' || tok[i] == '+') {
		negative = tok[i] == '-'
		i++
	}
	start := i
	for ; i < len(tok) && tok[i]-'0' <= 9; i++ {
		d := uint64(tok[i] - '0')
		if v > (1<<64-1)/10 || v*10 > 1<<64-1-d {
			return 0, negative, false
		}
		v = v*10 + d
	}
	return v, negative, i > start && (i == len(tok) || isSpace(tok[i]))
}

// ParseUint is memcached's safe_strtoull, by which incr and decr read a stored
// value too: a negative number counts when its complement has the highest bit
// clear.
func ParseUint(tok []byte) (uint64, bool) {
	v, negative, ok := magnitude(tok)
	if !ok {
		return 0, false
	}
	if negative {
		v = -v
	}
	if int64(v) < 0 {
		for _, c := range tok {
			if c == '-' {
				return 0, false
			}
		}
	}
	return v, true
}

// ParseInt is memcached's safe_strtol without its cut to 32 bits, which turns
// expiry times after 2038 into the past.
func ParseInt(tok []byte) (int64, bool) {
	v, negative, ok := magnitude(tok)
	if !ok {
		return 0, false
	}
	return Signed(v, negative)
}

// Signed is a magnitude with its sign, if 64 bits hold it.
func Signed(v uint64, negative bool) (int64, bool) {
	switch {
	case negative && v <= 1<<63:
		return -int64(v), true
	case !negative && v < 1<<63:
		return int64(v), true
	}
	return 0, false
}
