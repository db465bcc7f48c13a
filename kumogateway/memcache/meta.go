package memcache

import (
	"bytes"
	"strings"
)

// Limits of a meta command.
const (
	maxMetaWords = 20 // of a line, command and key included
	maxOpaque    = 31 // bytes
	// maxScanned is how many words memcached looks at before it counts them.
	maxScanned = 23
)

// Meta is what a meta command says beside what all syntaxes have in common.
type Meta struct {
	Command byte   // g, s, d, a or e, the command's second letter
	Base64  bool   // the key came in base64, and goes back so (b)
	Value   bool   // the value is wanted (v)
	Peek    bool   // the item does not count as asked for (u)
	Compare bool   // CAS is given (C); mg then wants no value of an item with this token
	Touch   bool   // Exptime becomes the item's (T)
	Renew   bool   // Recache is given (R)
	Mint    bool   // Token is given (E)
	Stale   bool   // I
	Empty   bool   // x
	Length  uint32 // bytes of the value that ms brought
	Renewed bool   // R stands behind T: what it judges is the time that T sets
	Remade  bool   // T stands behind N: its time is also that of a value that is made
	Recache int64  // the client wins if the item expires before this
	Token   uint64 // the CAS token of what is made

	nwanted, nopaque uint8
	wanted           [8]byte
	opaque           [maxOpaque]byte
}

// Wanted are the letters of what is to be returned, in order.
func (m *Meta) Wanted() []byte { return m.wanted[:m.nwanted] }

func (m *Meta) wants(letter byte) bool { return bytes.IndexByte(m.Wanted(), letter) >= 0 }

// Opaque is what goes back with the letter O.
func (m *Meta) Opaque() []byte { return m.opaque[:m.nopaque] }

// Want adds a letter to what is to be returned.
func (m *Meta) Want(letter byte) {
	if int(m.nwanted) < len(m.wanted) {
		m.wanted[m.nwanted] = letter
		m.nwanted++
	}
}

// SetOpaque sets the opaque, and has it returned; it fails if that is too long.
func (m *Meta) SetOpaque(b []byte) bool {
	if len(b) > maxOpaque {
		return false
	}
	m.nopaque = uint8(copy(m.opaque[:], b))
	m.Want('O')
	return true
}

// isMeta tells whether a word is a meta command with a key.
func isMeta(word []byte) bool {
	return word[0] == 'm' && returned(word[1]) != ""
}

// returned are the letters by which a command can be told to return something.
func returned(command byte) string {
	switch command {
	case 'g':
		return "stcflhOk"
	case 's':
		return "Okcs"
	case 'd':
		return "Ok"
	case 'a':
		return "ctOk"
	case 'e':
		return "k"
	}
	return ""
}

// metaLine is a meta command on its way to be a request. Of several errors the
// last counts, since memcached goes on reading after most of them.
type metaLine struct {
	r    *Request
	m    *Meta
	mode byte // M
	seen [2]uint64
	bad  Status // StatusOK: none
	long bool   // the opaque is too long
}

// metaCommand parses a meta command, of which head bytes of buf are the line
// and args what follows the command's word.
func (p *TextParser) metaCommand(command byte, args, buf []byte, head int, r *Request) (n int, ok bool) {
	p.meta = Meta{Command: command}
	r.Syntax, r.Meta = SyntaxMeta, &p.meta
	l := metaLine{r: r, m: &p.meta}
	key, flags := word(args)
	length := int64(0)
	if command == 's' {
		var size []byte
		size, flags = word(flags)
		if length, ok = metaInt(size); !ok || len(size) == 0 || length < 0 || length > 1<<31-1-2 {
			return head, fail(r, StatusBadFormat)
		}
	}
	words, ok := metaWords(flags)
	if words++; command == 's' {
		words++
	}
	p.meta.Length = uint32(length)
	if len(key) == 0 || !ok {
		return head, fail(r, StatusBadFormat)
	}
	r.Key = key
	if command == 'e' {
		return head, p.debug(flags, r)
	}
	why := p.metaFlags(&l, flags, words+1)
	if command != 's' {
		if why == StatusOK && l.long {
			why = StatusMetaOpaque
		}
		if why != StatusOK {
			return head, fail(r, why)
		}
		return head, true
	}
	if why != StatusOK {
		p.swallow = int(length) + 2
		return head, fail(r, why)
	}
	if length > int64(p.MaxValue) {
		r.TooLarge = true
		p.swallow = int(length) + 2
		return head, true
	}
	if l.long {
		p.swallow = int(length) + 2
		return head, fail(r, StatusMetaOpaque)
	}
	return p.body(buf, head, int(length), r)
}

// word takes the first word off a line.
func word(line []byte) (w, rest []byte) {
	for len(line) > 0 && line[0] == ' ' {
		line = line[1:]
	}
	end := bytes.IndexByte(line, ' ')
	if end < 0 {
		end = len(line)
	}
	return line[:end:end], line[end:]
}

// metaWords counts words that begin as flags do, with what memcached takes for
// a letter; it fails on others.
func metaWords(line []byte) (n int, ok bool) {
	for w, rest := word(line); len(w) > 0; w, rest = word(rest) {
		if c := w[0]; n < maxScanned-2 && (c <= '@' || c > 'z') && (c < '0' || c > '9') {
			return n, false
		}
		n++
	}
	return n, true
}

// debug parses what follows the key of me, which is nothing, or b.
func (p *TextParser) debug(flags []byte, r *Request) bool {
	r.Op = OpDebug
	if len(r.Key) > MaxKey {
		return fail(r, StatusBadFormat)
	}
	if w, _ := word(flags); string(w) == "b" {
		n := decode64(p.decoded[:], r.Key)
		if n == 0 {
			return fail(r, StatusBadFormat)
		}
		r.Key, r.Meta.Base64 = p.decoded[:n:n], true
	}
	return true
}

// metaFlags parses the flags of a line of so many words and makes it an
// operation.
func (p *TextParser) metaFlags(l *metaLine, flags []byte, words int) Status {
	r, m := l.r, l.m
	r.Delta = usualDelta(m.Command)
	why := StatusOK
	switch {
	case len(r.Key) > MaxKey:
		why = StatusBadFormat
	case words > maxMetaWords:
		why = StatusMetaMany
	default:
		for w, rest := word(flags); len(w) > 0; w, rest = word(rest) {
			if why = p.metaFlag(l, w); why != StatusOK {
				break
			}
		}
		if why == StatusOK {
			why = l.bad
		}
	}
	if why != StatusOK {
		if m.Command == 'a' {
			why = StatusMetaArith
		}
		return why
	}
	return l.operation()
}

// usualDelta is the delta of a command that names none.
func usualDelta(command byte) uint64 {
	if command == 'a' {
		return 1
	}
	return 0
}

// metaFlag parses one flag. What it returns ends the line; what it leaves in
// l.bad is told if nothing worse follows.
func (p *TextParser) metaFlag(l *metaLine, w []byte) Status {
	r, m := l.r, l.m
	letter, arg := w[0], w[1:]
	if l.seen[letter>>6]&(1<<(letter&63)) != 0 {
		return StatusMetaTwice
	}
	l.seen[letter>>6] |= 1 << (letter & 63)
	switch letter {
	case 'b':
		n := decode64(p.decoded[:], r.Key)
		if n == 0 {
			l.bad = StatusMetaKey
		}
		r.Key, m.Base64 = p.decoded[:n:n], true
	case 'N':
		r.Vivify = true
		l.number(&r.Fresh, arg)
	case 'T':
		m.Touch, m.Remade = true, r.Vivify
		l.number(&r.Exptime, arg)
	case 'R':
		m.Renew, m.Renewed = true, m.Touch
		l.number(&m.Recache, arg)
	case 'C':
		m.Compare = true
		l.token(&r.CAS, arg, StatusMetaToken)
	case 'E':
		m.Mint = true
		l.token(&m.Token, arg, StatusMetaToken)
	case 'J':
		l.token(&r.Initial, arg, StatusMetaInitial)
	case 'D':
		l.token(&r.Delta, arg, StatusMetaDelta)
	case 'F':
		l.flags(arg)
	case 'M':
		l.mode = ' '
		if len(arg) > 0 {
			l.mode = arg[0]
		}
	case 'O':
		l.long = !m.SetOpaque(arg)
	case 'I':
		m.Stale = true
	case 'x':
		m.Empty = true
	case 'v':
		m.Value = true
	case 'u':
		m.Peek = true
	case 'q':
		r.Quiet = true
	case 'k', 's', 't', 'c', 'f', 'l', 'h':
		if strings.IndexByte(returned(m.Command), letter) >= 0 {
			m.Want(letter)
		}
	case 'P', 'L': // for proxies
	default:
		return StatusMetaFlag
	}
	return StatusOK
}

func (l *metaLine) number(v *int64, arg []byte) {
	n, ok := metaInt(arg)
	if !ok || len(arg) == 0 {
		l.bad = StatusMetaToken
	}
	*v = n
}

func (l *metaLine) token(v *uint64, arg []byte, why Status) {
	n, ok := metaUint(arg)
	if !ok {
		l.bad = why
	}
	*v = n
}

func (l *metaLine) flags(arg []byte) {
	n, ok := metaUint(arg)
	l.r.Flags = uint32(n)
	if (!ok || n > 1<<32-1) && l.bad == StatusOK {
		l.bad = StatusBadFormat
	}
}

// operation decides which operation the line is.
func (l *metaLine) operation() Status {
	r, m := l.r, l.m
	m.Remade = m.Remade && (m.Command == 'g' || m.Command == 'a')
	m.Renewed = m.Renewed && m.Command == 'g'
	switch m.Command {
	case 'g':
		r.Op = OpGet
		if r.Vivify || m.Touch || m.Renew {
			r.Op = OpFetch
		}
	case 'd':
		r.Op = OpDelete
	case 'a':
		switch l.mode {
		case 0, 'I', '+':
			r.Op = OpIncr
		case 'D', '-':
			r.Op = OpDecr
		default:
			return StatusArithMode
		}
	case 's':
		switch l.mode {
		case 0, 'S':
			r.Op = OpSet
		case 'E':
			r.Op = OpAdd
		case 'R':
			r.Op = OpReplace
		case 'A':
			r.Op = OpAppend
		case 'P':
			r.Op = OpPrepend
		default:
			return StatusMetaMode
		}
		switch {
		case r.Op == OpAdd:
			r.CAS = 0 // there is nothing to compare it with
		case m.Compare && (r.Op == OpSet || r.Op == OpReplace):
			r.Op = OpCAS
		}
		if r.Op != OpAppend && r.Op != OpPrepend {
			r.Vivify, r.Fresh = false, 0 // it is made in any case
		}
	}
	return StatusOK
}
