package memcache

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// same compares requests, what is hidden in Meta included.
func same(want, got []Request) string {
	if reflect.DeepEqual(want, got) { // much faster, which counts for the fuzzer
		return ""
	}
	return cmp.Diff(want, got, cmp.AllowUnexported(Meta{}))
}

// meta makes a Meta with letters to return and an opaque.
func meta(command byte, wanted, opaque string, change func(*Meta)) *Meta {
	m := &Meta{Command: command}
	for i := range len(wanted) {
		if wanted[i] == 'O' {
			m.SetOpaque([]byte(opaque))
			continue
		}
		m.Want(wanted[i])
	}
	if change != nil {
		change(m)
	}
	return m
}

func TestMetaRequests(t *testing.T) {
	long := strings.Repeat("k", MaxKey+1)
	req := func(op Op, m *Meta, change func(*Request)) Request {
		r := Request{Op: op, Key: key("a"), Syntax: SyntaxMeta, Meta: m}
		if change != nil {
			change(&r)
		}
		if m.Length = uint32(len(r.Value)); r.TooLarge {
			m.Length = 17
		}
		return r
	}
	for _, c := range []struct {
		in   string
		want Request
	}{
		{"mg a\r\n", req(OpGet, meta('g', "", "", nil), nil)},
		{"mg a s v t Oabc k\r\n", req(OpGet, meta('g', "stOk", "abc", func(m *Meta) { m.Value = true }), nil)},
		{"mg a C5 E6 u q\n", req(OpGet, meta('g', "", "", func(m *Meta) { m.Compare, m.Mint, m.Token, m.Peek = true, true, 6, true }),
			func(r *Request) { r.CAS, r.Quiet = 5, true })},
		{"mg a N-1 T30 R5\r\n", req(OpFetch, meta('g', "", "", func(m *Meta) { m.Touch, m.Renew, m.Renewed, m.Remade, m.Recache = true, true, true, true, 5 }),
			func(r *Request) { r.Vivify, r.Fresh, r.Exptime = true, -1, 30 })},
		{"mg a R5 T30 N-1\r\n", req(OpFetch, meta('g', "", "", func(m *Meta) { m.Touch, m.Renew, m.Recache = true, true, 5 }),
			func(r *Request) { r.Vivify, r.Fresh, r.Exptime = true, -1, 30 })},
		{"mg YQ== b k\r\n", req(OpGet, meta('g', "k", "", func(m *Meta) { m.Base64 = true }), nil)},
		{"ms a 1\r\nx\r\n", req(OpSet, meta('s', "", "", nil), func(r *Request) { r.Value = key("x") })},
		{"ms a 0 F7 T9 I c s\r\n\r\n", req(OpSet, meta('s', "cs", "", func(m *Meta) { m.Stale, m.Touch = true, true }),
			func(r *Request) { r.Flags, r.Exptime = 7, 9 })},
		{"ms a 1 C0 MR\r\nx\r\n", req(OpCAS, meta('s', "", "", func(m *Meta) { m.Compare = true }), func(r *Request) { r.Value = key("x") })},
		{"ms a 1 ME C9 N5\r\nx\r\n", req(OpAdd, meta('s', "", "", func(m *Meta) { m.Compare = true }),
			func(r *Request) { r.Value = key("x") })},
		{"ms a 1 MA C9 N5\r\nx\r\n", req(OpAppend, meta('s', "", "", func(m *Meta) { m.Compare = true }),
			func(r *Request) { r.Value, r.Vivify, r.Fresh, r.CAS = key("x"), true, 5, 9 })},
		{"ms a 17 MA\r\n" + strings.Repeat("v", 17) + "\r\n", req(OpAppend, meta('s', "", "", nil), func(r *Request) { r.TooLarge = true })},
		{"md a x I q\r\n", req(OpDelete, meta('d', "", "", func(m *Meta) { m.Stale, m.Empty = true, true }), func(r *Request) { r.Quiet = true })},
		{"ma a\r\n", req(OpIncr, meta('a', "", "", nil), func(r *Request) { r.Delta = 1 })},
		{"ma a MD D5 N0 J13 v t\r\n", req(OpDecr, meta('a', "t", "", func(m *Meta) { m.Value = true }),
			func(r *Request) { r.Delta, r.Vivify, r.Initial = 5, true, 13 })},
		{"me YQ== b\r\n", req(OpDebug, meta('e', "", "", func(m *Meta) { m.Base64 = true }), nil)},
		{"mg a Pproxy Lx\r\n", req(OpGet, meta('g', "", "", nil), nil)},

		{"mg\r\n", bad(StatusBadFormat)},
		{"mg " + long + "\r\n", bad(StatusBadFormat)},
		{"ma " + long + "\r\n", bad(StatusMetaArith)},
		{"mg a v v\r\n", bad(StatusMetaTwice)},
		{"mg a !\r\n", bad(StatusBadFormat)},
		{"mg a Z\r\n", bad(StatusMetaFlag)},
		{"mg a 1\r\n", bad(StatusMetaFlag)},
		{"mg a N\r\n", bad(StatusMetaToken)},
		{"mg a Nx b\r\n", bad(StatusMetaKey)},
		{"mg a Nx Jx\r\n", bad(StatusMetaInitial)},
		{"mg a Fx\r\n", bad(StatusBadFormat)},
		{"ma a Dx\r\n", bad(StatusMetaArith)},
		{"mg a O" + strings.Repeat("o", 32) + "\r\n", bad(StatusMetaOpaque)},
		{"mg a a b c d e f g h i j k l m n o p q r s\r\n", bad(StatusMetaMany)},
		{"ma a Mx\r\n", bad(StatusArithMode)},
		{"ms a 1 Mx\r\nx\r\n", bad(StatusMetaMode)},
		{"ms a 1 O" + strings.Repeat("o", 32) + "\r\nx\r\n", bad(StatusMetaOpaque)},
		{"ms a 1 Z\r\nx\r\n", bad(StatusMetaFlag)},
		{"ms a\r\n", bad(StatusBadFormat)},
		{"ms a -1\r\n", bad(StatusBadFormat)},
		{"ms a 1\r\nxyz", bad(StatusBadChunk)},
		{"me ! b\r\n", bad(StatusBadFormat)},
	} {
		t.Run(c.in[:min(len(c.in), 40)], func(t *testing.T) {
			for _, piece := range []int{1, 7, 1 << 20} {
				got := parseAll(t, &TextParser{MaxValue: 16}, []byte(c.in+"mn\r\n"), piece)
				if len(got) != 2 && got[0].Status != StatusBadChunk || len(got) > 1 && got[1].Op != OpNoop {
					t.Fatalf("in pieces of %d: not one request and what follows: %+v", piece, got)
				}
				if got = got[:1]; got[0].Op == OpError {
					got[0] = Request{Op: OpError, Status: got[0].Status}
				}
				if d := same([]Request{c.want}, got); d != "" {
					t.Errorf("in pieces of %d (-want +got):\n%s", piece, d)
				}
			}
		})
	}
}

func TestMetaReplies(t *testing.T) {
	ask := func(line string) Request {
		var r Request
		p := TextParser{MaxValue: 16}
		if _, ok := p.Next([]byte(line+"\r\nx\r\n"), &r); !ok || r.Op == OpError {
			t.Fatalf("%q: %+v", line, r)
		}
		return r
	}
	full := Reply{Value: key("xy"), Flags: 7, CAS: 9, TTL: 30, Idle: 4, Hit: true, Size: 5, Number: 12}
	with := func(change func(*Reply)) Reply { a := full; change(&a); return a }
	status := func(s Status) Reply { return Reply{Status: s} }
	for _, c := range []struct {
		line string
		a    Reply
		want string
	}{
		{"mg a", full, "HD\r\n"},
		{"mg a v", full, "VA 2\r\nxy\r\n"},
		{"mg a k Oo s t c f l h v q", full, "VA 2 ka Oo s2 t30 c9 f7 l4 h1\r\nxy\r\n"},
		{"mg YQ== b k v", full, "VA 2 kYQ== b\r\nxy\r\n"},
		{"mg a C9 v c", full, "HD c9\r\n"},
		{"mg a C8 v c", full, "VA 2 c9\r\nxy\r\n"},
		{"mg a s", with(func(a *Reply) { a.Stale, a.Won, a.Sent = true, true, true }), "HD s2 X W\r\n"},
		{"mg a s", with(func(a *Reply) { a.Stale, a.Sent = true, true }), "HD s2 Z X\r\n"},
		{"mg a k s Oo", status(StatusNotFound), "EN ka Oo\r\n"},
		{"mg a q", status(StatusNotFound), ""},
		{"mg a q", status(StatusTimedOut), "SERVER_ERROR timed out\r\n"},
		{"ms a 1 c s k Oo", full, "HD c9 s5 ka Oo\r\n"},
		{"ms a 1 c s", status(StatusExists), "EX c0 s1\r\n"},
		{"ms a 1 q", full, ""},
		{"ms a 1 q", status(StatusNotStored), "NS\r\n"},
		{"md a k", full, "HD ka\r\n"},
		{"md a q Oo", status(StatusNotFound), "NF Oo\r\n"},
		{"md a q", full, ""},
		{"ma a v t c", full, "VA 2 t30 c9\r\n12\r\n"},
		{"ma a Oo", full, "HD Oo\r\n"},
		{"ma a q v", full, ""},
		{"ma a c k", status(StatusExists), "EX ka\r\n"},
		{"ma a", status(StatusNonNumeric), "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"},
		{"me a", full, "ME a exp=30 la=4 cas=9 fetch=yes cls=1 size=66\r\n"},
		{"me a", status(StatusNotFound), "EN\r\n"},
	} {
		r := ask(c.line)
		if got := string(AppendMeta(nil, &r, &c.a)); got != c.want {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
}

// Base64 is read and written as Go's does, where memcached is no more generous.
func TestBase64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 1, 180).Draw(t, "bytes")
		text := append64(nil, b)
		if want := base64.StdEncoding.EncodeToString(b); string(text) != want {
			t.Fatalf("%x is %q, want %q", b, text, want)
		}
		var back [MaxKey]byte
		if n := decode64(back[:], text); string(back[:n]) != string(b) {
			t.Fatalf("%q is %x, want %x", text, back[:n], b)
		}
	})
	for in, want := range map[string]string{
		"YW": "", "YWI=": "ab", "Y-W-I=": "ab", "YWI=YWI=": "ab", "Y===": "", "====": "", "!": "", "YWJj": "abc",
	} {
		var b [MaxKey]byte
		if n := decode64(b[:], []byte(in)); string(b[:n]) != want {
			t.Errorf("%q is %q, want %q", in, b[:n], want)
		}
	}
}

func drawMeta(t *rapid.T) Request {
	m := &Meta{Command: rapid.SampledFrom([]byte("gsdae")).Draw(t, "command")}
	r := Request{Syntax: SyntaxMeta, Meta: m}
	if m.Base64 = rapid.Bool().Draw(t, "base64"); m.Base64 {
		r.Key = rapid.SliceOfN(rapid.Byte(), 1, 187).Draw(t, "key")
	} else {
		r.Key = []byte(rapid.StringMatching(`[!-~]{1,250}`).Draw(t, "key"))
	}
	times, tokens := rapid.Int64(), rapid.Uint64()
	for _, c := range rapid.SliceOfNDistinct(rapid.SampledFrom([]byte(returned(m.Command))), 0, 8, rapid.ID).Draw(t, "wanted") {
		if m.Command == 'e' {
			break
		}
		if c == 'O' {
			m.SetOpaque([]byte(rapid.StringMatching(`[!-~]{0,31}`).Draw(t, "opaque")))
			continue
		}
		m.Want(c)
	}
	switch m.Command {
	case 'e':
		r.Op = OpDebug
		return r
	case 'g':
		r.Op = OpGet
		r.Vivify, m.Touch, m.Renew = rapid.Bool().Draw(t, "N"), rapid.Bool().Draw(t, "T"), rapid.Bool().Draw(t, "R")
		if r.Vivify || m.Touch || m.Renew {
			r.Op = OpFetch
		}
	case 's':
		r.Op = rapid.SampledFrom([]Op{OpSet, OpAdd, OpReplace, OpAppend, OpPrepend, OpCAS}).Draw(t, "op")
		r.Value = clone(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value"))
		m.Length = uint32(len(r.Value))
		r.Vivify = (r.Op == OpAppend || r.Op == OpPrepend) && rapid.Bool().Draw(t, "N")
		m.Touch = rapid.Bool().Draw(t, "T")
	case 'd':
		r.Op = OpDelete
	case 'a':
		r.Op = rapid.SampledFrom([]Op{OpIncr, OpDecr}).Draw(t, "op")
		r.Vivify, r.Delta, r.Initial = rapid.Bool().Draw(t, "N"), tokens.Draw(t, "D"), tokens.Draw(t, "J")
	}
	if r.Vivify {
		r.Fresh = times.Draw(t, "fresh")
	}
	if m.Touch {
		r.Exptime = times.Draw(t, "exptime")
	}
	if m.Renew {
		m.Recache = times.Draw(t, "recache")
	}
	if m.Mint = rapid.Bool().Draw(t, "E"); m.Mint {
		m.Token = tokens.Draw(t, "token")
	}
	if m.Touch && r.Vivify && m.Command != 's' {
		m.Remade = rapid.Bool().Draw(t, "T behind N")
	}
	if m.Touch && m.Renew {
		m.Renewed = rapid.Bool().Draw(t, "R behind T")
	}
	m.Compare = r.Op == OpCAS || r.Op != OpSet && r.Op != OpReplace && rapid.Bool().Draw(t, "C")
	if m.Compare && r.Op != OpAdd {
		r.CAS = tokens.Draw(t, "cas")
	}
	m.Value, m.Peek, r.Quiet = rapid.Bool().Draw(t, "v"), rapid.Bool().Draw(t, "u"), rapid.Bool().Draw(t, "q")
	m.Stale, m.Empty, r.Flags = rapid.Bool().Draw(t, "I"), rapid.Bool().Draw(t, "x"), rapid.Uint32().Draw(t, "F")
	return r
}

// What is printed is what is parsed, however the stream is cut.
func TestMetaParsePrintIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []Request
		var in []byte
		for range rapid.IntRange(1, 8).Draw(t, "commands") {
			r := drawMeta(t)
			if words := len(strings.Fields(string(AppendMetaRequest(nil, &Request{Op: r.Op, Key: key("a"), Meta: r.Meta})))); words > maxMetaWords {
				t.Skip("more flags than a line holds")
			}
			want = append(want, r)
			in = AppendMetaRequest(in, &r)
		}
		got := parseAll(t, &TextParser{MaxValue: 300}, in, rapid.IntRange(1, 200).Draw(t, "piece"))
		if d := same(want, got); d != "" {
			t.Fatalf("-want +got:\n%s\n%q", d, in)
		}
	})
}
