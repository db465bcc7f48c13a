package memcache

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// packet is a request of the binary protocol with any lengths.
func packet(opcode byte, nkey, nextra, nbody int, body string) []byte {
	b := []byte{magicRequest, opcode}
	b = binary.BigEndian.AppendUint16(b, uint16(nkey))
	b = append(b, byte(nextra), 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(nbody))
	b = binary.BigEndian.AppendUint32(b, 0xcafe0001)
	b = binary.BigEndian.AppendUint64(b, 0)
	return append(b, body...)
}

var noop = packet(opcodeNoop, 0, 0, 0, "")

func TestBinaryRequests(t *testing.T) {
	long := strings.Repeat("k", MaxKey+1)
	bad := func(s Status, closes bool) Request { return Request{Op: OpError, Status: s, Close: closes} }
	for name, c := range map[string]struct {
		in   []byte
		want Request
	}{
		"get":                {packet(opcodeGet, 1, 0, 1, "a"), Request{Op: OpGet, Key: key("a")}},
		"a key of any bytes": {packet(opcodeGetKQ, 3, 0, 3, "\x00\r\n"), Request{Op: OpGet, Key: key("\x00\r\n"), Quiet: true}},
		"set": {packet(opcodeSet, 1, 8, 11, "\x80\x00\x00\x01\xff\xff\xff\xffaxy"),
			Request{Op: OpSet, Key: key("a"), Value: key("xy"), Flags: 0x80000001, Exptime: 1<<32 - 1}},
		"an empty value":       {packet(opcodeAddQ, 1, 8, 9, "\x00\x00\x00\x00\x00\x00\x00\x00a"), Request{Op: OpAdd, Key: key("a"), Quiet: true}},
		"append":               {packet(opcodeAppend, 1, 0, 3, "axy"), Request{Op: OpAppend, Key: key("a"), Value: key("xy")}},
		"incr":                 {packet(opcodeIncr, 1, 20, 21, "\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x0aa"), Request{Op: OpIncr, Key: key("a"), Delta: 5, Initial: 9, Vivify: true, Fresh: 10}},
		"incr of what is":      {packet(opcodeDecrQ, 1, 20, 21, "\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x09\xff\xff\xff\xffa"), Request{Op: OpDecr, Key: key("a"), Delta: 5, Initial: 9, Fresh: 1<<32 - 1, Quiet: true}},
		"touch":                {packet(opcodeTouch, 1, 4, 5, "\x00\x00\x00\x0aa"), Request{Op: OpTouch, Key: key("a"), Exptime: 10}},
		"gat":                  {packet(opcodeGATKQ, 1, 4, 5, "\x00\x00\x00\x0aa"), Request{Op: OpGetAndTouch, Key: key("a"), Exptime: 10, Quiet: true}},
		"flush":                {packet(opcodeFlush, 0, 0, 0, ""), Request{Op: OpFlushAll}},
		"flush with a delay":   {packet(opcodeFlushQ, 0, 4, 4, "\x00\x00\x00\x0a"), Request{Op: OpFlushAll, Exptime: 10, Quiet: true}},
		"stat":                 {packet(opcodeStat, 0, 0, 0, ""), Request{Op: OpStats}},
		"stat of a group":      {packet(opcodeStat, 8, 0, 8, "settings"), Request{Op: OpStats, Args: key("settings")}},
		"version":              {packet(opcodeVersion, 0, 0, 0, ""), Request{Op: OpVersion}},
		"quit":                 {packet(opcodeQuitQ, 0, 0, 0, ""), Request{Op: OpQuit, Quiet: true}},
		"a value too large":    {packet(opcodeSet, 1, 8, 26, "\x00\x00\x00\x00\x00\x00\x00\x00a"+strings.Repeat("v", 17)), Request{Op: OpSet, Key: key("a"), TooLarge: true}},
		"an unknown opcode":    {packet(0x1b, 0, 4, 4, "\x00\x00\x00\x01"), bad(StatusUnknownCommand, false)},
		"a far opcode":         {packet(0xff, 1, 4, 7, "\x00\x00\x00\x01axy"), bad(StatusUnknownCommand, false)},
		"sasl":                 {packet(opcodeSASLAuth, 5, 0, 8, "PLAINabc"), bad(StatusUnknownCommand, false)},
		"sasl without a name":  {packet(opcodeSASLAuth, 0, 0, 3, "abc"), bad(StatusBadPacket, true)},
		"sasl list":            {packet(opcodeSASLList, 0, 0, 0, ""), bad(StatusUnknownCommand, false)},
		"a key beyond the end": {packet(opcodeGet, 5, 0, 1, "a"), bad(StatusBadLength, true)},
		"extras beyond":        {packet(opcodeSet, 1, 8, 8, "abcdefgh"), bad(StatusBadLength, true)},
		"a body of gigabytes":  {packet(opcodeSet, 1, 8, 1<<31, "\x00\x00\x00\x00\x00\x00\x00\x00a"), bad(StatusBadPacket, true)},
		"a key too long":       {packet(opcodeGet, 251, 0, 251, long), bad(StatusBadPacket, true)},
		"get without a key":    {packet(opcodeGet, 0, 0, 0, ""), bad(StatusBadPacket, true)},
		"get with extras":      {packet(opcodeGet, 1, 4, 5, "\x00\x00\x00\x01a"), bad(StatusBadPacket, true)},
		"get with a value":     {packet(opcodeGet, 1, 0, 3, "axy"), bad(StatusBadPacket, true)},
		"set without extras":   {packet(opcodeSet, 1, 0, 3, "axy"), bad(StatusBadPacket, true)},
		"noop with a key":      {packet(opcodeNoop, 1, 0, 1, "a"), bad(StatusBadPacket, true)},
		"no packet":            {[]byte("get a\r\n"), Request{Op: OpError, Status: StatusNoSyntax, Noreply: true, Close: true}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 30, 1 << 20} {
				got := parseAll(t, &BinaryParser{MaxValue: 16}, append(c.in[:len(c.in):len(c.in)], noop...), piece)
				if !c.want.Close && (len(got) != 2 || got[1].Op != OpNoop) {
					t.Fatalf("in pieces of %d: not one request and what follows: %+v", piece, got)
				}
				want := c.want
				want.Syntax = SyntaxBinary
				if !want.Noreply {
					want.Opcode, want.Opaque = c.in[1], 0xcafe0001
				}
				got = got[:1]
				if got[0].Op == OpError {
					got[0].Quiet = false
				}
				if d := same([]Request{want}, got); d != "" {
					t.Errorf("in pieces of %d (-want +got):\n%s", piece, d)
				}
			}
		})
	}
}

func TestBinaryReplies(t *testing.T) {
	full := Reply{Value: key("xy"), Flags: 7, CAS: 9, Number: 1 << 32}
	status := func(s Status) Reply { return Reply{Status: s} }
	for _, c := range []struct {
		opcode byte
		op     Op
		a      Reply
		want   string // header without magic, opcode and opaque, then the body
	}{
		{opcodeGet, OpGet, full, "0000 04 00 0000 00000006 0000000000000009 00000007" + "7879"},
		{opcodeGetK, OpGet, full, "0001 04 00 0000 00000007 0000000000000009 00000007" + "61" + "7879"},
		{opcodeGet, OpGet, status(StatusNotFound), "0000 00 00 0001 00000009 0000000000000000" + hex.EncodeToString([]byte("Not found"))},
		{opcodeGetK, OpGet, status(StatusNotFound), "0001 00 00 0001 00000001 0000000000000000 61"},
		{opcodeGetQ, OpGet, status(StatusNotFound), ""},
		{opcodeGetQ, OpGet, status(StatusBusy), "0000 00 00 0085 0000001d 0000000000000000" + hex.EncodeToString([]byte("Too many requests are waiting"))},
		{opcodeSet, OpSet, full, "0000 00 00 0000 00000000 0000000000000009"},
		{opcodeSet, OpCAS, full, "0000 00 00 0000 00000000 0000000000000009"},
		{opcodeSetQ, OpSet, full, ""},
		{opcodeSetQ, OpCAS, status(StatusExists), "0000 00 00 0002 00000014 0000000000000000" + hex.EncodeToString([]byte("Data exists for key."))},
		{opcodeAdd, OpAdd, status(StatusNotStored), "0000 00 00 0002 00000014 0000000000000000" + hex.EncodeToString([]byte("Data exists for key."))},
		{opcodeReplace, OpReplace, status(StatusNotStored), "0000 00 00 0001 00000009 0000000000000000" + hex.EncodeToString([]byte("Not found"))},
		{opcodeAppend, OpAppend, status(StatusNotStored), "0000 00 00 0005 0000000b 0000000000000000" + hex.EncodeToString([]byte("Not stored."))},
		{opcodeSet, OpSet, status(StatusTooLarge), "0000 00 00 0003 0000000a 0000000000000000" + hex.EncodeToString([]byte("Too large."))},
		{opcodeDelete, OpDelete, full, "0000 00 00 0000 00000000 0000000000000000"},
		{opcodeIncr, OpIncr, full, "0000 00 00 0000 00000008 0000000000000009 0000000100000000"},
		{opcodeIncrQ, OpIncr, full, ""},
		{opcodeTouch, OpTouch, full, "0000 04 00 0000 00000004 0000000000000009 00000007"},
		{opcodeGATQ, OpGetAndTouch, status(StatusNotFound), ""},
		{opcodeFlush, OpFlushAll, status(StatusFlushDisabled), "0000 00 00 0020 0000000d 0000000000000000" + hex.EncodeToString([]byte("Auth failure."))},
		{opcodeVersion, OpVersion, Reply{Value: key("1.6")}, "0000 00 00 0000 00000003 0000000000000000 312e36"},
		{opcodeQuit, OpQuit, Reply{}, "0000 00 00 0000 00000000 0000000000000000"},
		{opcodeQuitQ, OpQuit, Reply{}, ""},
		{0xff, OpError, status(StatusUnknownCommand), "0000 00 00 0081 0000000f 0000000000000000" + hex.EncodeToString([]byte("Unknown command"))},
	} {
		r := Request{Syntax: SyntaxBinary, Op: c.op, Opcode: c.opcode, Opaque: 0xcafe0001, Key: key("a")}
		if int(c.opcode) < len(opcodes) {
			r.Quiet = opcodes[c.opcode].quiet
		}
		got := hex.EncodeToString(AppendBinary(nil, &r, &c.a))
		want := strings.ReplaceAll(c.want, " ", "")
		if want != "" {
			want = "81" + hex.EncodeToString([]byte{c.opcode}) + want[:20] + "cafe0001" + want[20:]
		}
		if got != want {
			t.Errorf("opcode %#x, %v:\n got %s\nwant %s", c.opcode, c.a.Status, got, want)
		}
	}
}

// A statistic is a packet, and the end is one without a key.
func TestBinaryStats(t *testing.T) {
	r := Request{Syntax: SyntaxBinary, Op: OpStats, Opcode: opcodeStat}
	for text, want := range map[string][]string{
		"STAT pid 12\r\nSTAT version 1.6 x\r\nEND\r\n": {"pid=12", "version=1.6 x"},
		"RESET\r\n": nil,
		"END\r\n":   nil,
	} {
		out := AppendBinary(nil, &r, &Reply{Value: []byte(text)})
		var got []string
		for len(out) > binaryHeader && out[3] > 0 {
			n, nkey := binary.BigEndian.Uint32(out[8:]), out[3]
			body := out[binaryHeader : binaryHeader+n]
			got = append(got, string(body[:nkey])+"="+string(body[nkey:]))
			out = out[binaryHeader+n:]
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") || len(out) != binaryHeader {
			t.Errorf("%q: %q and %x", text, got, out)
		}
	}
}

func drawBinary(t *rapid.T) Request {
	r := Request{Syntax: SyntaxBinary, Opaque: rapid.Uint32().Draw(t, "opaque")}
	for r.Op == OpNone || r.Op == OpAuth || r.Op == OpMechanisms {
		r.Opcode = byte(rapid.IntRange(0, numOpcodes-1).Draw(t, "opcode"))
		r.Op = opcodes[r.Opcode].op
	}
	o := &opcodes[r.Opcode]
	r.Quiet = o.quiet
	if r.CAS = rapid.Uint64().Draw(t, "cas"); r.CAS != 0 && o.extra == 8 {
		r.Op = OpCAS
	}
	k := clone(rapid.SliceOfN(rapid.Byte(), 1, MaxKey).Draw(t, "key"))
	switch {
	case o.body == bodyGroup:
		r.Args = k
	case o.body != bodyEmpty:
		r.Key = k
	}
	switch o.extra {
	case 8:
		r.Flags = rapid.Uint32().Draw(t, "flags")
		r.Exptime = int64(rapid.Uint32().Draw(t, "exptime"))
	case 4:
		r.Exptime = int64(rapid.Uint32().Draw(t, "exptime"))
	case 20:
		r.Delta, r.Initial = rapid.Uint64().Draw(t, "delta"), rapid.Uint64().Draw(t, "initial")
		r.Fresh = int64(rapid.Uint32().Draw(t, "fresh"))
		r.Vivify = r.Fresh != noCreation
	}
	if o.body == bodyValue {
		r.Value = clone(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value"))
	}
	return r
}

// What is printed is what is parsed, however the stream is cut.
func TestBinaryParsePrintIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []Request
		var in []byte
		for range rapid.IntRange(1, 8).Draw(t, "commands") {
			r := drawBinary(t)
			want = append(want, r)
			in = AppendBinaryRequest(in, &r)
		}
		got := parseAll(t, &BinaryParser{MaxValue: 300}, in, rapid.IntRange(1, 200).Draw(t, "piece"))
		if d := same(want, got); d != "" {
			t.Fatalf("-want +got:\n%s\n%x", d, in)
		}
	})
}

// A body that the connection has no room for is passed over, and what follows
// is taken.
func TestBinaryRefuse(t *testing.T) {
	in := packet(opcodeSet, 1, 8, 109, "\x00\x00\x00\x00\x00\x00\x00\x00a"+strings.Repeat("v", 100))
	p := &BinaryParser{MaxValue: 1000}
	var r Request
	if n, ok := p.Next(in[:40], &r); n != 0 || ok || p.Want() != len(in) {
		t.Fatalf("Next = %d, %v and wants %d", n, ok, p.Want())
	}
	p.Refuse(StatusBusy)
	rest := append(in[40:], noop...)
	n, ok := p.Next(in[:40], &r)
	if !ok || r.Status != StatusBusy || r.Opaque != 0xcafe0001 {
		t.Fatalf("Next = %d, %v: %+v", n, ok, r)
	}
	rest = append(in[n:40:40], rest...)
	got := parseAll(t, p, rest, 10)
	if len(got) != 1 || got[0].Op != OpNoop {
		t.Errorf("then %+v", got)
	}
}
