package memcached_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// The generators leave out where the gateway differs on purpose, or must:
//   - `t` before `T` in a meta command, which memcached answers with the time
//     that there was; here it is the one that there is then;
//   - `k` with `b` in mg, and me with `b`: memcached remembers of an item whether
//     ms made it with a key in base64, here the request decides;
//   - `l` and `h`, and the like in me: each server remembers them in its own way;
//   - `E` in ma, which memcached forgets when the number gets longer;
//   - an opaque too long for memcached, which notices it after it has begun;
//   - counters on a key that the same bundle of packets asks for: memcached, which
//     still holds the value for the answer, then stores a shorter number without
//     the spaces that it otherwise has;
//   - appending beyond the largest value;
//   - options that the memcached that is installed does not know yet.
type generator struct {
	t   *rapid.T
	run string // makes keys that no run before had
	new bool   // memcached is at least 1.6.40
}

func (g *generator) pick(label string, of ...string) string {
	return rapid.SampledFrom(of).Draw(g.t, label)
}

func (g *generator) maybe(label string) bool { return rapid.Bool().Draw(g.t, label) }

func (g *generator) key() string { return g.pick("key", "A", "B", "D") + g.run }

func (g *generator) value() string { return g.pick("value", "", "x", "12", "hello", "99") }

// token is a CAS token that fits now and then.
func (g *generator) token() string {
	return g.pick("token", lastToken, lastToken, lastToken, "1", fmt.Sprint(largest*2), fmt.Sprint(smallest+1), "0")
}

// seconds is a time that does not come while the test runs, or has come.
func (g *generator) seconds() string {
	return g.pick("seconds", "0", "100", "1000", "100", "1000", "-1")
}

// meta draws a meta command.
func (g *generator) meta() (on, line string) {
	command := g.pick("meta", "mg", "mg", "ms", "md", "ma", "me")
	key, flags := g.key(), []string{}
	add := func(letters string) {
		for _, l := range strings.Fields(letters) {
			if l == "t" && slices.Contains(flags, "T-1") {
				continue // memcached tells a time that wrapped around
			}
			if rapid.IntRange(0, 3).Draw(g.t, l) == 0 {
				flags = append(flags, l)
			}
		}
	}
	with := func(letter string, arg func() string) {
		if rapid.IntRange(0, 3).Draw(g.t, letter) == 0 {
			flags = append(flags, letter+arg())
		}
	}
	own := func() string { return fmt.Sprint(smallest + rapid.IntRange(0, 5).Draw(g.t, "own")) }
	if command == "me" && !g.new {
		command = "mg"
	}
	if command == "me" {
		return key, fmt.Sprintf("me %s\r\n", key)
	}
	on = key
	coded := g.maybe("b")
	if coded {
		on = "\x00\xff" + key
		key = base64.StdEncoding.EncodeToString([]byte(on))
		flags = append(flags, "b")
	}
	touches := g.pick("where T stands", "before", "behind")
	touch := func(where string) {
		if where == touches {
			with("T", g.seconds)
		}
	}
	touch("before")
	if g.new && command != "ma" {
		with("E", own)
	}
	value := ""
	switch command {
	case "mg":
		with("N", func() string { return g.pick("vivify", "0", "100") })
		with("R", func() string { return g.pick("recache", "0", "30", "500", "2000", "-1") })
		touch("behind")
		if g.new {
			with("C", g.token)
		}
		add("s v t c f q Oxyz u")
		if !coded {
			add("k")
		}
	case "ms":
		value = g.value()
		with("C", g.token)
		with("F", func() string { return g.pick("flags", "0", "7", "4294967295") })
		with("M", func() string { return g.pick("mode", "S", "E", "A", "P", "R", "X") })
		add("I c k q Oxyz")
		if g.new {
			with("N", func() string { return g.pick("vivify", "0", "100") })
			add("s")
		}
		return on, fmt.Sprintf("ms %s %d %s\r\n%s\r\n", key, len(value), strings.Join(flags, " "), value)
	case "md":
		with("C", g.token)
		with("F", func() string { return "7" })
		add("I k q Oxyz")
		if g.new {
			add("x")
		}
	case "ma":
		with("C", g.token)
		with("N", func() string { return g.pick("vivify", "0", "100") })
		touch("behind")
		with("J", func() string { return g.pick("initial", "0", "13", "18446744073709551615") })
		if slices.ContainsFunc(flags, func(f string) bool { return f[0] == 'T' }) {
			flags = append(flags, "D0") // memcached forgets T when the number gets longer
		} else {
			with("D", func() string { return g.pick("delta", "0", "5", "1000", "18446744073709551615") })
		}
		with("M", func() string { return g.pick("mode", "I", "D", "+", "-", "x") })
		add("t c v k Oxyz")
		if g.new {
			add("q")
		}
	}
	return on, fmt.Sprintf("%s %s %s\r\n", command, key, strings.Join(flags, " "))
}

// broken draws a meta command of any words.
func (g *generator) broken() string {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{
		"A" + g.run, "1", "0", "s", "v", "v", "k", "q", "b", "T10", "Tx", "T", "N", "C", "Cx", "E-1", "Fx", "F99999999999", "Jx", "Dx",
		"M", "MS", "Mx", "O", "Z", "!", "-", "Px", "L", strings.Repeat("k", 251), "I", "x",
	}), 0, 6).Draw(g.t, "words")
	return g.pick("meta", "mg", "md", "ma") + " " + strings.Join(words, " ") + "\r\n"
}

// text draws a command of the classic protocol.
func (g *generator) text() (key, line string) {
	key = g.key()
	value := g.value()
	switch verb := g.pick("verb", "get", "gets", "gat", "set", "add", "replace", "append", "prepend", "cas", "delete", "incr", "decr", "touch"); verb {
	case "get":
		return key, fmt.Sprintf("get %s %s\r\n", key, g.key())
	case "gets":
		return key, fmt.Sprintf("gets %s\r\n", key)
	case "gat":
		return key, fmt.Sprintf("gat %s %s\r\n", g.seconds(), key)
	case "delete":
		return key, fmt.Sprintf("delete %s\r\n", key)
	case "incr", "decr":
		return key, fmt.Sprintf("%s %s %s\r\n", verb, key, g.pick("delta", "0", "5", "1000", "18446744073709551615"))
	case "touch":
		return key, fmt.Sprintf("touch %s %s\r\n", key, g.seconds())
	case "cas":
		return key, fmt.Sprintf("cas %s 3 %s %d %s\r\n%s\r\n", key, g.seconds(), len(value), g.token(), value)
	default:
		return key, fmt.Sprintf("%s %s 5 %s %d\r\n%s\r\n", verb, key, g.seconds(), len(value), value)
	}
}

// packet draws a request of the binary protocol, of any opcode that does not end
// the connection.
func (g *generator) packet() packet {
	p := packet{opcode: byte(rapid.SampledFrom([]int{
		0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x09, 0x0c, 0x0d, 0x0e, 0x0f, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16,
		0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x20, 0x21, 0x22, 0x23, 0x24, 0x30, 0xff,
	}).Draw(g.t, "opcode")), key: g.key()}
	p.cas = rapid.SampledFrom([]uint64{0, 0, 0, ^uint64(0), ^uint64(0), smallest + 1}).Draw(g.t, "cas")
	number := func(label string, of ...uint64) uint64 { return rapid.SampledFrom(of).Draw(g.t, label) }
	seconds := func() []byte {
		return binary.BigEndian.AppendUint32(nil, uint32(number("seconds", 0, 100, 1000, 40*24*60*60)))
	}
	if g.maybe("odd key") {
		p.key = "\x00\xff" + p.key // as meta's keys in base64
	}
	switch p.opcode {
	case 0x01, 0x02, 0x03, 0x11, 0x12, 0x13:
		p.extras, p.value = "\x00\x00\x00\x07"+string(seconds()), g.value()
	case 0x0e, 0x0f, 0x19, 0x1a:
		p.value = g.value()
	case 0x05, 0x06, 0x15, 0x16:
		b := binary.BigEndian.AppendUint64(nil, number("delta", 0, 5, 1000, 1<<64-1))
		b = binary.BigEndian.AppendUint64(b, number("initial", 0, 13, 1<<64-1))
		p.extras = string(binary.BigEndian.AppendUint32(b, uint32(number("fresh", 0, 100, 1<<32-1))))
	case 0x1c, 0x1d, 0x1e, 0x23, 0x24:
		p.extras = string(seconds())
	case 0x1b, 0x20, 0x30, 0xff: // memcached passes over too much of a longer one
		p.key = ""
	case 0x21, 0x22:
		p.key, p.value = "PLAIN", "secret"
	}
	return p
}

// packets draws a few requests that are sent at once, the quiet ones among them.
func (g *generator) packets() []packet {
	ps := make([]packet, 0, 4)
	for range rapid.IntRange(1, 4).Draw(g.t, "packets") {
		p := g.packet()
		if counts(p.opcode) && slices.ContainsFunc(ps, func(before packet) bool { return before.key == p.key }) {
			continue
		}
		ps = append(ps, p)
	}
	return ps
}

// counts tells whether an opcode is incr or decr.
func counts(opcode byte) bool {
	switch opcode {
	case 0x05, 0x06, 0x15, 0x16:
		return true
	}
	return false
}

// Random commands of all protocols are answered as memcached answers them.
func TestAgainstMemcachedRandom(t *testing.T) {
	real := &side{network: "unix", addr: startMemcached(t)}
	c := testenv.New(t, testenv.Servers(1), testenv.Replicas(1), testenv.Args(subjects.RoleGateway, "--enable-flush-all"))
	ours := &side{network: "tcp", addr: c.Client(0).Addr()}
	defer real.close()
	defer ours.close()
	real.open(t)
	var patch int
	fmt.Sscanf(real.ask(t, "", "version\r\n"), "VERSION 1.6.%d", &patch)
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		g := &generator{t: t, run: fmt.Sprint(runs), new: patch >= 40}
		real.open(t)
		ours.open(t)
		var said []string
		for range rapid.IntRange(1, 25).Draw(t, "commands") {
			var want, got, key, line string
			switch g.pick("protocol", "meta", "meta", "meta", "text", "binary", "binary", "broken") {
			case "text":
				key, line = g.text()
			case "binary":
				ps := g.packets()
				said = append(said, fmt.Sprint(ps))
				want, got = real.askBinary(t, ps...), ours.askBinary(t, ps...)
			case "broken":
				if g.new {
					line = g.broken()
				}
			default:
				key, line = g.meta()
			}
			if line != "" {
				said = append(said, line)
				want, got = real.ask(t, key, line), ours.ask(t, key, line)
			}
			if got != want {
				t.Fatalf("after %q\n got %q\nwant %q", said, got, want)
			}
		}
	})
}
