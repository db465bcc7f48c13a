package memcache

import "encoding/binary"

// The first byte of a binary packet.
const (
	magicRequest = 0x80
	magicReply   = 0x81
)

const binaryHeader = 24 // bytes

// maxBody is the longest body in bytes that memcached takes, whatever the size
// of its items.
const maxBody = 1 << 30

// The binary protocol's opcodes that mean something. Where memcached 1.6 knows
// nothing of an opcode (verbosity is one), it is unknown here, too.
const (
	opcodeGet      = 0x00
	opcodeSet      = 0x01
	opcodeAdd      = 0x02
	opcodeReplace  = 0x03
	opcodeDelete   = 0x04
	opcodeIncr     = 0x05
	opcodeDecr     = 0x06
	opcodeQuit     = 0x07
	opcodeFlush    = 0x08
	opcodeGetQ     = 0x09
	opcodeNoop     = 0x0a
	opcodeVersion  = 0x0b
	opcodeGetK     = 0x0c
	opcodeGetKQ    = 0x0d
	opcodeAppend   = 0x0e
	opcodePrepend  = 0x0f
	opcodeStat     = 0x10
	opcodeSetQ     = 0x11
	opcodeAddQ     = 0x12
	opcodeReplaceQ = 0x13
	opcodeDeleteQ  = 0x14
	opcodeIncrQ    = 0x15
	opcodeDecrQ    = 0x16
	opcodeQuitQ    = 0x17
	opcodeFlushQ   = 0x18
	opcodeAppendQ  = 0x19
	opcodePrependQ = 0x1a
	opcodeTouch    = 0x1c
	opcodeGAT      = 0x1d
	opcodeGATQ     = 0x1e
	opcodeSASLList = 0x20
	opcodeSASLAuth = 0x21
	opcodeSASLStep = 0x22
	opcodeGATK     = 0x23
	opcodeGATKQ    = 0x24
	numOpcodes     = 0x25
)

// body says what may stand behind a header.
type body uint8

const (
	bodyEmpty body = iota
	bodyKey        // a key and nothing else
	bodyValue      // a key and a value, which may be empty
	bodyGroup      // a key or none
)

// opcode is which operation an opcode is and what its packet holds. Without an
// operation it is unknown.
type opcode struct {
	op    Op
	quiet bool
	key   bool  // the answer holds the key
	extra uint8 // bytes of extras
	body  body
}

var opcodes = [numOpcodes]opcode{
	opcodeGet:      {op: OpGet, body: bodyKey},
	opcodeGetQ:     {op: OpGet, body: bodyKey, quiet: true},
	opcodeGetK:     {op: OpGet, body: bodyKey, key: true},
	opcodeGetKQ:    {op: OpGet, body: bodyKey, key: true, quiet: true},
	opcodeSet:      {op: OpSet, extra: 8, body: bodyValue},
	opcodeSetQ:     {op: OpSet, extra: 8, body: bodyValue, quiet: true},
	opcodeAdd:      {op: OpAdd, extra: 8, body: bodyValue},
	opcodeAddQ:     {op: OpAdd, extra: 8, body: bodyValue, quiet: true},
	opcodeReplace:  {op: OpReplace, extra: 8, body: bodyValue},
	opcodeReplaceQ: {op: OpReplace, extra: 8, body: bodyValue, quiet: true},
	opcodeAppend:   {op: OpAppend, body: bodyValue},
	opcodeAppendQ:  {op: OpAppend, body: bodyValue, quiet: true},
	opcodePrepend:  {op: OpPrepend, body: bodyValue},
	opcodePrependQ: {op: OpPrepend, body: bodyValue, quiet: true},
	opcodeDelete:   {op: OpDelete, body: bodyKey},
	opcodeDeleteQ:  {op: OpDelete, body: bodyKey, quiet: true},
	opcodeIncr:     {op: OpIncr, extra: 20, body: bodyKey},
	opcodeIncrQ:    {op: OpIncr, extra: 20, body: bodyKey, quiet: true},
	opcodeDecr:     {op: OpDecr, extra: 20, body: bodyKey},
	opcodeDecrQ:    {op: OpDecr, extra: 20, body: bodyKey, quiet: true},
	opcodeTouch:    {op: OpTouch, extra: 4, body: bodyKey},
	opcodeGAT:      {op: OpGetAndTouch, extra: 4, body: bodyKey},
	opcodeGATQ:     {op: OpGetAndTouch, extra: 4, body: bodyKey, quiet: true},
	opcodeGATK:     {op: OpGetAndTouch, extra: 4, body: bodyKey, key: true},
	opcodeGATKQ:    {op: OpGetAndTouch, extra: 4, body: bodyKey, key: true, quiet: true},
	opcodeQuit:     {op: OpQuit},
	opcodeQuitQ:    {op: OpQuit, quiet: true},
	opcodeFlush:    {op: OpFlushAll, extra: 4}, // which may be missing
	opcodeFlushQ:   {op: OpFlushAll, extra: 4, quiet: true},
	opcodeNoop:     {op: OpNoop},
	opcodeVersion:  {op: OpVersion},
	opcodeStat:     {op: OpStats, body: bodyGroup},
	// Unless clients authenticate these are unknown, but their form is looked at first.
	opcodeSASLList: {op: OpMechanisms},
	opcodeSASLAuth: {op: OpAuth, body: bodyValue},
	opcodeSASLStep: {op: OpAuth, body: bodyValue},
}

// BinaryParser takes requests of the binary protocol off a stream. It behaves as
// memcached 1.6 does, with -S if Auth is set, except that
//   - the body of an unknown opcode is passed over once, where memcached passes
//     over as much again as key and extras are long;
//   - a packet of touch, gat or stat that is longer than it should be is an
//     error, where memcached takes the rest for the next packet.
//
// The zero parser is ready once MaxValue is set.
type BinaryParser struct {
	MaxValue int  // bytes of a value; larger ones are passed over
	Auth     bool // the client has to authenticate first; see Admit

	intake
	gate
}

// Next takes the first request from buf into r, as TextParser.Next does.
func (p *BinaryParser) Next(buf []byte, r *Request) (n int, ok bool) {
	n, ok = p.pass(buf)
	if !ok {
		return n, false
	}
	used, ok := p.packet(buf[n:], r)
	return n + used, ok
}

// packet parses the packet at the start of buf.
func (p *BinaryParser) packet(buf []byte, r *Request) (n int, ok bool) {
	if len(buf) > 0 && buf[0] != magicRequest {
		// memcached says nothing: there is no packet to answer.
		*r = Request{Op: OpError, Syntax: SyntaxBinary, Status: StatusNoSyntax, Noreply: true, Close: true}
		return len(buf), true
	}
	if len(buf) < binaryHeader {
		return 0, false
	}
	*r = Request{
		Syntax: SyntaxBinary, Opcode: buf[1],
		Opaque: binary.BigEndian.Uint32(buf[12:]), CAS: binary.BigEndian.Uint64(buf[16:]),
	}
	nkey, nextra := int(binary.BigEndian.Uint16(buf[2:])), int(buf[4])
	nbody := int(binary.BigEndian.Uint32(buf[8:]))
	switch {
	case nkey+nextra > nbody:
		return p.broken(buf, r, StatusBadLength)
	case nbody > maxBody:
		return p.broken(buf, r, StatusBadPacket)
	case p.Auth && !p.admitted && !open(r.Opcode):
		return p.broken(buf, r, StatusUnauthenticated)
	case nkey > MaxKey:
		return p.broken(buf, r, StatusBadPacket)
	case r.Opcode >= numOpcodes || opcodes[r.Opcode].op == OpNone:
		p.swallow = nbody
		return binaryHeader, fail(r, StatusUnknownCommand)
	}
	o := &opcodes[r.Opcode]
	r.Quiet = o.quiet
	if !o.fits(nextra, nkey, nbody) {
		return p.broken(buf, r, StatusBadPacket)
	}
	if o.op == OpAuth || o.op == OpMechanisms {
		if p.Auth {
			return p.sasl(buf, nkey, nbody, r)
		}
		p.swallow = nbody
		return binaryHeader, fail(r, StatusUnknownCommand)
	}
	head := binaryHeader + nextra + nkey
	length := nbody - nextra - nkey
	large := length > p.MaxValue
	need := binaryHeader + nbody
	if large {
		need = head
	}
	if len(buf) < need {
		return p.await(binaryHeader, need, binaryHeader+nbody, r)
	}
	r.Op = o.op
	r.extras(buf[binaryHeader : binaryHeader+nextra])
	key := buf[head-nkey : head : head]
	if r.Op == OpStats {
		r.Args = key
	} else if nkey > 0 {
		r.Key = key
	}
	if large {
		r.TooLarge = true
		p.swallow = length
		return head, true
	}
	if o.body == bodyValue {
		r.Value = buf[head:need:need]
	}
	return need, true
}

// fits tells whether the lengths of a packet are those of its opcode.
func (o *opcode) fits(nextra, nkey, nbody int) bool {
	if nextra != int(o.extra) && !(o.op == OpFlushAll && nextra == 0) {
		return false
	}
	switch o.body {
	case bodyEmpty:
		return nkey == 0 && nbody == nextra
	case bodyKey:
		return nkey > 0 && nbody == nextra+nkey
	case bodyValue:
		return nkey > 0
	}
	return nbody == nextra+nkey
}

// broken ends a connection on which nobody knows where the next packet begins.
func (p *BinaryParser) broken(buf []byte, r *Request, why Status) (n int, ok bool) {
	r.Close = true
	return len(buf), fail(r, why)
}

// noCreation is the expiry time with which incr and decr make no counter.
const noCreation = 1<<32 - 1

// extras takes what stands between header and key.
func (r *Request) extras(b []byte) {
	switch r.Op {
	case OpSet, OpAdd, OpReplace:
		r.Flags = binary.BigEndian.Uint32(b)
		r.Exptime = int64(binary.BigEndian.Uint32(b[4:]))
		if r.CAS != 0 {
			r.Op = OpCAS
		}
	case OpIncr, OpDecr:
		r.Delta = binary.BigEndian.Uint64(b)
		r.Initial = binary.BigEndian.Uint64(b[8:])
		fresh := binary.BigEndian.Uint32(b[16:])
		r.Fresh, r.Vivify = int64(fresh), fresh != noCreation
	case OpTouch, OpGetAndTouch:
		r.Exptime = int64(binary.BigEndian.Uint32(b))
	case OpFlushAll:
		if len(b) > 0 {
			r.Exptime = int64(binary.BigEndian.Uint32(b))
		}
	}
}
