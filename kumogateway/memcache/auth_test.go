package memcache

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func sasl(opcode byte, mechanism, data string) []byte {
	return packet(opcode, len(mechanism), 0, len(mechanism)+len(data), mechanism+data)
}

// What a binary client sends before it is let in, and after.
func TestSASL(t *testing.T) {
	failed := StatusAuthFailed
	in, out := sasl(opcodeSASLAuth, "PLAIN", "\x00foo\x00bar"), sasl(opcodeSASLAuth, "PLAIN", "\x00foo\x00baz")
	get := packet(opcodeGet, 1, 0, 1, "a")
	for name, c := range map[string]struct {
		in    [][]byte
		want  []Op
		last  Status // of the last request, if it is an error
		close bool
	}{
		"mechanisms":            {in: [][]byte{sasl(opcodeSASLList, "", "")}, want: []Op{OpMechanisms}},
		"version":               {in: [][]byte{packet(opcodeVersion, 0, 0, 0, "")}, want: []Op{OpVersion}},
		"get":                   {in: [][]byte{get}, want: []Op{OpError}, last: StatusUnauthenticated, close: true},
		"a quiet set":           {in: [][]byte{packet(opcodeSetQ, 1, 8, 9, "12345678a")}, want: []Op{OpError}, last: StatusUnauthenticated, close: true},
		"a large set":           {in: [][]byte{packet(opcodeSet, 1, 8, 1<<20, "12345678a")}, want: []Op{OpError}, last: StatusUnauthenticated, close: true},
		"no-op":                 {in: [][]byte{noop}, want: []Op{OpError}, last: StatusUnauthenticated, close: true},
		"an unknown opcode":     {in: [][]byte{packet(0x1b, 0, 0, 0, "")}, want: []Op{OpError}, last: StatusUnauthenticated, close: true},
		"right":                 {in: [][]byte{in, get}, want: []Op{OpAuth, OpGet}},
		"wrong":                 {in: [][]byte{out, get}, want: []Op{OpAuth, OpError}, last: StatusUnauthenticated, close: true},
		"wrong, then right":     {in: [][]byte{out, in, get}, want: []Op{OpAuth, OpAuth, OpGet}},
		"right, then wrong":     {in: [][]byte{in, out, get}, want: []Op{OpAuth, OpAuth, OpError}, last: StatusUnauthenticated, close: true},
		"small letters":         {in: [][]byte{sasl(opcodeSASLAuth, "plain", "\x00foo\x00bar"), get}, want: []Op{OpAuth, OpGet}},
		"for oneself":           {in: [][]byte{sasl(opcodeSASLAuth, "PLAIN", "foo\x00foo\x00bar"), get}, want: []Op{OpAuth, OpGet}},
		"for somebody else":     {in: [][]byte{sasl(opcodeSASLAuth, "PLAIN", "you\x00foo\x00bar")}, want: []Op{OpError}, last: failed},
		"another mechanism":     {in: [][]byte{sasl(opcodeSASLAuth, "CRAM-MD5", "\x00foo\x00bar")}, want: []Op{OpError}, last: failed},
		"a mechanism too long":  {in: [][]byte{sasl(opcodeSASLAuth, strings.Repeat("X", 40), "\x00foo\x00bar")}, want: []Op{OpError}, last: StatusBadPacket},
		"no NUL":                {in: [][]byte{sasl(opcodeSASLAuth, "PLAIN", "foo bar")}, want: []Op{OpError}, last: failed},
		"one NUL":               {in: [][]byte{sasl(opcodeSASLAuth, "PLAIN", "foo\x00bar")}, want: []Op{OpError}, last: failed},
		"much too long":         {in: [][]byte{sasl(opcodeSASLAuth, "PLAIN", strings.Repeat("x", maxAuth))}, want: []Op{OpError}, last: failed},
		"in two steps":          {in: [][]byte{sasl(opcodeSASLAuth, "PLAIN", ""), sasl(opcodeSASLStep, "PLAIN", "\x00foo\x00bar"), get}, want: []Op{OpError, OpAuth, OpGet}},
		"a first step":          {in: [][]byte{sasl(opcodeSASLAuth, "PLAIN", "")}, want: []Op{OpError}, last: StatusAuthContinue},
		"a step out of nothing": {in: [][]byte{sasl(opcodeSASLStep, "PLAIN", "\x00foo\x00bar")}, want: []Op{OpError}, last: failed},
		"a step after the end":  {in: [][]byte{in, sasl(opcodeSASLStep, "PLAIN", "\x00foo\x00bar")}, want: []Op{OpAuth, OpError}, last: failed},
		"no mechanism":          {in: [][]byte{sasl(opcodeSASLAuth, "", "\x00foo\x00bar")}, want: []Op{OpError}, last: StatusBadPacket, close: true},
	} {
		t.Run(name, func(t *testing.T) {
			var all []byte
			for _, b := range c.in {
				all = append(all, b...)
			}
			for _, piece := range []int{1, 30, 1 << 20} {
				got := parseAll(t, &BinaryParser{MaxValue: 16, Auth: true}, all, piece)
				var ops []Op
				for _, r := range got {
					ops = append(ops, r.Op)
				}
				if d := cmp.Diff(c.want, ops); d != "" {
					t.Fatalf("in pieces of %d: -want +got:\n%s", piece, d)
				}
				if last := got[len(got)-1]; last.Status != c.last || last.Close != c.close {
					t.Errorf("in pieces of %d: the last is %+v", piece, last)
				}
			}
		})
	}
}

func TestSASLReplies(t *testing.T) {
	for name, c := range map[string]struct {
		r      Request
		a      Reply
		status uint16
		body   string
	}{
		"mechanisms":      {Request{Op: OpMechanisms, Opcode: opcodeSASLList}, Reply{Value: []byte(Mechanism)}, 0, "PLAIN"},
		"right":           {Request{Op: OpAuth, Opcode: opcodeSASLAuth}, Reply{Value: []byte("Authenticated")}, 0, "Authenticated"},
		"wrong":           {Request{Op: OpAuth, Opcode: opcodeSASLAuth}, Reply{Status: StatusAuthFailed}, 0x20, "Auth failure."},
		"unauthenticated": {Request{Op: OpError, Opcode: opcodeGet}, Reply{Status: StatusUnauthenticated}, 0x20, "Auth failure."},
		"goes on":         {Request{Op: OpError, Opcode: opcodeSASLAuth}, Reply{Status: StatusAuthContinue}, 0x21, ""},
	} {
		c.r.Syntax = SyntaxBinary
		want := append(appendPacket(nil, &c.r, c.status, 0, 0, len(c.body), 0), c.body...)
		if got := Append(nil, &c.r, &c.a); string(got) != string(want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want)
		}
	}
}

// What is printed is what is parsed, however the stream is cut.
func TestAuthParsePrintIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Request{
			Op: OpAuth, Key: []byte(rapid.StringMatching(`[!-~]{1,250}`).Draw(t, "user")),
			Value: []byte(rapid.StringMatching(`[ -~]{1,900}`).Draw(t, "password")),
		}
		var p parser = &TextParser{MaxValue: 300, Auth: true}
		in := AppendTextRequest(nil, &r)
		if rapid.Bool().Draw(t, "binary") {
			p = &BinaryParser{MaxValue: 300, Auth: true}
			r.Syntax, r.Opcode, r.Opaque = SyntaxBinary, opcodeSASLAuth, rapid.Uint32().Draw(t, "opaque")
			in = AppendBinaryRequest(nil, &r)
		}
		got := parseAll(t, p, in, rapid.IntRange(1, 3000).Draw(t, "piece"))
		if d := same([]Request{r}, got); d != "" {
			t.Fatalf("-want +got:\n%s\n%q", d, in)
		}
	})
}

const authLine = "set x 0 0 7\r\nfoo bar\r\n"

var authScripts = []string{
	authLine, authLine + authLine, authLine + "set a 0 0 1\r\nx\r\nget a\r\n", "set x 0 0 7\r\nfoo baz\r\n",
	"set foo 0 0 2\r\nhi\r\n", "get foo\r\n", "mg foo v\r\n", "ms foo 2\r\n", "delete foo\r\n", "incr foo 1\r\n",
	"version\r\n", "flush_all\r\n", "stats settings\r\n", "verbosity 1\r\n", "set foo 0 0 16384\r\nfoo bar\r\n",
	"set foo 0 0 x\r\n", "set foo 0 0 -1\r\n", "set foo 0 0\r\n", "set foo a b 7\r\nfoo bar\r\n", "set foo 0 0 7 noreply\r\nfoo bar\r\n",
	"set  foo  0  0  7\r\nfoo bar\r\nget a\r\n", "set " + strings.Repeat("k", 300) + " 0 0 7\r\nfoo bar\r\n", "set x 0 0 7\nfoo bar\r\n",
	"set x 0 0 7\r\nfoo bar\n\n", "set x 0 0 0\r\n\r\n", "set x 0 0 3\r\nfoo\r\n",
}

// What of it memcached 1.6.18, which loses answers to pipelined requests and
// splits passwords at spaces, answers otherwise than later ones, or never.
func TestTextAuth(t *testing.T) {
	const refused, failed = "CLIENT_ERROR unauthenticated\r\n", "CLIENT_ERROR authentication failure\r\n"
	for script, want := range map[string]string{
		"set x 0 0 7\r\nfoo baz\r\n" + authLine + "mn\r\n":      failed + "STORED\r\nMN\r\n",
		"delete foo\r\nmg foo v\r\n" + authLine + "get foo\r\n": refused + refused + "STORED\r\nEND\r\n",
		"mn\r\n\r\nme a\r\n":                                         refused + refused + refused,
		"set foo 0 0 16385\r\n" + authLine:                           "CLIENT_ERROR auth token too long\r\nSTORED\r\n",
		"set foo 0 0 2147483646\r\n" + authLine:                      "CLIENT_ERROR auth token too long\r\nSTORED\r\n",
		"set x 0 0 8\r\nfoo  bar\r\n":                                failed,
		"set x 0 0 4\r\nfoo \r\n":                                    failed,
		"set x 0 0 7\r\nfoo barbaz\r\n":                              "CLIENT_ERROR bad command line termination\r\n" + refused,
		"add x 0 0 7\r\nfoo bar\r\n":                                 refused + refused,
		"quit\r\n" + authLine:                                        "",
		strings.Repeat("x", MaxLine+1):                               "CLIENT_ERROR line too long\r\n",
		"set " + strings.Repeat("k", 1000) + " 0 0 7\r\nfoo bar\r\n": "STORED\r\n",
	} {
		if got := answerBy(t, &TextParser{MaxValue: 10, Auth: true}, script); got != want {
			t.Errorf("%q:\n got %q\nwant %q", head(script), got, want)
		}
	}
}

// A text client authenticates as with memcached's -Y, byte for byte.
func TestAuthAgainstMemcached(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("foo:bar\nbaaaz:qu ux:qu\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := startMemcached(t, "-Y", path)
	for i, script := range authScripts {
		t.Run(strconv.Quote(head(script)), func(t *testing.T) {
			ask(t, socket, authLine+"delete a\r\n")
			want := ask(t, socket, script)
			if got := answerBy(t, &TextParser{MaxValue: 1 << 20, Auth: true}, script); got != want {
				t.Errorf("script %d\n got %q\nwant %q", i, head(got), head(want))
			}
		})
	}
}
