package kumogateway

import (
	"net"
	"testing"
	"time"
)

// The first answer of a connection is not taken for one that nobody has taken since
// ever, if stalled clients are looked for while it is written.
func TestNewConnectionIsNotStalled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
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
