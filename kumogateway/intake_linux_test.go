package kumogateway

import (
	"bufio"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (client, served *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); other.Close() })
	return nc.(*net.TCPConn), other.(*net.TCPConn)
}

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

// An idle connection is looked after once, and goes on; one whose client is gone,
// of which the reader did not hear, ends.
func TestIdleConnectionIsProbed(t *testing.T) {
	client, served := pair(t)
	o := Defaults()
	g := &Gateway{o: o, lim: newLimits(&o), buffers: sync.Pool{New: func() any { return new(readBuf) }}}
	c, err := newConn(g, served, false)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); c.serve() }()
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
