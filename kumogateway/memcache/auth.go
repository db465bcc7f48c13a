package memcache

import (
	"bytes"

	"github.com/etolabo/kumofs/subjects"
)

// Limits of what authenticates, as in memcached.
const (
	maxAuth      = 16384 // bytes that hold user and password
	maxMechanism = 32    // bytes of a SASL mechanism's name
)

// Mechanism is the one that SASL has here.
const Mechanism = "PLAIN"

// gate is what parsers of all syntaxes know of authentication.
type gate struct {
	admitted bool // Admit was called
	begun    bool // SASL: PLAIN was chosen, its data may come in a step of its own
}

// Admit lets the client in, whose last request was an OpAuth that named a user
// and the right password.
func (g *gate) Admit() { g.admitted = true }

// authenticate parses what comes before Admit: a set of any key whose value is
// "USER PASSWORD". All else is refused.
func (p *TextParser) authenticate(buf []byte, r *Request) (n int, ok bool) {
	*r = Request{}
	end := bytes.IndexByte(buf, '\n')
	if end < 0 {
		if len(buf) <= MaxLine {
			return 0, false
		}
		r.Close = true
		return len(buf), fail(r, StatusLineTooLong)
	}
	var t tokens
	t.split(bytes.TrimSuffix(buf[:end], []byte("\r")))
	if t.n == 1 && string(t.tok[0]) == "quit" {
		r.Op = OpQuit
		return end + 1, true
	}
	if t.n < 5 || string(t.tok[0]) != "set" {
		return end + 1, fail(r, StatusUnauthenticated)
	}
	length, ok := subjects.ParseUint(t.tok[4])
	switch {
	case !ok:
		return end + 1, fail(r, StatusUnauthenticated)
	case length > maxAuth: // and what follows is taken for commands, as memcached does
		return end + 1, fail(r, StatusAuthTooLong)
	}
	n, ok = p.body(buf, end+1, int(length), r)
	switch {
	case !ok:
		return n, false
	case r.Status == StatusBadChunk:
		r.Status = StatusAuthEnd
	case r.Op == OpNone:
		r.Op = OpAuth
		if r.Key, r.Value, ok = bytes.Cut(r.Value, []byte(" ")); !ok {
			*r = Request{Op: OpError, Status: StatusAuthFormat}
		}
	}
	return n, true
}

// open tells whether an opcode means something before Admit.
func open(opcode byte) bool {
	switch opcode {
	case opcodeSASLList, opcodeSASLAuth, opcodeSASLStep, opcodeVersion:
		return true
	}
	return false
}

// sasl parses the packets of SASL, each of which begins anew: who was let in
// before is let in again or not at all.
func (p *BinaryParser) sasl(buf []byte, nkey, nbody int, r *Request) (n int, ok bool) {
	p.admitted = false
	if r.Opcode == opcodeSASLList {
		r.Op = OpMechanisms
		return binaryHeader, true
	}
	begun := p.begun
	need := binaryHeader + nbody
	switch {
	case nkey > maxMechanism:
		p.swallow = nbody
		return binaryHeader, fail(r, StatusBadPacket)
	case nbody > maxAuth:
		p.begun, p.swallow = false, nbody
		return binaryHeader, fail(r, StatusAuthFailed)
	case len(buf) < need:
		return p.await(binaryHeader, need, need, r)
	}
	if r.Opcode == opcodeSASLAuth {
		begun = bytes.EqualFold(buf[binaryHeader:binaryHeader+nkey], []byte(Mechanism))
	}
	data := buf[binaryHeader+nkey : need : need]
	p.begun = false
	if begun && len(data) == 0 && r.Opcode == opcodeSASLAuth {
		p.begun = true
		return need, fail(r, StatusAuthContinue)
	}
	if !begun || !r.plain(data) {
		return need, fail(r, StatusAuthFailed)
	}
	return need, true
}

// plain takes user and password from the data of SASL's PLAIN (RFC 4616): whom
// to act for, which is nobody else here, user, password.
func (r *Request) plain(data []byte) bool {
	behalf, data, ok1 := bytes.Cut(data, []byte{0})
	user, password, ok2 := bytes.Cut(data, []byte{0})
	if !ok1 || !ok2 || len(behalf) > 0 && !bytes.Equal(behalf, user) {
		return false
	}
	r.Op, r.Key, r.Value = OpAuth, user, password
	return true
}

// appendTextAuth appends an OpAuth as a client writes it.
func appendTextAuth(dst []byte, r *Request) []byte {
	value := append(append(bytes.Clone(r.Key), ' '), r.Value...)
	return AppendTextRequest(dst, &Request{Op: OpSet, Key: []byte("auth"), Value: value})
}

// appendBinaryAuth appends an OpAuth, whose opcode is that of a start or of a
// step.
func appendBinaryAuth(dst []byte, r *Request) []byte {
	data := append(append([]byte{0}, r.Key...), 0)
	as := *r
	as.Op, as.Key, as.Value = OpError, []byte(Mechanism), append(data, r.Value...)
	return AppendBinaryRequest(dst, &as)
}
