package memcache

import "strconv"

// Append appends the answer to r in the syntax in which r was written.
func Append(dst []byte, r *Request, a *Reply) []byte {
	switch r.Syntax {
	case SyntaxMeta:
		return AppendMeta(dst, r, a)
	case SyntaxBinary:
		return AppendBinary(dst, r, a)
	}
	return AppendText(dst, r, a)
}

// ReturnsKey tells whether the answer may hold the key.
func (r *Request) ReturnsKey() bool {
	switch r.Syntax {
	case SyntaxMeta:
		return r.Op == OpDebug || r.Meta.wants('k')
	case SyntaxBinary:
		return int(r.Opcode) < len(opcodes) && opcodes[r.Opcode].key
	}
	return r.Op == OpGet || r.Op == OpGetAndTouch
}

// AppendText appends the answer to r in the text protocol. Of a list of keys
// it is r's part: a value, if there is one, and the end, if r is the last.
func AppendText(dst []byte, r *Request, a *Reply) []byte {
	if r.Noreply {
		return dst
	}
	switch {
	case r.Op == OpListEnd:
		return append(dst, "END\r\n"...)
	case r.Op == OpQuit:
		return dst
	case a.Status.IsError():
		return appendLine(dst, a.Status.String())
	}
	switch r.Op {
	case OpGet, OpGetAndTouch:
		if a.Status == StatusOK {
			dst = appendValue(dst, r, a)
		}
		if !r.More {
			dst = append(dst, "END\r\n"...)
		}
		return dst
	case OpVersion:
		return append(append(append(dst, "VERSION "...), a.Value...), "\r\n"...)
	case OpStats:
		return append(dst, a.Value...)
	case OpNoop:
		return append(dst, "MN\r\n"...)
	}
	if a.Status != StatusOK {
		return appendLine(dst, a.Status.String())
	}
	switch r.Op {
	case OpIncr, OpDecr:
		return append(strconv.AppendUint(dst, a.Number, 10), "\r\n"...)
	case OpDelete:
		return append(dst, "DELETED\r\n"...)
	case OpTouch:
		return append(dst, "TOUCHED\r\n"...)
	case OpSet, OpAdd, OpReplace, OpAppend, OpPrepend, OpCAS, OpAuth:
		return append(dst, "STORED\r\n"...)
	}
	return append(dst, "OK\r\n"...)
}

func appendLine(dst []byte, line string) []byte {
	return append(append(dst, line...), "\r\n"...)
}

func appendValue(dst []byte, r *Request, a *Reply) []byte {
	dst = append(append(dst, "VALUE "...), r.Key...)
	dst = strconv.AppendUint(append(dst, ' '), uint64(a.Flags), 10)
	dst = strconv.AppendUint(append(dst, ' '), uint64(len(a.Value)), 10)
	if r.WantCAS {
		dst = strconv.AppendUint(append(dst, ' '), a.CAS, 10)
	}
	dst = append(append(dst, "\r\n"...), a.Value...)
	return append(dst, "\r\n"...)
}

var textWords = [...]string{
	OpGet: "get", OpGetAndTouch: "gat", OpSet: "set", OpAdd: "add", OpReplace: "replace",
	OpAppend: "append", OpPrepend: "prepend", OpCAS: "cas", OpDelete: "delete",
	OpIncr: "incr", OpDecr: "decr", OpTouch: "touch", OpVersion: "version",
	OpVerbosity: "verbosity 1", OpStats: "stats", OpFlushAll: "flush_all", OpQuit: "quit",
	OpShutdown: "shutdown", OpNoop: "mn",
}

// AppendTextRequest appends r as a client writes it in the text protocol; the
// parts of a list make one line when they are appended in turn. The inverse of
// TextParser.Next for requests other than errors.
func AppendTextRequest(dst []byte, r *Request) []byte {
	switch r.Op {
	case OpListEnd:
		return append(dst, "\r\n"...)
	case OpAuth:
		return appendTextAuth(dst, r)
	}
	if !r.Cont {
		dst = append(dst, textWords[r.Op]...)
		if r.WantCAS {
			dst = append(dst, 's')
		}
		if r.Op == OpGetAndTouch {
			dst = strconv.AppendInt(append(dst, ' '), r.Exptime, 10)
		}
	}
	if r.Op.IsKeyed() {
		dst = append(append(dst, ' '), r.Key...)
	}
	switch {
	case r.Op.IsStore():
		dst = strconv.AppendUint(append(dst, ' '), uint64(r.Flags), 10)
		dst = strconv.AppendInt(append(dst, ' '), r.Exptime, 10)
		dst = strconv.AppendInt(append(dst, ' '), int64(len(r.Value)), 10)
		if r.Op == OpCAS {
			dst = strconv.AppendUint(append(dst, ' '), r.CAS, 10)
		}
	case r.Op == OpIncr || r.Op == OpDecr:
		dst = strconv.AppendUint(append(dst, ' '), r.Delta, 10)
	case r.Op == OpTouch || r.Op == OpFlushAll:
		dst = strconv.AppendInt(append(dst, ' '), r.Exptime, 10)
	case r.Op == OpStats:
		dst = append(dst, r.Args...)
	}
	if r.Noreply {
		dst = append(dst, " noreply"...)
	}
	if r.More {
		return dst
	}
	dst = append(dst, "\r\n"...)
	if r.Op.IsStore() {
		dst = append(append(dst, r.Value...), "\r\n"...)
	}
	return dst
}
