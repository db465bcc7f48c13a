package quorum

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// natsConn is a Conn over NATS.
type natsConn struct{ nc *nats.Conn }

func (c natsConn) Publish(subject string, data []byte) error { return c.nc.Publish(subject, data) }

func (c natsConn) Subscribe(subject string, h func(string, []byte)) (func(), error) {
	s, err := c.nc.Subscribe(subject, func(m *nats.Msg) { h(m.Subject, m.Data) })
	if err != nil {
		return nil, err
	}
	return func() { _ = s.Unsubscribe() }, nil
}

// overNATS has the voters of a group speak through one NATS server.
func overNATS(g *group) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoLog: true, NoSigs: true})
	if err != nil {
		g.t.Fatal(err)
	}
	s.Start()
	conns := make(map[string]*nats.Conn)
	g.t.Cleanup(func() {
		for name := range g.nodes {
			g.stop(name)
		}
		for _, nc := range conns {
			nc.Close()
		}
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		g.t.Fatal("NATS does not start")
	}
	g.conn = func(node string) Conn {
		if conns[node] == nil {
			nc, err := nats.Connect("", nats.InProcessServer(s))
			if err != nil {
				g.t.Fatal(err)
			}
			conns[node] = nc
		}
		return natsConn{conns[node]}
	}
}

func TestOverNATS(t *testing.T) {
	g := newGroup(t, 3)
	overNATS(g)
	for _, name := range g.names {
		g.start(name, g.names...)
	}
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint(i))
		g.propose(want[i])
	}
	g.agree(want)
	gone := g.leader().opts.ID
	g.stop(gone)
	g.propose("after")
	g.start(gone)
	g.agree(append(want, "after"))
	for name, q := range g.nodes {
		if c := q.Counters(); c.Refused > 0 || c.Dropped > 0 {
			t.Errorf("%s: %+v", name, c)
		}
	}
}
