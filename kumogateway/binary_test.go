package kumogateway_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/kumogateway"
)

// packet is a request of the binary protocol.
func packet(opcode byte, cas uint64, extras, key, value string) string {
	b := []byte{0x80, opcode}
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	b = append(b, byte(len(extras)), 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(extras)+len(key)+len(value)))
	b = binary.BigEndian.AppendUint32(b, 0xfeedf00d)
	b = binary.BigEndian.AppendUint64(b, cas)
	return string(b) + extras + key + value
}

const (
	noExtras = ""
	flags5   = "\x00\x00\x00\x05\x00\x00\x00\x00" // and no expiry
	month    = "\x00\x27\x8d\x00"                 // in seconds
)

// count is the extras of incr and decr.
func count(delta, initial uint64, expiry uint32) string {
	b := binary.BigEndian.AppendUint64(nil, delta)
	b = binary.BigEndian.AppendUint64(b, initial)
	return string(binary.BigEndian.AppendUint32(b, expiry))
}

// result reads a packet and tells opcode, status and body, with the lengths of
// extras and key, and its token.
func (c *client) result() (text string, cas uint64) {
	c.t.Helper()
	head := make([]byte, 24)
	if _, err := io.ReadFull(c.r, head); err != nil {
		c.t.Fatalf("read a packet: %v", err)
	}
	body := make([]byte, binary.BigEndian.Uint32(head[8:]))
	if _, err := io.ReadFull(c.r, body); err != nil {
		c.t.Fatalf("read a body: %v", err)
	}
	if head[0] != 0x81 || binary.BigEndian.Uint32(head[12:]) != 0xfeedf00d {
		c.t.Fatalf("a packet begins with %x", head)
	}
	nkey, nextra := int(binary.BigEndian.Uint16(head[2:])), int(head[4])
	text = fmt.Sprintf("%02x %x %x|%s|%s", head[1], binary.BigEndian.Uint16(head[6:]), body[:nextra], body[nextra:nextra+nkey], body[nextra+nkey:])
	return text, binary.BigEndian.Uint64(head[16:])
}

func (c *client) ask(request, want string) (cas uint64) {
	c.t.Helper()
	c.send("%s", request)
	got, cas := c.result()
	if got != want {
		c.t.Fatalf("got %q, want %q", got, want)
	}
	return cas
}

func TestBinaryCommands(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 3)
	c := dial(t, openGateway(t, servers))
	for _, step := range []struct{ send, want string }{
		{packet(0x00, 0, noExtras, "a", ""), "00 1 ||Not found"},
		{packet(0x0c, 0, noExtras, "a", ""), "0c 1 |a|"},
		{packet(0x01, 0, flags5, "a", "hello"), "01 0 ||"},
		{packet(0x00, 0, noExtras, "a", ""), "00 0 00000005||hello"},
		{packet(0x0c, 0, noExtras, "a", ""), "0c 0 00000005|a|hello"},
		{packet(0x02, 0, flags5, "a", "x"), "02 2 ||Data exists for key."},
		{packet(0x03, 0, flags5, "b", "x"), "03 1 ||Not found"},
		{packet(0x0e, 0, noExtras, "a", "!"), "0e 0 ||"},
		{packet(0x0f, 0, noExtras, "b", "!"), "0f 5 ||Not stored."},
		{packet(0x01, 5, flags5, "a", "x"), "01 2 ||Data exists for key."},
		{packet(0x02, 5, flags5, "b", "x"), "02 1 ||Not found"},
		{packet(0x0e, 5, noExtras, "a", "x"), "0e 2 ||Data exists for key."},
		{packet(0x04, 5, noExtras, "a", ""), "04 2 ||Data exists for key."},
		{packet(0x1c, 0, month, "a", ""), "1c 0 00000005||"},
		{packet(0x1c, 0, month, "b", ""), "1c 1 ||Not found"},
		{packet(0x1d, 0, month, "a", ""), "1d 0 00000005||hello!"},
		{packet(0x23, 0, month, "a", ""), "23 0 00000005|a|hello!"},
		{packet(0x23, 0, month, "b", ""), "23 1 |b|"},
		{packet(0x05, 0, count(1, 0, 1<<32-1), "n", ""), "05 1 ||Not found"},
		{packet(0x05, 0, count(1, 256, 0), "n", ""), "05 0 ||\x00\x00\x00\x00\x00\x00\x01\x00"},
		{packet(0x05, 0, count(2, 256, 0), "n", ""), "05 0 ||\x00\x00\x00\x00\x00\x00\x01\x02"},
		{packet(0x06, 0, count(999, 0, 0), "n", ""), "06 0 ||\x00\x00\x00\x00\x00\x00\x00\x00"},
		{packet(0x06, 7, count(999, 0, 0), "n", ""), "06 2 ||Data exists for key."},
		{packet(0x05, 0, count(1, 0, 0), "a", ""), "05 6 ||Non-numeric server-side value for incr or decr"},
		{packet(0x01, 0, flags5, "\x00 \r\n\xff", "odd"), "01 0 ||"},
		{packet(0x0c, 0, noExtras, "\x00 \r\n\xff", ""), "0c 0 00000005|\x00 \r\n\xff|odd"},
		{packet(0x04, 0, noExtras, "a", ""), "04 0 ||"},
		{packet(0x04, 0, noExtras, "a", ""), "04 1 ||Not found"},
		{packet(0x08, 0, noExtras, "", ""), "08 20 ||Auth failure."},
		{packet(0x0a, 0, noExtras, "", ""), "0a 0 ||"},
		{packet(0x0b, 0, noExtras, "", ""), "0b 0 ||1.6.40"},
		{packet(0x1b, 0, "\x00\x00\x00\x01", "", ""), "1b 81 ||Unknown command"},
		{packet(0x20, 0, noExtras, "", ""), "20 81 ||Unknown command"},
		{packet(0x21, 0, noExtras, "PLAIN", "\x00me\x00secret"), "21 81 ||Unknown command"},
		{packet(0x99, 0, noExtras, "key", "value"), "99 81 ||Unknown command"},
		{packet(0x10, 0, noExtras, "nonsense", ""), "10 1 ||Not found"},
		{packet(0x10, 0, noExtras, "reset", ""), "10 0 ||"},
	} {
		c.ask(step.send, step.want)
	}
	c.ask(packet(0x07, 0, noExtras, "", ""), "07 0 ||")
	if got := c.rest(); got != "" {
		t.Errorf("after quit: %q", got)
	}
}

// Every mutation tells the token that it made, and takes one for a condition.
func TestBinaryCAS(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers))
	last := c.ask(packet(0x01, 0, flags5, "a", "1"), "01 0 ||")
	for _, step := range []struct {
		opcode              byte
		extras, value, want string
	}{
		{0x01, flags5, "2", "01 0 ||"},
		{0x03, flags5, "3", "03 0 ||"},
		{0x0e, noExtras, "4", "0e 0 ||"},
		{0x0f, noExtras, "1", "0f 0 ||"},
		{0x05, count(1, 0, 0), "", "05 0 ||\x00\x00\x00\x00\x00\x00\x00\x87"},
	} {
		made := c.ask(packet(step.opcode, last, step.extras, "a", step.value), step.want)
		if got := c.ask(packet(0x0a, 0, noExtras, "", ""), "0a 0 ||"); got != 0 {
			t.Errorf("a noop has token %d", got)
		}
		c.send("%s", packet(0x00, 0, noExtras, "a", ""))
		if _, got := c.result(); got != made || made == last || made == 0 {
			t.Errorf("opcode %#x made token %d of %d, and a get tells %d", step.opcode, made, last, got)
		}
		last = made
	}
	if got := c.ask(packet(0x04, last, noExtras, "a", ""), "04 0 ||"); got != 0 {
		t.Errorf("a delete has token %d", got)
	}
}

// Of quiet requests only what went wrong is answered, and gets that found
// something; all in the order of the requests.
func TestBinaryQuiet(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 3)
	c := dial(t, openGateway(t, servers))
	c.send("%s", strings.Join([]string{
		packet(0x11, 0, flags5, "a", "1"),
		packet(0x12, 0, flags5, "a", "2"),
		packet(0x13, 0, flags5, "b", "2"),
		packet(0x19, 0, noExtras, "a", "0"),
		packet(0x1a, 0, noExtras, "a", "3"),
		packet(0x15, 0, count(5, 0, 0), "a", ""),
		packet(0x16, 0, count(1, 0, 0), "a", ""),
		packet(0x09, 0, noExtras, "b", ""),
		packet(0x09, 0, noExtras, "a", ""),
		packet(0x0d, 0, noExtras, "b", ""),
		packet(0x0d, 0, noExtras, "a", ""),
		packet(0x1e, 0, month, "b", ""),
		packet(0x24, 0, month, "a", ""),
		packet(0x14, 0, noExtras, "a", ""),
		packet(0x14, 0, noExtras, "a", ""),
		packet(0x18, 0, noExtras, "", ""),
		packet(0x0a, 0, noExtras, "", ""),
		packet(0x17, 0, noExtras, "", ""),
	}, ""))
	for _, want := range []string{
		"12 2 ||Data exists for key.", "13 1 ||Not found", "09 0 00000005||314", "0d 0 00000005|a|314",
		"24 0 00000005|a|314", "14 1 ||Not found", "18 20 ||Auth failure.", "0a 0 ||",
	} {
		if got, _ := c.result(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if got := c.rest(); got != "" {
		t.Errorf("after a quiet quit: %q", got)
	}
}

func TestBinaryStat(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers, func(o *kumogateway.Options) { o.EnableFlushAll = true }))
	c.ask(packet(0x01, 0, flags5, "a", "x"), "01 0 ||")
	c.ask(packet(0x08, 0, "\x00\x00\x00\x00", "", ""), "08 0 ||")
	c.ask(packet(0x00, 0, noExtras, "a", ""), "00 1 ||Not found")
	stat := func(group string) map[string]string {
		c.send("%s", packet(0x10, 0, noExtras, group, ""))
		m := map[string]string{}
		for {
			got, _ := c.result()
			if got == "10 0 ||" {
				return m
			}
			name, value, ok := strings.Cut(strings.TrimPrefix(got, "10 0 |"), "|")
			if !ok {
				t.Fatalf("a statistic is %q", got)
			}
			m[name] = value
		}
	}
	got := stat("")
	for name, want := range map[string]string{"cmd_set": "1", "cmd_flush": "1", "get_misses": "1", "version": "1.6.40"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if got := stat("settings")["cas_enabled"]; got != "yes" {
		t.Errorf("cas_enabled is %q", got)
	}
	if got := stat("items"); len(got) != 0 {
		t.Errorf("items are %v", got)
	}
}

// What cannot be a packet ends the connection, after what was asked before.
func TestBinaryRubbish(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.MaxItemSize = 100 })
	lies := []byte(packet(0x01, 0, flags5, "a", "x"))
	binary.BigEndian.PutUint32(lies[8:], 3)
	huge := []byte(packet(0x01, 0, flags5, "a", "x"))
	binary.BigEndian.PutUint32(huge[8:], 1<<32-1)
	for name, c := range map[string]struct{ in, want string }{
		"another magic":      {"get a\r\n", ""},
		"lengths that lie":   {string(lies), "01 81 ||Unknown command"},
		"a body without end": {string(huge), "01 4 ||Invalid arguments"},
		"a key too long":     {packet(0x00, 0, noExtras, strings.Repeat("k", 251), ""), "00 4 ||Invalid arguments"},
		"no key":             {packet(0x00, 0, noExtras, "", ""), "00 4 ||Invalid arguments"},
		"no extras":          {packet(0x01, 0, noExtras, "a", "x"), "01 4 ||Invalid arguments"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := dial(t, g)
			cl.t = t
			cl.ask(packet(0x0a, 0, noExtras, "", ""), "0a 0 ||")
			if c.want == "" {
				cl.send("%s", c.in)
			} else {
				cl.ask(c.in, c.want)
			}
			if got := cl.rest(); got != "" {
				t.Errorf("then %q", got)
			}
		})
	}
	c := dial(t, g)
	for _, opcode := range []byte{0x01, 0x02} {
		c.ask(packet(0x01, 0, flags5, "a", "x"), "01 0 ||")
		c.ask(packet(opcode, 0, flags5, "a", strings.Repeat("v", 101)), fmt.Sprintf("%02x 3 ||Too large.", opcode))
		if opcode == 0x01 {
			c.ask(packet(0x00, 0, noExtras, "a", ""), "00 1 ||Not found")
		} else {
			c.ask(packet(0x00, 0, noExtras, "a", ""), "00 0 00000005||x")
		}
	}
}
