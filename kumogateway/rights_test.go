package kumogateway_test

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/kumogateway/memcache"
)

// allUsers are an auth file with every kind of user, whose passwords are p.
const allUsers = `both:p
reader read:p
writer write:p
part read write prefix="part:":p
partreader read prefix="part:":p
`

// may are the rights of a user: r, w, and a for what concerns others.
var may = map[string]string{"both": "rwa", "reader": "r", "writer": "w", "part": "rw", "partreader": "r"}

// login is what a client of the text protocol begins with.
func login(user string) string { return fmt.Sprintf("set x 0 0 %d\r\n%s p\r\n", len(user)+2, user) }

func dialAs(t testing.TB, g *kumogateway.Gateway, user string) *client {
	t.Helper()
	c := dial(t, g)
	c.do(login(user), "STORED\r\n")
	return c
}

// everyCommand is every command of the text protocol and of meta, with the rights
// that it needs.
var everyCommand = []struct{ send, needs string }{
	{"get k\r\n", "r"}, {"gets k\r\n", "r"}, {"get k l m\r\n", "r"}, {"bget k\r\n", "r"},
	{"gat 0 k\r\n", "rw"}, {"gats 0 k l\r\n", "rw"}, {"gat 0\r\n", ""},
	{"set k 0 0 1\r\n1\r\n", "w"}, {"add k 0 0 1\r\n1\r\n", "w"}, {"replace k 0 0 1\r\n1\r\n", "w"},
	{"append k 0 0 1\r\n1\r\n", "w"}, {"prepend k 0 0 1\r\n1\r\n", "w"}, {"cas k 0 0 1 7\r\n1\r\n", "w"},
	{"delete k\r\n", "w"}, {"touch k 0\r\n", "w"}, {"incr k 1\r\n", "rw"}, {"decr k 1\r\n", "rw"},
	{"set k 0 0 1000\r\n" + strings.Repeat("v", 1000) + "\r\n", "w"}, // too large
	{"flush_all\r\n", "a"}, {"flush_all 1000000\r\n", "a"}, {"stats reset\r\n", "a"}, {"stats conns\r\n", "a"}, {"stats  conns\r\n", "a"},
	{"stats\r\n", ""}, {"stats settings\r\n", ""}, {"version\r\n", ""}, {"verbosity 1\r\n", ""}, {"shutdown\r\n", ""}, {"nonsense\r\n", ""},
	{"mg k v\r\n", "r"}, {"mg aw== b v k\r\n", "r"}, {"mg k q\r\n", "r"}, {"mg k u v\r\n", "r"}, {"me k\r\n", "r"},
	{"mg k v N30\r\n", "rw"}, {"mg k R30\r\n", "rw"}, {"mg k T0\r\n", "rw"},
	{"ms k 1\r\n1\r\n", "w"}, {"ms k 1 ME\r\n1\r\n", "w"}, {"ms k 1 MA\r\n1\r\n", "w"}, {"ms k 1 MP\r\n1\r\n", "w"}, {"ms k 1 MR\r\n1\r\n", "w"},
	{"ms k 1 C7 I\r\n1\r\n", "w"}, {"ms k 1 q\r\n1\r\n", "w"}, {"md k\r\n", "w"}, {"md k I q\r\n", "w"},
	{"ma k\r\n", "rw"}, {"ma k v MD q\r\n", "rw"}, {"mn\r\n", ""},
}

// everyOpcode is every opcode that means something, with a packet of it and the
// rights that it needs. Those of quit are tried elsewhere.
var everyOpcode = map[byte]struct{ send, needs string }{
	0x00: {packet(0x00, 0, "", "k", ""), "r"}, 0x09: {packet(0x09, 0, "", "k", ""), "r"},
	0x0c: {packet(0x0c, 0, "", "k", ""), "r"}, 0x0d: {packet(0x0d, 0, "", "k", ""), "r"},
	0x01: {packet(0x01, 0, flags5, "k", "1"), "w"}, 0x11: {packet(0x11, 0, flags5, "k", "1"), "w"},
	0x02: {packet(0x02, 0, flags5, "k", "1"), "w"}, 0x12: {packet(0x12, 0, flags5, "k", "1"), "w"},
	0x03: {packet(0x03, 0, flags5, "k", "1"), "w"}, 0x13: {packet(0x13, 7, flags5, "k", "1"), "w"},
	0x04: {packet(0x04, 0, "", "k", ""), "w"}, 0x14: {packet(0x14, 0, "", "k", ""), "w"},
	0x05: {packet(0x05, 0, count(1, 2, 0), "k", ""), "rw"}, 0x15: {packet(0x15, 0, count(1, 2, 0), "k", ""), "rw"},
	0x06: {packet(0x06, 0, count(1, 2, 0), "k", ""), "rw"}, 0x16: {packet(0x16, 0, count(1, 2, 0), "k", ""), "rw"},
	0x0e: {packet(0x0e, 0, "", "k", "1"), "w"}, 0x19: {packet(0x19, 0, "", "k", "1"), "w"},
	0x0f: {packet(0x0f, 0, "", "k", "1"), "w"}, 0x1a: {packet(0x1a, 0, "", "k", "1"), "w"},
	0x1c: {packet(0x1c, 0, month, "k", ""), "w"},
	0x1d: {packet(0x1d, 0, month, "k", ""), "rw"}, 0x1e: {packet(0x1e, 0, month, "k", ""), "rw"},
	0x23: {packet(0x23, 0, month, "k", ""), "rw"}, 0x24: {packet(0x24, 0, month, "k", ""), "rw"},
	0x08: {packet(0x08, 0, "", "", ""), "a"}, 0x18: {packet(0x18, 0, "", "", ""), "a"},
	0x10: {packet(0x10, 0, "", "conns", ""), "a"},
	0x0a: {packet(0x0a, 0, "", "", ""), ""}, 0x0b: {packet(0x0b, 0, "", "", ""), ""},
	0x20: {packet(0x20, 0, "", "", ""), "login"}, 0x21: {packet(0x21, 0, "", "PLAIN", "\x00both\x00p"), "login"}, 0x22: {packet(0x22, 0, "", "PLAIN", "\x00both\x00p"), "login"},
	0x07: {packet(0x07, 0, "", "", ""), "quit"}, 0x17: {packet(0x17, 0, "", "", ""), "quit"},
}

func openWithUsers(t *testing.T, text string, change ...func(*kumogateway.Options)) (*kumogateway.Gateway, string) {
	t.Helper()
	noLeaks(t)
	_, servers := startNodes(t, 1)
	path, users := withUsers(t, text)
	return openGateway(t, servers, append(change, users, func(o *kumogateway.Options) { o.EnableFlushAll, o.MaxItemSize = true, 500 })...), path
}

// covered fails the test if an operation of the codecs is in none of the tables.
func TestRightsCoverEveryOperation(t *testing.T) {
	seen := map[memcache.Op]bool{memcache.OpNone: true}
	take := func(p interface {
		Next([]byte, *memcache.Request) (int, bool)
	}, in string) {
		buf := []byte(in)
		for len(buf) > 0 {
			var r memcache.Request
			n, ok := p.Next(buf, &r)
			if !ok {
				return
			}
			seen[r.Op], buf = true, buf[n:]
		}
	}
	for _, c := range everyCommand {
		take(&memcache.TextParser{MaxValue: 500}, c.send)
	}
	for _, c := range everyOpcode {
		take(&memcache.BinaryParser{MaxValue: 500, Auth: c.needs == "login"}, c.send)
	}
	for op := range memcache.Op(memcache.NumOps) {
		if !seen[op] {
			t.Errorf("operation %d is in none of the tables of this test: who may do it?", op)
		}
	}
}

// refusal is the answer in text to a user who lacks one of the rights that a
// command needs; empty if there is none.
func refusal(user, command, needs string) string {
	for _, right := range needs {
		if strings.ContainsRune(may[user], right) {
			continue
		}
		switch {
		case strings.HasPrefix(command, "flush_all"):
			return "CLIENT_ERROR flush_all not allowed"
		case right == 'r':
			return "CLIENT_ERROR read not allowed"
		case right == 'w':
			return "CLIENT_ERROR write not allowed"
		}
		return "CLIENT_ERROR not allowed"
	}
	return ""
}

func TestRightsInText(t *testing.T) {
	g, _ := openWithUsers(t, allUsers)
	for user := range may {
		c := dialAs(t, g, user)
		for _, cmd := range everyCommand {
			c.send("%smn\r\n", cmd.send)
			var got []string
			for l := c.line(); l != "MN"; l = c.line() {
				got = append(got, l)
			}
			if cmd.send == "mn\r\n" {
				c.expect("MN\r\n")
			}
			refused := slices.ContainsFunc(got, func(l string) bool { return strings.HasSuffix(l, "not allowed") })
			want := refusal(user, cmd.send, cmd.needs)
			if want == "" && refused || want != "" && (len(got) != 1 || got[0] != want) {
				t.Errorf("%s: %q is answered %q, want %q", user, short(cmd.send), got, want)
			}
		}
	}
	// What is refused is not done, in silence where that was asked for.
	c := dialAs(t, g, "reader")
	c.do("set quiet 0 0 1 noreply\r\n1\r\nincr quiet 1 noreply\r\nget quiet\r\n", "END\r\n")
	if s := c.stats(""); s["not_allowed"] == "0" {
		t.Error("nothing was counted")
	}
}

func TestRightsInBinary(t *testing.T) {
	g, _ := openWithUsers(t, allUsers)
	for user := range may {
		c := dial(t, g)
		c.wantStatus(0, 0x21, "PLAIN", "\x00"+user+"\x00p")
		for opcode := range byte(0x30) {
			cmd, known := everyOpcode[opcode]
			if cmd.needs == "quit" || cmd.needs == "login" {
				continue
			}
			if !known {
				cmd.send = packet(opcode, 0, "", "k", "")
			}
			c.send("%s%s", cmd.send, packet(0x0a, 0, "", "", ""))
			var got []string
			for {
				text, _ := c.result()
				if strings.HasPrefix(text, "0a ") {
					break
				}
				got = append(got, text)
			}
			if opcode == 0x0a {
				c.result()
			}
			if !known {
				if len(got) != 1 || !strings.Contains(got[0], " 81 ") {
					t.Errorf("opcode %#x is in no table, and is answered %q", opcode, got)
				}
				continue
			}
			refused := slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, " 20 ") })
			want := refusal(user, "", cmd.needs) != ""
			if refused != want || want && len(got) != 1 {
				t.Errorf("%s: opcode %#x is answered %q; want a refusal: %v", user, opcode, got, want)
			}
		}
	}
}

// A user has keys of his own, which he sees as if there were no others, beside the
// prefix that all have.
func TestUsersOwnKeys(t *testing.T) {
	g, _ := openWithUsers(t, allUsers, func(o *kumogateway.Options) { o.KeyPrefix = "all:" })
	both, part, reader := dialAs(t, g, "both"), dialAs(t, g, "part"), dialAs(t, g, "partreader")
	both.do("set k 0 0 4\r\nboth\r\n", "STORED\r\n")
	part.do("get k part:k\r\nset k 0 0 4\r\npart\r\n", "END\r\nSTORED\r\n")
	for _, c := range []*client{part, reader} {
		c.do("get k part:k none\r\n", "VALUE k 0 4\r\npart\r\nEND\r\n")
		c.do("mg k v k\r\n", "VA 4 kk\r\npart\r\n")
		c.do("mg aw== b v k\r\n", "VA 4 kaw== b\r\npart\r\n")
	}
	both.do("get k part:k\r\n", "VALUE k 0 4\r\nboth\r\nVALUE part:k 0 4\r\npart\r\nEND\r\n")
	// The prefixes count in a key's length.
	long := strings.Repeat("k", 250-len("all:part:"))
	part.do("set "+long+" 0 0 1\r\nx\r\nget "+long+"\r\n", "STORED\r\nVALUE "+long+" 0 1\r\nx\r\nEND\r\n")
	part.do("get "+long+"k\r\n", "CLIENT_ERROR bad command line format\r\n")
	both.do("delete part:"+long+"\r\n", "DELETED\r\n")
}

// What the gateway keeps of one user's keys is nobody else's, and is answered by the
// name that the client has for it, on a connection that asked for nothing before, too.
func TestLocalCacheOfUsers(t *testing.T) {
	g, _ := openWithUsers(t, allUsers, cached(time.Hour), func(o *kumogateway.Options) { o.KeyPrefix = "all:" })
	both, part := dialAs(t, g, "both"), dialAs(t, g, "part")
	both.do("set k 0 0 4\r\nboth\r\nget k\r\n", "STORED\r\nVALUE k 0 4\r\nboth\r\nEND\r\n")
	part.do("get k\r\nset k 0 0 4\r\npart\r\nget k\r\n", "END\r\nSTORED\r\nVALUE k 0 4\r\npart\r\nEND\r\n")
	const mine = "VALUE k 0 4\r\npart\r\nEND\r\n"
	dialAs(t, g, "partreader").do("get k\r\n", mine)
	dialAs(t, g, "part").do("mg k v k\r\nmg aw== b v k\r\n", "VA 4 kk\r\npart\r\nVA 4 kaw== b\r\npart\r\n")
	dialAs(t, g, "writer").do("get k\r\n", "CLIENT_ERROR read not allowed\r\n")
	dialAs(t, g, "both").do("get k part:k\r\n", "VALUE k 0 4\r\nboth\r\nVALUE part:k 0 4\r\npart\r\nEND\r\n")
}

// Who may not write is not the one who is to make a stale value anew.
func TestReaderDoesNotWin(t *testing.T) {
	g, _ := openWithUsers(t, allUsers)
	both, reader := dialAs(t, g, "both"), dialAs(t, g, "reader")
	both.do("ms k 1\r\nx\r\nmd k I T90\r\n", "HD\r\nHD\r\n")
	reader.do("mg k v\r\n", "VA 1 X\r\nx\r\n")
	both.do("mg k v\r\n", "VA 1 X W\r\nx\r\n")
	reader.do("mg k v\r\n", "VA 1 Z X\r\nx\r\n")
}

// A changed file holds for connections that are open, too: rights and prefix
// change, and who is not in it any more is not served.
func TestRightsChange(t *testing.T) {
	g, path := openWithUsers(t, allUsers)
	reader, part, both := dialAs(t, g, "reader"), dialAs(t, g, "part"), dialAs(t, g, "both")
	part.do("set k 0 0 1\r\n1\r\n", "STORED\r\n")
	authFile(t, path, "reader:other password\npart read prefix=other/:p\nnew:p\n")
	g.Reload()
	reader.do("set r 0 0 1\r\n1\r\n", "STORED\r\n")
	part.do("get k\r\nset k 0 0 1\r\n2\r\n", "END\r\nCLIENT_ERROR write not allowed\r\n")
	both.do("get k\r\n", "CLIENT_ERROR unauthenticated\r\n")
	if rest := both.rest(); rest != "" {
		t.Errorf("%q follows", rest)
	}
	dialAs(t, g, "new").do("get part:k\r\n", "VALUE part:k 0 1\r\n1\r\nEND\r\n")
	authFile(t, path, "nonsense\n")
	g.Reload()
	dialAs(t, g, "new").do("get r\r\n", "VALUE r 0 1\r\n1\r\nEND\r\n")
}

// A connection on which passwords are guessed is closed; one that ends up right
// goes on.
func TestGuessing(t *testing.T) {
	log := new(syncBuffer)
	g, _ := openWithUsers(t, allUsers, func(o *kumogateway.Options) { o.Log = slog.New(slog.NewTextHandler(log, nil)) })
	c := dial(t, g)
	wrong := "set x 0 0 10\r\nboth guess\r\n"
	for range 2 {
		c.do(wrong, "CLIENT_ERROR authentication failure\r\n")
	}
	c.do(login("both")+"mn\r\n", "STORED\r\nMN\r\n")
	c = dial(t, g)
	c.send("%s", strings.Repeat(wrong, 9)+login("both"))
	if got, want := c.rest(), strings.Repeat("CLIENT_ERROR authentication failure\r\n", 5); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	c = dial(t, g)
	for range 5 {
		c.wantStatus(0x20, 0x21, "PLAIN", "\x00both\x00guess")
	}
	if got := c.rest(); got != "" {
		t.Errorf("%q", got)
	}
	// An address is what the log tells, and no more.
	if text := log.String(); !strings.Contains(text, "wrong user or password") || !strings.Contains(text, c.nc.LocalAddr().(*net.TCPAddr).IP.String()) || strings.Contains(text, "guess") || strings.Contains(text, "both") {
		t.Errorf("the log says %s", text)
	}
	s := dialAs(t, g, "both").stats("")
	if s["auth_errors"] != "12" {
		t.Errorf("%s wrong passwords were counted", s["auth_errors"])
	}
}

// The file may hold hashes instead of passwords.
func TestHashedPasswords(t *testing.T) {
	hash := func(password string) string {
		b, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	p, q := hash("p"), hash("q")
	g, path := openWithUsers(t, "both:"+p+"\nboth:"+q+"\nplain:p\nreader read prefix=x:"+strings.Replace(p, "$2a$", "$2y$", 1)+"\n")
	for _, user := range []string{"both", "plain", "reader", "both", "reader"} {
		dialAs(t, g, user).do("get k\r\n", "END\r\n")
	}
	dial(t, g).do("set x 0 0 6\r\nboth q\r\nmn\r\n", "STORED\r\nMN\r\n")
	for _, wrong := range []string{"both r", "plain q", "none p", "both " + p} {
		dial(t, g).do(fmt.Sprintf("set x 0 0 %d\r\n%s\r\n", len(wrong), wrong), "CLIENT_ERROR authentication failure\r\n")
	}
	// What was proven once is so no more when the file says otherwise.
	authFile(t, path, "both:"+q+"\n")
	g.Reload()
	dial(t, g).do("set x 0 0 6\r\nboth p\r\n", "CLIENT_ERROR authentication failure\r\n")
}

func TestUserLines(t *testing.T) {
	for text, want := range map[string]string{
		"a b:c\n":                              `line 1: "b" is no right`,
		"a read\n":                             "line 1: no colon",
		"a prefix=:c\n":                        "line 1: prefix= without a prefix",
		"a prefix=\"x:c\n":                     `line 1: prefix=": no second quote`,
		"a prefix=\"x\"y:c\n":                  "line 1: no colon",
		"a prefix=\"x y\":c\n":                 `line 1: prefix "x y": no spaces`,
		"a prefix=x prefix=y:c\n":              "line 1: two prefixes",
		"a prefix=" + strings.Repeat("x", 250): "line 1: a prefix of 250 bytes",
		"a:b\na read:c\n":                      "line 2: user a has other rights",
		"a:$2y$05$tooshort\n":                  "line 1: a password that begins as a hash",
		"a:$2a$20$" + strings.Repeat("a", 53):  "line 1: a hash of bcrypt's with cost 20",
		" a:b\n":                               "line 1: no user",
	} {
		_, users := withUsers(t, text)
		o := kumogateway.Defaults()
		users(&o)
		if g, err := kumogateway.Open(o); err == nil {
			g.Close()
			t.Errorf("%q is taken", text)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	// What memcached takes means the same here.
	g, _ := openWithUsers(t, "a:b:c read\nb::\nwho read write :p\nq\"x:y\n")
	for user, password := range map[string]string{"a": "b:c read", "b": ":", "who": "p", "q\"x": "y"} {
		c := dial(t, g)
		c.do(fmt.Sprintf("set x 0 0 %d\r\n%s %s\r\n", len(user)+1+len(password), user, password), "STORED\r\n")
	}
}
