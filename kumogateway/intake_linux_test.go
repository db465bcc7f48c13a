package kumogateway

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"weak"

	"golang.org/x/sys/unix"
)

// The kernel says when all was taken, and that an end of input is still to come.
func TestIntakeTellsWhatIsLeft(t *testing.T) {
	client, served := pair(t)
	raw, err := served.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var in intake
	if err := raw.Control(in.begin); err != nil {
		t.Fatal(err)
	}
	take := func(size int) (text string, more bool) {
		t.Helper()
		b := make([]byte, size)
		err := raw.Read(func(fd uintptr) bool {
			n, left, err := in.take(int(fd), b)
			if err != nil && !errors.Is(err, syscall.EAGAIN) {
				t.Error(err)
			}
			text, more = string(b[:n]), left
			return err == nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return text, more
	}
	if _, err := client.Write([]byte("abcdef")); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		size int
		want string
		more bool
	}{{4, "abcd", true}, {4, "ef", false}} {
		if text, more := take(step.size); text != step.want || more != step.more {
			t.Errorf("took %q, more: %v; want %q, %v", text, more, step.want, step.more)
		}
	}
	if _, err := client.Write([]byte("gh")); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// The end may come a moment after what is before it.
	text, more := take(4)
	if text != "gh" {
		t.Errorf("took %q, want gh", text)
	}
	if !more {
		t.Log("the end came later")
	}
	if text, _ := take(4); text != "" {
		t.Errorf("took %q at the end", text)
	}
}

// attend has a connection served by a gateway without servers, with the client's end
// of it; ended is closed when it has ended.
func attend(t *testing.T, o Options, fresh func() any) (client *net.TCPConn, c *conn, ended chan struct{}) {
	t.Helper()
	client, served := pair(t)
	g := &Gateway{o: o, lim: newLimits(&o), buffers: sync.Pool{New: fresh}}
	c, err := newConn(g, served, false)
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() { defer close(ended); c.serve() }()
	t.Cleanup(func() { client.Close(); <-ended })
	return client, c, ended
}

func freshBuffer() any { return new(readBuf) }

// An idle connection is looked after once, and goes on; one whose client is gone,
// of which the reader did not hear, ends.
func TestIdleConnectionIsProbed(t *testing.T) {
	client, c, ended := attend(t, Defaults(), freshBuffer)
	in := bufio.NewReader(client)
	deadline := time.Now().Add(time.Minute)
	client.SetDeadline(deadline)
	for range 20 {
		if _, err := io.WriteString(client, "version\r\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := in.ReadString('\n'); err != nil || line != "VERSION "+protocolVersion+"\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
		// The one who wrote the answer may not be done yet.
		for probed := false; !probed; runtime.Gosched() {
			if c.trim(); time.Now().After(deadline) {
				t.Fatal("an idle connection was not probed")
			}
			c.mu.Lock()
			probed = c.probed
			c.mu.Unlock()
		}
		c.trim()
	}
	client.SetLinger(0)
	client.Close()
	<-ended
	if c.parser == nil {
		t.Error("no request was parsed")
	}
}

// A gateway that closes ends a connection whose client never stops sending, too.
func TestFloodIsShut(t *testing.T) {
	client, served := pair(t)
	o := Defaults()
	c, err := newConn(&Gateway{o: o, lim: newLimits(&o), buffers: sync.Pool{New: freshBuffer}}, served, false)
	if err != nil {
		t.Fatal(err)
	}
	flood := strings.Repeat("verbosity 1 noreply\r\n", 2*readBuffer/20)
	if _, err := io.WriteString(client, flood); err != nil {
		t.Fatal(err)
	}
	for there := 0; there < len(flood); runtime.Gosched() {
		if err := c.raw.Control(func(fd uintptr) { there, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.shut()
	if err := c.raw.Control(func(fd uintptr) { c.workOn(fd) }); err != nil {
		t.Fatal(err)
	}
	if n := c.stats.bytesRead; n > readBuffer {
		t.Errorf("%d bytes were read after that", n)
	}
}

// To look after an idle connection gives its client no more time.
func TestProbeGivesNoTime(t *testing.T) {
	o := Defaults()
	o.IdleTimeout = 100 * time.Millisecond
	_, c, ended := attend(t, o, freshBuffer)
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		select {
		case <-ended:
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the connection goes on")
		}
		c.mu.Lock()
		if c.probed && !c.poked { // as if it had said something
			c.probed = false
		}
		c.mu.Unlock()
		c.trim()
	}
}

// A connection that we end, and whose client may not have taken all yet, is not
// looked after.
func TestEndedConnectionIsNotProbed(t *testing.T) {
	client, c, _ := attend(t, Defaults(), freshBuffer)
	if _, err := io.WriteString(client, "quit\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(client); err != nil || len(b) > 0 {
		t.Fatalf("%q, %v", b, err)
	}
	c.trim()
	c.trim()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.poked {
		t.Error("the time to linger was cut short")
	}
}

// A connection that waits keeps no buffer from being collected.
func TestIdleConnectionKeepsNoBuffer(t *testing.T) {
	made := make(chan weak.Pointer[readBuf], 100)
	client, _, _ := attend(t, Defaults(), func() any {
		b := new(readBuf)
		made <- weak.Make(b)
		return b
	})
	if _, err := io.WriteString(client, "delete "+strings.Repeat("k", 300)+"\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(client).ReadString('\n'); err != nil || !strings.HasPrefix(line, "CLIENT_ERROR") {
		t.Fatalf("%q, %v", line, err)
	}
	// The last one that was taken, if more than one were.
	var b weak.Pointer[readBuf]
	for n := len(made); n > 0; n-- {
		b = <-made
	}
	for deadline := time.Now().Add(10 * time.Second); b.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("the buffer is still there")
		}
	}
}

// However requests are cut into pieces, and whenever a connection is looked after,
// each is answered, and the end of input after the last ends the connection.
func TestNoInputIsMissed(t *testing.T) {
	o := Defaults()
	o.IdleTimeout = time.Hour
	for seed := range uint64(8) {
		client, c, ended := attend(t, o, freshBuffer)
		client.SetDeadline(time.Now().Add(time.Minute))
		go func() {
			for seed%2 == 0 { // otherwise nothing but input wakes the reader
				select {
				case <-ended:
					return
				default:
				}
				c.mu.Lock()
				c.probed = false
				c.mu.Unlock()
				c.trim()
				runtime.Gosched()
			}
		}()
		random := rand.New(rand.NewPCG(seed, 0))
		in := bufio.NewReader(client)
		for last := false; !last; {
			n := 1 + random.IntN(3)
			last = random.IntN(500) == 0
			for rest := strings.Repeat("version\r\n", n); rest != ""; {
				size := 1 + random.IntN(len(rest))
				if _, err := io.WriteString(client, rest[:size]); err != nil {
					t.Fatal(err)
				}
				rest = rest[size:]
			}
			if last {
				client.CloseWrite()
			}
			for range n {
				if line, err := in.ReadString('\n'); err != nil || line != "VERSION "+protocolVersion+"\r\n" {
					t.Fatalf("%d: %q, %v", seed, line, err)
				}
			}
		}
		if _, err := in.ReadByte(); err != io.EOF {
			t.Fatalf("%d: at the end: %v", seed, err)
		}
		<-ended
	}
}
