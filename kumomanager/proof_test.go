package kumomanager

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
)

func TestProofOfDeath(t *testing.T) {
	ended := make(chan ring.Process, 4)
	p := newProofs(testLog(t), func(q ring.Process) { ended <- q })
	defer p.close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	me := ring.Process{Store: 1, Boot: 2}
	p.watch(me, addr)
	p.watch(me, addr) // the same again is nothing new

	// A connection that is closed while the listener stays proves nothing: it is
	// made again.
	for range 3 {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case q := <-ended:
		t.Fatalf("%v was taken for gone while its listener was there", q)
	default:
	}
	l.Close()
	c.Close()
	select {
	case q := <-ended:
		if q != me {
			t.Fatal(q)
		}
	case <-time.After(patience):
		t.Fatal("the end of a process was not noticed")
	}
}

func TestRefusedDialAloneProvesNothing(t *testing.T) {
	var ended atomic.Int32
	p := newProofs(testLog(t), func(ring.Process) { ended.Add(1) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close() // nobody was ever there
	p.watch(ring.Process{Store: 1, Boot: 1}, addr)
	// The listener appears: had the refusal counted, nobody would dial any more.
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Skip("the port was taken meanwhile")
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	// A successor on the same port is watched in its place.
	p.watch(ring.Process{Store: 1, Boot: 2}, addr)
	next, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p.close()
	c.Close()
	next.Close()
	l.Close()
	if ended.Load() > 0 {
		t.Fatal("a process was taken for gone")
	}
}
