package memcached_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startMemcached runs the memcached that is installed and returns its socket.
func startMemcached(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("memcached")
	if err != nil {
		t.Skip("memcached is not installed: nothing to compare with")
	}
	socket := filepath.Join(t.TempDir(), "memcached.sock")
	args := []string{"-s", socket, "-t", "1", "-m", "64", "-o", "no_lru_crawler,no_lru_maintainer"}
	if os.Getuid() == 0 {
		args = append(args, "-u", "root") // it does not run as root unasked
	}
	cmd := exec.Command(path, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); <-tick.C {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return socket
		}
	}
	t.Fatal("memcached does not come up")
	return ""
}

// fataler is what tests and properties have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// side is memcached or a gateway: a connection for each syntax, and the last
// token of each key that it told of. Tokens of different keys may be equal here,
// and never are there.
type side struct {
	network, addr string
	text, binary  *bufio.ReadWriter
	tokens        map[string]uint64
	closers       []io.Closer
}

func (s *side) close() {
	for _, c := range s.closers {
		c.Close()
	}
}

func (s *side) dial(t fataler) *bufio.ReadWriter {
	t.Helper()
	c, err := net.Dial(s.network, s.addr)
	if err != nil {
		t.Fatalf("dial %s: %v", s.addr, err)
	}
	c.SetDeadline(time.Now().Add(30 * time.Second))
	s.closers = append(s.closers, c)
	return bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
}

// open makes new connections for one run.
func (s *side) open(t fataler) {
	t.Helper()
	s.close()
	s.closers, s.tokens = nil, map[string]uint64{}
	s.text, s.binary = s.dial(t), s.dial(t)
}

// lastToken stands in a command for the token of its key that a side told of
// last.
const lastToken = "%TOKEN%"

// ask sends a text or meta command on a key and returns the answer, without what
// two servers cannot have in common.
func (s *side) ask(t fataler, key, command string) string {
	t.Helper()
	io.WriteString(s.text, strings.ReplaceAll(command, lastToken, strconv.FormatUint(s.tokens[key], 10))+"mn\r\n")
	if err := s.text.Flush(); err != nil {
		t.Fatalf("%s: %v", s.addr, err)
	}
	var answer strings.Builder
	for {
		line, err := s.text.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: after %q of the answer to %q: %v", s.addr, answer.String(), command, err)
		}
		if line == "MN\r\n" {
			return answer.String()
		}
		answer.WriteString(s.plain(key, line))
	}
}

var (
	metaToken = regexp.MustCompile(` (c|cas=)(\d+)`)
	metaTTL   = regexp.MustCompile(` (t|exp=)(\d+)`)
	textToken = regexp.MustCompile(`^(VALUE \S+ \d+ \d+) (\d+)`)
	debugLine = regexp.MustCompile(` la=\d+| fetch=\w+| cls=\d+`)
)

// smallest is the least token that a command gives: what servers make of
// themselves is smaller, or larger than largest.
const (
	smallest = 1 << 50
	largest  = 1<<50 + 100
)

// plain hides tokens that the server made, and rounds times: a second may pass, or
// begin a little later for one of the two.
func (s *side) plain(key, line string) string {
	hide := func(digits string) string {
		n, _ := strconv.ParseUint(digits, 10, 64)
		if n == 0 {
			return "0"
		}
		return s.hide(key, n)
	}
	if m := textToken.FindStringSubmatch(line); m != nil {
		return m[1] + " " + hide(m[2]) + line[len(m[0]):]
	}
	line = metaToken.ReplaceAllStringFunc(line, func(f string) string {
		m := metaToken.FindStringSubmatch(f)
		return " " + m[1] + hide(m[2])
	})
	line = metaTTL.ReplaceAllStringFunc(line, func(f string) string {
		m := metaTTL.FindStringSubmatch(f)
		n, _ := strconv.Atoi(m[2])
		return fmt.Sprintf(" %s%d", m[1], (n+25)/50*50)
	})
	return debugLine.ReplaceAllString(line, "")
}

func (s *side) hide(key string, token uint64) string {
	s.tokens[key] = token
	if token >= smallest && token <= largest {
		return strconv.FormatUint(token, 10)
	}
	return "TOKEN"
}

// packet is a request of the binary protocol; the last token is meant where cas
// is ^0.
type packet struct {
	opcode             byte
	cas                uint64
	extras, key, value string
	opaque             uint32
}

func (p packet) String() string {
	return fmt.Sprintf("%#x %q %q %q cas %d", p.opcode, p.extras, p.key, p.value, p.cas)
}

func (p packet) append(b []byte, token uint64) []byte {
	b = append(b, 0x80, p.opcode)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.key)))
	b = append(b, byte(len(p.extras)), 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.extras)+len(p.key)+len(p.value)))
	b = binary.BigEndian.AppendUint32(b, p.opaque)
	if p.cas != ^uint64(0) {
		token = p.cas
	}
	b = binary.BigEndian.AppendUint64(b, token)
	return append(append(append(b, p.extras...), p.key...), p.value...)
}

// askBinary sends packets and returns all answers, the tokens hidden.
func (s *side) askBinary(t fataler, ps ...packet) string {
	t.Helper()
	var b []byte
	for i, p := range ps {
		p.opaque = uint32(i)
		b = p.append(b, s.tokens[p.key])
	}
	s.binary.Write(packet{opcode: 0x0a}.append(b, 0))
	if err := s.binary.Flush(); err != nil {
		t.Fatalf("%s: %v", s.addr, err)
	}
	var answer bytes.Buffer
	for {
		head := make([]byte, 24)
		_, err := io.ReadFull(s.binary, head)
		body := make([]byte, binary.BigEndian.Uint32(head[8:]))
		if err == nil {
			_, err = io.ReadFull(s.binary, body)
		}
		switch {
		case errors.Is(err, io.EOF):
			answer.WriteString("closed")
			return answer.String()
		case err != nil:
			t.Fatalf("%s: after %q of the answer to %v: %v", s.addr, answer.String(), ps, err)
		case head[1] == 0x0a:
			return answer.String()
		}
		if token := binary.BigEndian.Uint64(head[16:]); token != 0 {
			fmt.Fprintf(&answer, "%s ", s.hide(ps[binary.BigEndian.Uint32(head[12:])].key, token))
		}
		fmt.Fprintf(&answer, "%x %q\n", head[:16], body)
	}
}
