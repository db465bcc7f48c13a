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
