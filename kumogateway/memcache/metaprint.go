package memcache

import "strconv"

// AppendMeta appends the answer to a meta command. The key is needed where it
// is to be returned.
func AppendMeta(dst []byte, r *Request, a *Reply) []byte {
	switch {
	case r.Op == OpError, a.Status.IsError():
		return appendLine(dst, a.Status.String())
	case r.Op == OpDebug:
		return appendDebug(dst, r, a)
	}
	m := r.Meta
	value := a.Value
	switch {
	case a.Status == StatusNotFound && m.Command == 'g':
		if r.Quiet {
			return dst
		}
		return appendMetaEnd(append(dst, "EN"...), r, a, "Ok")
	case a.Status == StatusNotFound:
		dst = append(dst, "NF"...)
	case a.Status == StatusExists:
		dst = append(dst, "EX"...)
	case a.Status == StatusNotStored:
		dst = append(dst, "NS"...)
	case r.Quiet && m.Command != 'g':
		return dst
	case m.Command == 'a' && m.Value:
		var digits [20]byte
		value = strconv.AppendUint(digits[:0], a.Number, 10)
		return appendMetaValue(dst, r, a, value)
	case m.Command == 'g' && m.Value && !(m.Compare && a.CAS == r.CAS):
		return appendMetaValue(dst, r, a, value)
	default:
		return appendMetaEnd(append(dst, "HD"...), r, a, returned(m.Command))
	}
	if m.Command == 's' { // it returns the token and size even of what failed
		return appendMetaEnd(dst, r, a, "Okcs")
	}
	return appendMetaEnd(dst, r, a, "Ok")
}

func appendMetaValue(dst []byte, r *Request, a *Reply, value []byte) []byte {
	dst = strconv.AppendInt(append(dst, "VA "...), int64(len(value)), 10)
	dst = appendMetaEnd(dst, r, a, returned(r.Meta.Command))
	return append(append(dst, value...), "\r\n"...)
}

// appendMetaEnd appends what is to be returned, if it is among the letters, and
// the end of the line.
func appendMetaEnd(dst []byte, r *Request, a *Reply, letters string) []byte {
	m := r.Meta
	for _, c := range m.Wanted() {
		for i := range len(letters) {
			if letters[i] == c {
				dst = appendMetaFlag(append(dst, ' ', c), r, a, c)
			}
		}
	}
	if m.Command == 'g' && a.Status == StatusOK {
		if a.Sent && !a.Won {
			dst = append(dst, " Z"...)
		}
		if a.Stale {
			dst = append(dst, " X"...)
		}
		if a.Won {
			dst = append(dst, " W"...)
		}
	}
	return append(dst, "\r\n"...)
}

func appendMetaFlag(dst []byte, r *Request, a *Reply, letter byte) []byte {
	switch letter {
	case 'O':
		return append(dst, r.Meta.Opaque()...)
	case 'k':
		if r.Meta.Base64 {
			return append(append64(dst, r.Key), " b"...)
		}
		return append(dst, r.Key...)
	case 's':
		size := uint64(len(a.Value))
		if r.Meta.Command == 's' {
			size = uint64(a.Size)
			if a.Status != StatusOK { // it tells the size of what was not stored
				size = uint64(r.Meta.Length)
			}
		}
		return strconv.AppendUint(dst, size, 10)
	case 't':
		return strconv.AppendInt(dst, a.TTL, 10)
	case 'c':
		return strconv.AppendUint(dst, a.CAS, 10)
	case 'f':
		return strconv.AppendUint(dst, uint64(a.Flags), 10)
	case 'l':
		return strconv.AppendUint(dst, uint64(a.Idle), 10)
	}
	if a.Hit {
		return append(dst, '1')
	}
	return append(dst, '0')
}

// itemHeader is what memcached adds to the bytes of an item with a token.
const itemHeader = 56

func appendDebug(dst []byte, r *Request, a *Reply) []byte {
	if a.Status != StatusOK {
		return append(dst, "EN\r\n"...)
	}
	dst = append(dst, "ME "...)
	if r.Meta.Base64 {
		dst = append64(dst, r.Key)
	} else {
		dst = append(dst, r.Key...)
	}
	dst = strconv.AppendInt(append(dst, " exp="...), a.TTL, 10)
	dst = strconv.AppendUint(append(dst, " la="...), uint64(a.Idle), 10)
	dst = strconv.AppendUint(append(dst, " cas="...), a.CAS, 10)
	if dst = append(dst, " fetch="...); a.Hit {
		dst = append(dst, "yes"...)
	} else {
		dst = append(dst, "no"...)
	}
	size := itemHeader + len(r.Key) + 1 + len(a.Value) + 2
	if a.Flags != 0 {
		size += 4
	}
	return append(strconv.AppendInt(append(dst, " cls=1 size="...), int64(size), 10), "\r\n"...)
}

var metaModes = map[Op]string{OpAdd: " ME", OpReplace: " MR", OpAppend: " MA", OpPrepend: " MP", OpDecr: " MD"}

// AppendMetaRequest appends r as a client writes it: the inverse of
// TextParser.Next for meta commands other than errors.
func AppendMetaRequest(dst []byte, r *Request) []byte {
	m := r.Meta
	dst = append(dst, 'm', m.Command, ' ')
	if m.Base64 {
		dst = append64(dst, r.Key)
	} else {
		dst = append(dst, r.Key...)
	}
	if m.Command == 's' {
		dst = strconv.AppendInt(append(dst, ' '), int64(len(r.Value)), 10)
	}
	if m.Base64 {
		dst = append(dst, " b"...)
	}
	if r.Op == OpDebug {
		return append(dst, "\r\n"...)
	}
	for _, c := range m.Wanted() {
		if dst = append(dst, ' ', c); c == 'O' {
			dst = append(dst, m.Opaque()...)
		}
	}
	for _, f := range []struct {
		letter byte
		set    bool
	}{{'v', m.Value}, {'u', m.Peek}, {'q', r.Quiet}, {'I', m.Stale}, {'x', m.Empty}} {
		if f.set {
			dst = append(dst, ' ', f.letter)
		}
	}
	for _, f := range []struct {
		letter byte
		set    bool
		v      int64
	}{
		{'N', r.Vivify && m.Remade, r.Fresh}, {'R', m.Renew && !m.Renewed, m.Recache}, {'T', m.Touch, r.Exptime},
		{'N', r.Vivify && !m.Remade, r.Fresh}, {'R', m.Renew && m.Renewed, m.Recache},
	} {
		if f.set {
			dst = strconv.AppendInt(append(dst, ' ', f.letter), f.v, 10)
		}
	}
	for _, f := range []struct {
		letter byte
		set    bool
		v      uint64
	}{
		{'C', m.Compare, r.CAS}, {'E', m.Mint, m.Token}, {'F', r.Flags != 0, uint64(r.Flags)},
		{'J', r.Initial != 0, r.Initial}, {'D', r.Delta != usualDelta(m.Command), r.Delta},
	} {
		if f.set {
			dst = strconv.AppendUint(append(dst, ' ', f.letter), f.v, 10)
		}
	}
	dst = append(append(dst, metaModes[r.Op]...), "\r\n"...)
	if m.Command == 's' {
		dst = append(append(dst, r.Value...), "\r\n"...)
	}
	return dst
}
