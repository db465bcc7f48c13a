package memcache

import (
	"bytes"

	"github.com/etolabo/kumofs/subjects"
)

// Syntax is a way to write requests.
type Syntax uint8

// The syntaxes. The first byte of a connection tells which it speaks.
const (
	SyntaxText Syntax = iota
	SyntaxMeta        // on the connections of the text protocol
	SyntaxBinary
	SyntaxUnknown
)

// Sniff tells a connection's syntax by its first byte. Text begins with a
// printable character, but no command with the asterisk with which Redis' do.
// What begins otherwise, TLS for example, is told so at once instead of being
// waited on for the end of a line.
func Sniff(first byte) Syntax {
	switch {
	case first == 0x80:
		return SyntaxBinary
	case first == '*':
		return SyntaxUnknown
	case first >= ' ' && first < 0x7f, first == '\r', first == '\n':
		return SyntaxText
	}
	return SyntaxUnknown
}

// TextParser takes requests of the classic text protocol, and meta commands,
// off a stream. It behaves as memcached 1.6 does, except that
//   - a line that holds a NUL is answered ERROR, where memcached reads only
//     what stands before it, and so takes another key for the one meant;
//   - numbers are not cut to 32 bits, where memcached takes a length of
//     2^32+1 for 1 and an expiry after 2038 for one in the past;
//   - an over-long line gets an error before the connection is closed;
//   - a bad key in a list does not swallow the answers of earlier requests.
//
// The zero parser is ready once MaxValue is set.
type TextParser struct {
	MaxValue int  // bytes of a value; larger ones are passed over
	Auth     bool // the client has to authenticate first; see Admit

	intake
	gate
	list    Request // the rest of a list of keys, if list.Op is set
	meta    Meta    // of the meta command that was parsed last
	decoded [MaxKey]byte
}

// Next takes the first request from buf into r. The first n bytes of buf are
// done with, whether there was a request (ok) or more input is needed; r's
// slices alias buf.
func (p *TextParser) Next(buf []byte, r *Request) (n int, ok bool) {
	n, ok = p.pass(buf)
	if !ok {
		return n, false
	}
	var used int
	switch {
	case p.Auth && !p.admitted:
		used, ok = p.authenticate(buf[n:], r)
	case p.list.Op != OpNone:
		used, ok = p.nextKey(buf[n:], r)
	default:
		used, ok = p.command(buf[n:], r)
	}
	return n + used, ok
}

func (p *TextParser) command(buf []byte, r *Request) (n int, ok bool) {
	end := bytes.IndexByte(buf, '\n')
	if end < 0 {
		if len(buf) <= MaxLine {
			return 0, false
		}
		if n, ok = p.beginLong(buf); !ok {
			*r = Request{Op: OpError, Status: StatusLineTooLong, Close: true}
			return len(buf), true
		}
		used, ok := p.nextKey(buf[n:], r)
		return n + used, ok
	}
	line := buf[:end]
	if end > 1 && line[end-1] == '\r' {
		line = line[:end-1]
	}
	*r = Request{}
	if bytes.IndexByte(line, 0) >= 0 {
		return end + 1, fail(r, StatusUnknownCommand)
	}
	var t tokens
	t.split(line)
	if t.n == 0 || len(t.tok[0]) < 2 {
		return end + 1, fail(r, StatusUnknownCommand)
	}
	if word := t.tok[0]; len(word) == 2 && isMeta(word) {
		return p.metaCommand(word[1], line[t.end[0]:], buf, end+1, r)
	}
	op := lookup(t.tok[0])
	switch op {
	case OpGet, OpGetAndTouch:
		start, ok := p.beginList(&t, line, r)
		if !ok {
			return end + 1, true
		}
		used, ok := p.nextKey(buf[start:], r)
		return start + used, ok
	case OpSet, OpAdd, OpReplace, OpAppend, OpPrepend, OpCAS:
		return p.store(op, &t, buf, end+1, r)
	}
	simple(op, &t, line, r)
	return end + 1, true
}

// fail makes r an error; the value is for the caller to return.
func fail(r *Request, s Status) bool {
	r.Op, r.Status = OpError, s
	return true
}

// tokens are the words of a line, split at spaces. No command but a list of
// keys has more than eight.
type tokens struct {
	tok [9][]byte
	n   int
	end [2]int // index in the line after the first and second word
}

func (t *tokens) split(line []byte) {
	for i := 0; i < len(line) && t.n < len(t.tok); {
		if line[i] == ' ' {
			i++
			continue
		}
		end := bytes.IndexByte(line[i:], ' ')
		if end < 0 {
			end = len(line) - i
		}
		t.tok[t.n] = line[i : i+end]
		i += end
		if t.n < len(t.end) {
			t.end[t.n] = i
		}
		t.n++
	}
}

// noreply says whether the last word asks for silence.
func (t *tokens) noreply() bool { return string(t.tok[t.n-1]) == "noreply" }

func lookup(word []byte) Op {
	switch string(word) {
	case "get", "gets", "bget":
		return OpGet
	case "gat", "gats":
		return OpGetAndTouch
	case "set":
		return OpSet
	case "add":
		return OpAdd
	case "replace":
		return OpReplace
	case "append":
		return OpAppend
	case "prepend":
		return OpPrepend
	case "cas":
		return OpCAS
	case "delete":
		return OpDelete
	case "incr":
		return OpIncr
	case "decr":
		return OpDecr
	case "touch":
		return OpTouch
	case "version":
		return OpVersion
	case "verbosity":
		return OpVerbosity
	case "stats":
		return OpStats
	case "flush_all":
		return OpFlushAll
	case "quit":
		return OpQuit
	case "shutdown":
		return OpShutdown
	case "mn":
		return OpNoop
	}
	return OpError
}

// store parses the header of a command that carries a value, of which head
// bytes of buf are the line, and then the value.
func (p *TextParser) store(op Op, t *tokens, buf []byte, head int, r *Request) (n int, ok bool) {
	args := 5
	if op == OpCAS {
		args = 6
	}
	if t.n != args && t.n != args+1 {
		return head, fail(r, StatusUnknownCommand)
	}
	r.Noreply = t.noreply()
	flags, ok1 := subjects.ParseUint(t.tok[2])
	exptime, ok2 := subjects.ParseInt(t.tok[3])
	length, ok3 := subjects.ParseInt(t.tok[4])
	if op == OpCAS {
		var ok4 bool
		r.CAS, ok4 = subjects.ParseUint(t.tok[5])
		ok3 = ok3 && ok4
	}
	const maxInt32 = 1<<31 - 1
	if len(t.tok[1]) > MaxKey || !ok1 || !ok2 || !ok3 || length < 0 || length > maxInt32-2 {
		return head, fail(r, StatusBadFormat)
	}
	r.Key, r.Flags, r.Exptime = t.tok[1], uint32(flags), exptime
	if length > int64(p.MaxValue) {
		r.Op, r.TooLarge = op, true
		p.swallow = int(length) + 2
		return head, true
	}
	r.Op = op
	return p.body(buf, head, int(length), r)
}

// body takes the value that follows a line of head bytes, once it is there.
func (p *TextParser) body(buf []byte, head, length int, r *Request) (n int, ok bool) {
	end := head + length
	if len(buf) < end+2 {
		return p.await(head, end+2, end+2, r)
	}
	if buf[end] != '\r' || buf[end+1] != '\n' {
		return end + 2, fail(r, StatusBadChunk)
	}
	r.Value = buf[head:end:end]
	return end + 2, true
}

// simple parses the commands that are a line and no list of keys.
func simple(op Op, t *tokens, line []byte, r *Request) {
	r.Op = op
	switch op {
	case OpDelete:
		simpleDelete(t, r)
	case OpIncr, OpDecr, OpTouch:
		simpleNumber(op, t, r)
	case OpVerbosity:
		if t.n != 2 && t.n != 3 {
			fail(r, StatusUnknownCommand)
			return
		}
		r.Noreply = t.noreply()
		if _, ok := subjects.ParseUint(t.tok[1]); !ok {
			fail(r, StatusBadFormat)
		}
	case OpFlushAll:
		simpleFlush(t, r)
	case OpStats:
		r.Args = line[t.end[0]:]
	case OpError:
		r.Status = StatusUnknownCommand
		// A browser, or somebody who makes one send our commands, is not
		// talked to. A command that memcached knows by its first letter has
		// been answered with ERROR before it looks for this.
		last := line[bytes.LastIndexByte(bytes.TrimRight(line, " "), ' ')+1:]
		if bytes.HasPrefix(last, []byte("HTTP/")) && bytes.IndexByte([]byte("gsacidt"), t.tok[0][0]) < 0 {
			r.Noreply, r.Close = true, true
		}
	}
}

func simpleDelete(t *tokens, r *Request) {
	if t.n < 2 || t.n > 4 {
		fail(r, StatusUnknownCommand)
		return
	}
	if t.n > 2 {
		// Once there was a time to hold the key; 0 is still allowed.
		zero := string(t.tok[2]) == "0"
		r.Noreply = t.noreply()
		if !(t.n == 3 && (zero || r.Noreply) || t.n == 4 && zero && r.Noreply) {
			fail(r, StatusDeleteUsage)
			return
		}
	}
	if r.Key = t.tok[1]; len(r.Key) > MaxKey {
		fail(r, StatusBadFormat)
	}
}

func simpleNumber(op Op, t *tokens, r *Request) {
	if t.n != 3 && t.n != 4 {
		fail(r, StatusUnknownCommand)
		return
	}
	r.Noreply = t.noreply()
	if r.Key = t.tok[1]; len(r.Key) > MaxKey {
		fail(r, StatusBadFormat)
		return
	}
	var ok bool
	if op == OpTouch {
		if r.Exptime, ok = subjects.ParseInt(t.tok[2]); !ok {
			fail(r, StatusBadExptime)
		}
	} else if r.Delta, ok = subjects.ParseUint(t.tok[2]); !ok {
		fail(r, StatusBadDelta)
	}
}

func simpleFlush(t *tokens, r *Request) {
	if t.n > 3 {
		fail(r, StatusUnknownCommand)
		return
	}
	r.Noreply = t.noreply()
	plain := 1
	if r.Noreply {
		plain = 2
	}
	if t.n != plain {
		var ok bool
		if r.Exptime, ok = subjects.ParseInt(t.tok[1]); !ok {
			// Kept as a flush, so that one that is not allowed says that first.
			r.Status = StatusBadExptime
		}
	}
}
