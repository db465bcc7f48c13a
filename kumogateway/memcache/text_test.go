package memcache

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parser is what the parsers have in common.
type parser interface {
	Next(buf []byte, r *Request) (n int, ok bool)
	Want() int
	Refuse(Status)
	Admit()
}

// right tells whether a request names the user of tests and its password.
func right(r *Request) bool {
	return r.Op == OpAuth && string(r.Key) == "foo" && string(r.Value) == "bar"
}

// parseAll feeds input in pieces of the given size and returns every request,
// with what is the parser's copied.
func parseAll(t fataler, p parser, input []byte, piece int) []Request {
	t.Helper()
	var got []Request
	var buf []byte
	for {
		var r Request
		n, ok := p.Next(buf, &r)
		if n < 0 || n > len(buf) {
			t.Fatalf("consumed %d of %d bytes", n, len(buf))
		}
		if ok && n == 0 {
			t.Fatalf("a request out of nothing: %+v", r)
		}
		buf = buf[n:]
		if ok {
			r.Key, r.Value, r.Args = clone(r.Key), clone(r.Value), clone(r.Args)
			if r.Meta != nil {
				m := *r.Meta
				r.Meta = &m
			}
			got = append(got, r)
			if right(&r) {
				p.Admit()
			}
			if r.Close {
				return got
			}
			continue
		}
		if n > 0 {
			continue
		}
		if len(input) == 0 {
			return got
		}
		take := min(piece, len(input))
		buf = append(buf, input[:take]...)
		input = input[take:]
	}
}

// fataler is what tests, fuzz targets and properties have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}

func key(s string) []byte { return []byte(s) }

func bad(s Status) Request { return Request{Op: OpError, Status: s} }

func TestTextRequests(t *testing.T) {
	long := strings.Repeat("k", MaxKey+1)
	full := strings.Repeat("k", MaxKey)
	quiet := func(r Request) Request { r.Noreply = true; return r }
	for _, c := range []struct {
		name, in string
		want     []Request
	}{
		{"get", "get a\r\n", []Request{{Op: OpGet, Key: key("a")}}},
		{"bare newline", "get a\n", []Request{{Op: OpGet, Key: key("a")}}},
		{"leading and trailing spaces", "  get  a  \r\n", []Request{{Op: OpGet, Key: key("a")}}},
		{"list", "gets a b\r\n", []Request{
			{Op: OpGet, Key: key("a"), WantCAS: true, More: true},
			{Op: OpGet, Key: key("b"), WantCAS: true, Cont: true},
		}},
		{"longest key", "get " + full + "\r\n", []Request{{Op: OpGet, Key: key(full)}}},
		{"key too long in a list", "get a " + long + " b\r\nmn\r\n", []Request{bad(StatusBadFormat), {Op: OpNoop}}},
		{"get without keys", "get \r\n", []Request{bad(StatusUnknownCommand)}},
		{"gat", "gat 5 a\r\n", []Request{{Op: OpGetAndTouch, Exptime: 5, Key: key("a")}}},
		{"gat without keys", "gat 5\r\n", []Request{{Op: OpListEnd}}},
		{"gat without time", "gat x a\r\n", []Request{bad(StatusBadExptime)}},
		{"set", "set a 1 2 3\r\nxyz\r\n", []Request{{Op: OpSet, Key: key("a"), Flags: 1, Exptime: 2, Value: key("xyz")}}},
		{"value with line ends", "set a 0 0 4\r\n\r\n\r\n\r\n", []Request{{Op: OpSet, Key: key("a"), Value: key("\r\n\r\n")}}},
		{"empty value", "add a 0 0 0 noreply\r\n\r\n", []Request{quiet(Request{Op: OpAdd, Key: key("a")})}},
		{"another last word is passed over", "set a 0 0 1 quick\r\nx\r\n", []Request{{Op: OpSet, Key: key("a"), Value: key("x")}}},
		{"cas", "cas a 0 -1 1 99\r\nx\r\n", []Request{{Op: OpCAS, Key: key("a"), Exptime: -1, CAS: 99, Value: key("x")}}},
		{"cas without a token", "cas a 0 0 1\r\n", []Request{bad(StatusUnknownCommand)}},
		{"set with a word too many", "set a 0 0 1 noreply x\r\n", []Request{bad(StatusUnknownCommand)}},
		{"negative length", "set a 0 0 -1\r\n", []Request{bad(StatusBadFormat)}},
		{"length beyond 32 bits", "set a 0 0 4294967297\r\n", []Request{bad(StatusBadFormat)}},
		{"no length but noreply", "set a 0 0 noreply\r\n", []Request{quiet(bad(StatusBadFormat))}},
		{"value longer than said", "set a 0 0 1\r\nxyz\r\n", []Request{bad(StatusBadChunk), bad(StatusUnknownCommand)}},
		{"value too large", "set a 0 0 17 noreply\r\n" + strings.Repeat("v", 17) + "\r\nmn\r\n",
			[]Request{quiet(Request{Op: OpSet, Key: key("a"), TooLarge: true}), {Op: OpNoop}}},
		{"delete", "delete a\r\n", []Request{{Op: OpDelete, Key: key("a")}}},
		{"delete with the old zero", "delete a 0 noreply\r\n", []Request{quiet(Request{Op: OpDelete, Key: key("a")})}},
		{"delete with a time", "delete a 5\r\n", []Request{bad(StatusDeleteUsage)}},
		{"incr", "incr a 18446744073709551615\r\n", []Request{{Op: OpIncr, Key: key("a"), Delta: 1<<64 - 1}}},
		{"decr noreply", "decr a +5 noreply\r\n", []Request{quiet(Request{Op: OpDecr, Key: key("a"), Delta: 5})}},
		{"incr by a negative", "incr a -1\r\n", []Request{bad(StatusBadDelta)}},
		{"incr by nothing", "incr a\r\n", []Request{bad(StatusUnknownCommand)}},
		{"touch", "touch a 100\r\n", []Request{{Op: OpTouch, Key: key("a"), Exptime: 100}}},
		{"touch after 2038", "touch a 4102444800\r\n", []Request{{Op: OpTouch, Key: key("a"), Exptime: 4102444800}}},
		{"touch without a number", "touch a x\r\n", []Request{bad(StatusBadExptime)}},
		{"stats", "stats items now\r\n", []Request{{Op: OpStats, Args: key(" items now")}}},
		{"flush_all", "flush_all 10 noreply\r\n", []Request{quiet(Request{Op: OpFlushAll, Exptime: 10})}},
		{"flush_all of a word", "flush_all x\r\n", []Request{{Op: OpFlushAll, Status: StatusBadExptime}}},
		{"verbosity", "verbosity 1\r\nverbosity\r\nverbosity x\r\n",
			[]Request{{Op: OpVerbosity}, bad(StatusUnknownCommand), bad(StatusBadFormat)}},
		{"empty line", "\r\n", []Request{bad(StatusUnknownCommand)}},
		{"unknown", "hello\r\n", []Request{bad(StatusUnknownCommand)}},
		{"a browser", "GET / HTTP/1.1\r\n", []Request{{Op: OpError, Status: StatusUnknownCommand, Noreply: true, Close: true}}},
		{"a NUL", "delete a\x00b\r\n", []Request{bad(StatusUnknownCommand)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, piece := range []int{1, 3, 1 << 20} {
				got := parseAll(t, &TextParser{MaxValue: 16}, []byte(c.in), piece)
				for i := range got {
					if got[i].Op == OpError {
						got[i].Key, got[i].Flags, got[i].Exptime, got[i].CAS = nil, 0, 0, 0
					}
				}
				if d := cmp.Diff(c.want, got); d != "" {
					t.Errorf("in pieces of %d (-want +got):\n%s", piece, d)
				}
			}
		})
	}
}

func TestTextLongLines(t *testing.T) {
	keys := strings.Repeat(strings.Repeat("k", 99)+" ", 1000)
	t.Run("a list has no limit", func(t *testing.T) {
		for _, command := range []string{"get ", "gats 10 "} {
			got := parseAll(t, &TextParser{}, []byte(command+keys+"\r\n"), 1000)
			last := got[len(got)-1]
			if len(got) < 1000 || len(got) > 1001 || last.More || last.Op == OpError {
				t.Errorf("%s: %d requests, the last %+v", command, len(got), last)
			}
		}
	})
	t.Run("anything else ends the connection", func(t *testing.T) {
		for _, in := range []string{strings.Repeat("x", 5000), "set " + keys, strings.Repeat(" ", 3000) + "get a"} {
			got := parseAll(t, &TextParser{}, []byte(in), 1000)
			if d := cmp.Diff([]Request{{Op: OpError, Status: StatusLineTooLong, Close: true}}, got); d != "" {
				t.Error(d)
			}
		}
	})
	t.Run("so does a key too long, late in a list", func(t *testing.T) {
		got := parseAll(t, &TextParser{}, []byte("get "+keys+strings.Repeat("x", 5000)), 1000)
		last := got[len(got)-1]
		if last.Status != StatusBadFormat || !last.Close || !last.Cont {
			t.Errorf("the last request is %+v", last)
		}
	})
}

func TestWantNamesTheValuesEnd(t *testing.T) {
	p := &TextParser{MaxValue: 1 << 20}
	head := "set a 0 0 1000000\r\n"
	var r Request
	if n, ok := p.Next([]byte(head), &r); n != 0 || ok || p.Want() != len(head)+1000002 {
		t.Errorf("Next = %d, %v and wants %d", n, ok, p.Want())
	}
}

func TestTextReplies(t *testing.T) {
	for _, c := range []struct {
		r    Request
		a    Reply
		want string
	}{
		{Request{Op: OpGet, Key: key("a"), WantCAS: true}, Reply{Flags: 7, CAS: 9, Value: key("xy")}, "VALUE a 7 2 9\r\nxy\r\nEND\r\n"},
		{Request{Op: OpGet, Key: key("a"), More: true}, Reply{Value: key("xy")}, "VALUE a 0 2\r\nxy\r\n"},
		{Request{Op: OpGet, Key: key("a"), More: true}, Reply{Status: StatusNotFound}, ""},
		{Request{Op: OpGet, Key: key("a")}, Reply{Status: StatusNotFound}, "END\r\n"},
		{Request{Op: OpGet, Key: key("a"), More: true}, Reply{Status: StatusTimedOut}, "SERVER_ERROR timed out\r\n"},
		{Request{Op: OpListEnd}, Reply{}, "END\r\n"},
		{Request{Op: OpSet}, Reply{}, "STORED\r\n"},
		{Request{Op: OpSet, Noreply: true}, Reply{Status: StatusTooLarge}, ""},
		{Request{Op: OpCAS}, Reply{Status: StatusExists}, "EXISTS\r\n"},
		{Request{Op: OpAdd}, Reply{Status: StatusNotStored}, "NOT_STORED\r\n"},
		{Request{Op: OpDelete}, Reply{Status: StatusNotFound}, "NOT_FOUND\r\n"},
		{Request{Op: OpIncr}, Reply{Number: 1<<64 - 1}, "18446744073709551615\r\n"},
		{Request{Op: OpVersion}, Reply{Value: key("1.6.40")}, "VERSION 1.6.40\r\n"},
		{Request{Op: OpFlushAll}, Reply{}, "OK\r\n"},
	} {
		if got := string(AppendText(nil, &c.r, &c.a)); got != c.want {
			t.Errorf("%+v, %+v: %q, want %q", c.r, c.a, got, c.want)
		}
	}
}

func TestExpiry(t *testing.T) {
	const now = 1_700_000_000
	for exptime, want := range map[int64]int64{0: 0, -1: 1, 10: now + 10, MonthSeconds: now + MonthSeconds, MonthSeconds + 1: MonthSeconds + 1, now + 5: now + 5} {
		if got := Expiry(exptime, now); got != want {
			t.Errorf("Expiry(%d) = %d, want %d", exptime, got, want)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	value := strings.Repeat("v", 1024)
	for name, in := range map[string]string{
		"get": "get some:key:12345678\r\n",
		"set": "set some:key:12345678 0 0 1024\r\n" + value + "\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			p := TextParser{MaxValue: 1 << 20}
			buf := []byte(in)
			var r Request
			b.ReportAllocs()
			for b.Loop() {
				if n, ok := p.Next(buf, &r); !ok || n != len(buf) {
					b.Fatal(n, ok)
				}
			}
		})
	}
}
