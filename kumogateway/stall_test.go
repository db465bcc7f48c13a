package kumogateway

import (
	"io"
	"net"
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

// The first answer of a connection is not taken for one that nobody has taken since
// ever, if stalled clients are looked for while it is written.
func TestNewConnectionIsNotStalled(t *testing.T) {
	_, nc := pair(t)
	o := Defaults()
	o.IdleTimeout = time.Hour
	c, err := newConn(&Gateway{o: o, lim: newLimits(&o)}, nc, false)
	if err != nil {
		t.Fatal(err)
	}
	c.writing = true
	if c.endStalled(); c.broken {
		t.Error("the connection was ended")
	}
}

// A client that takes all of an answer but its end is counted with all of it, since
// that is what is held for it.
func TestHeldAnswersAreCounted(t *testing.T) {
	client, nc := net.Pipe()
	defer client.Close()
	o := Defaults()
	c := &conn{g: &Gateway{o: o, lim: newLimits(&o)}, nc: nc, sock: nc, writing: true}
	c.changed.L = &c.mu
	answer := make([]byte, 1<<20)
	c.mu.Lock()
	c.written = len(answer)
	c.waitFor(answer, 0)
	c.mu.Unlock()
	if _, err := io.ReadFull(client, make([]byte, len(answer)-1)); err != nil {
		t.Fatal(err)
	}
	if got := c.g.answers.Load(); got != int64(len(answer)) {
		t.Errorf("%d bytes are counted while a byte of %d is left", got, len(answer))
	}
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	c.writer.Wait()
	if got := c.g.answers.Load(); got != 0 {
		t.Errorf("%d bytes are counted when all has left", got)
	}
}

// Who does not say who he is, where that is asked, is not waited for for ever,
// however much he says.
func TestStrangersAreNotKept(t *testing.T) {
	o := Defaults()
	c := &conn{g: &Gateway{o: o, lim: newLimits(&o), users: new(users)}, began: time.Now().Add(-2 * loginFor)}
	if d := c.silence(); d <= 0 || d > time.Second {
		t.Errorf("a stranger may go on for %s", d)
	}
	c.began = time.Now()
	if d := c.silence(); d <= 0 || d > loginFor {
		t.Errorf("a new stranger may be silent for %s", d)
	}
	if c.user = new(account); c.silence() != 0 {
		t.Errorf("a user may be silent for %s", c.silence())
	}
	if c.g.users = nil; c.silence() != 0 {
		t.Errorf("without users one may be silent for %s", c.silence())
	}
}
