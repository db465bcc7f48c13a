package memcache

import (
	"bytes"
	"math"
	"runtime"
	"strings"
	"testing"
)

// The fuzz targets hold of every codec: it does not panic; a stream in pieces is
// taken as the whole is; what is taken, printed as a client writes it, is taken
// again as the same; and what the parser keeps is within bounds.

// fuzzValue is the largest value, small enough for the fuzzer to go beyond.
const fuzzValue = 64

// mostKept is how many bytes a parser may keep of an input. What it allocates
// counts, whether it keeps it or not.
func mostKept(in []byte) uint64 { return 2*uint64(len(in)) + 64<<10 }

// mostWanted is the largest request that a parser may wait for.
const mostWanted = MaxLine + 2 + maxAuth + 2

// checkKept parses an input that is there as a whole and looks at what that
// takes.
func checkKept(t *testing.T, p parser, in []byte) {
	t.Helper()
	buf := bytes.Clone(in)
	var before, after runtime.MemStats
	var r Request
	runtime.ReadMemStats(&before)
	for n, ok := p.Next(buf, &r); ok || n > 0; n, ok = p.Next(buf, &r) {
		if ok && r.Close {
			break
		}
		if buf = buf[n:]; right(&r) && ok {
			p.Admit()
		}
	}
	runtime.ReadMemStats(&after)
	if kept := after.TotalAlloc - before.TotalAlloc; kept > mostKept(in) {
		t.Fatalf("%d bytes of input take %d", len(in), kept)
	}
	if p.Want() > mostWanted {
		t.Fatalf("%d bytes of input want %d", len(in), p.Want())
	}
}

// checkRequests looks at requests that were taken, and prints answers to them.
func checkRequests(t *testing.T, all []Request) {
	t.Helper()
	for i := range all {
		r := &all[i]
		limit := fuzzValue
		if r.Op == OpAuth {
			limit = maxAuth
		} else if len(r.Key) > MaxKey && r.Op != OpError {
			t.Fatalf("a key over the limit: %+v", r)
		}
		if len(r.Value) > limit {
			t.Fatalf("a value over the limit: %+v", r)
		}
		for _, s := range []Status{StatusOK, StatusNotFound, StatusExists, StatusNotStored, StatusInternal} {
			Append(nil, r, &Reply{Status: s, Value: []byte("STAT a b\r\nEND\r\n"), CAS: 1, Flags: 1, TTL: math.MinInt64, Stale: true, Won: true})
		}
		r.ReturnsKey()
	}
}

// printable tells whether a request can be written so that it is the same again:
// an error cannot, nor a value that was passed over, nor a list without keys, nor
// the step of SASL that needs another before.
func printable(r *Request) bool {
	return r.Op != OpError && r.Status == StatusOK && !r.TooLarge && (r.Op != OpListEnd || r.Cont) && r.Opcode != opcodeSASLStep
}

// checkPrinted prints each command and parses it again. A list of keys that begins
// or ends with an error is left out.
func checkPrinted(t *testing.T, all []Request) {
	t.Helper()
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Cont {
			n++
		}
		command := all[:n]
		all = all[n:]
		var line []byte
		good := !command[0].Cont && !command[n-1].More
		for i := range command {
			if good = good && printable(&command[i]); good {
				line = appendRequest(line, &command[i])
			}
		}
		if !good {
			continue
		}
		got := parseAll(t, freshParser(&command[0]), line, len(line))
		if d := same(command, got); d != "" {
			t.Fatalf("%q, -want +got:\n%s", line, d)
		}
	}
}

// freshParser is one that takes a request as the first of a connection.
func freshParser(r *Request) parser {
	auth := r.Op == OpAuth || r.Op == OpMechanisms
	if r.Syntax == SyntaxBinary {
		return &BinaryParser{MaxValue: fuzzValue, Auth: auth}
	}
	return &TextParser{MaxValue: fuzzValue, Auth: auth}
}

func appendRequest(dst []byte, r *Request) []byte {
	switch r.Syntax {
	case SyntaxBinary:
		return AppendBinaryRequest(dst, r)
	case SyntaxMeta:
		return AppendMetaRequest(dst, r)
	}
	return AppendTextRequest(dst, r)
}

// fuzzText holds an input of the text protocol against all that is promised.
func fuzzText(t *testing.T, in []byte, piece int, auth bool) {
	t.Helper()
	fresh := func() *TextParser { return &TextParser{MaxValue: fuzzValue, Auth: auth} }
	whole := parseAll(t, fresh(), in, len(in)+1)
	cut := parseAll(t, fresh(), in, max(1, piece))
	checkRequests(t, whole)
	checkPrinted(t, whole)
	checkKept(t, fresh(), in)
	// Only a line over the limit may be taken differently when it comes in
	// pieces, since its end is then not waited for.
	if longestLine(in) <= MaxLine {
		if d := same(whole, cut); d != "" {
			t.Fatalf("in pieces of %d:\n%s", piece, d)
		}
	}
}

func longestLine(in []byte) int {
	longest := 0
	for line := range bytes.SplitSeq(in, []byte("\n")) {
		longest = max(longest, len(line))
	}
	return longest
}

func FuzzTextParser(f *testing.F) {
	for _, seed := range []string{
		"get a b c\r\n", "gat 10 a\r\n", "set a 0 0 5\r\nhello\r\n", "cas a 1 2 3 4 noreply\r\nabc\r\n",
		"set a 0 0 100\r\n", "delete a 0\r\n", "incr a 1\r\n", "stats items\r\n", "\x80\x00\r\n", "get \r\n",
		"GET / HTTP/1.0\r\n", "flush_all noreply\r\n", "touch a -1\r\n", "mn\r\nverbosity 1\r\nquit\r\n",
	} {
		f.Add([]byte(seed), 3, false)
	}
	f.Add(bytes.Repeat([]byte("get abcdefgh "), 300), 100, false)
	f.Add([]byte(authLine+"get a\r\n"), 5, true)
	f.Add([]byte("set a 0 0 16384\r\nfoo bar\r\nset x 0 0 7\r\nyou baz\r\n"), 5, true)
	f.Fuzz(fuzzText)
}

// FuzzMetaParser spends its time on meta commands.
func FuzzMetaParser(f *testing.F) {
	for _, seed := range []string{
		"g a s v Oabc k C5", "s YQ== 3 b T0 MA N5\r\nabc", "d a I x q", "a a N0 J13 v t D5 MD", "e a b", "g a N5 T6 R7 E8 t c f h l",
		"g a R7 T6 N5 q", "s a 0 F4294967295 C1 E2 I\r\n", "s a 100 S", "d 0 D1", "s a 0 N10", "g a b", "e YQ== b",
	} {
		f.Add([]byte(seed), []byte("a v"), 3)
	}
	f.Fuzz(func(t *testing.T, first, second []byte, piece int) {
		in := append([]byte("m"), first...)
		in = append(append(append(in, "\r\nm"...), second...), "\r\n"...)
		fuzzText(t, in, piece, false)
	})
}

func FuzzBinaryParser(f *testing.F) {
	f.Add(noop, 3, false)
	f.Add(packet(opcodeSet, 1, 8, 11, "\x80\x00\x00\x01\xff\xff\xff\xffaxy"), 1, false)
	f.Add(append(packet(0x1b, 0, 4, 4, "\x00\x00\x00\x01"), packet(opcodeGetKQ, 3, 0, 3, "abc")...), 100, false)
	f.Add(packet(opcodeSet, 1, 8, 100, "\x00\x00\x00\x00\x00\x00\x00\x00a"+strings.Repeat("v", 91)), 7, false)
	f.Add(packet(opcodeStat, 5, 0, 5, "items"), 7, false)
	f.Add(append(sasl(opcodeSASLAuth, "PLAIN", "\x00foo\x00bar"), noop...), 7, true)
	f.Add(append(sasl(opcodeSASLAuth, "PLAIN", ""), sasl(opcodeSASLStep, "PLAIN", "\x00foo\x00bar")...), 7, true)
	f.Add(sasl(opcodeSASLAuth, "PLAIN", "you\x00foo\x00bar"), 7, true)
	f.Fuzz(func(t *testing.T, in []byte, piece int, auth bool) {
		fresh := func() *BinaryParser { return &BinaryParser{MaxValue: fuzzValue, Auth: auth} }
		whole := parseAll(t, fresh(), in, len(in)+1)
		checkRequests(t, whole)
		checkPrinted(t, whole)
		checkKept(t, fresh(), in)
		if d := same(whole, parseAll(t, fresh(), in, max(1, piece))); d != "" {
			t.Fatalf("in pieces of %d:\n%s", piece, d)
		}
	})
}
