package kumoserver

import (
	"net"

	"github.com/etolabo/kumofs/bus/proof"
	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects/ring"
)

// openProof lets others see this process end, and prepares to see others end.
func (s *Server) openProof() error {
	host, _, err := net.SplitHostPort(s.o.Listen)
	if err != nil {
		return err
	}
	if s.o.Bind == host {
		if s.proof, err = proof.Listen(host, s.log); err != nil {
			return err
		}
	} else {
		// Where ports are forwarded a refused connection proves nothing: what is
		// granted to this process ends with its time.
		s.log.Info("the end of this process cannot be proved, fail-overs from it wait for leases", "addr", s.o.Listen, "bind", s.o.Bind)
	}
	s.deaths = proof.NewWatcher(s.log, func(p ring.Process) {
		if s.o.Failover == FailoverProof {
			s.inbox.push(work{died: &p}, 0)
		}
	})
	return nil
}

// proofAddr is where others see this process end, empty if they cannot.
func (s *Server) proofAddr() string {
	if s.proof == nil {
		return ""
	}
	return s.proof.Addr()
}

// watchPeers keeps a watch over the newest process of each server that shares a
// configuration with this one, and over no other: what was granted to a process
// need not be waited out once it is proved gone.
func (c *core) watchPeers(t *ring.Table, self ring.NodeID) {
	peers := peersOf(t, self)
	for id := range c.watched {
		if !peers[id] {
			c.s.deaths.Forget(uint64(id))
		}
	}
	for id := range peers {
		if n, ok := t.Node(id); ok {
			c.s.deaths.Watch(uint64(id), n.Process(), n.Proof)
		}
	}
	c.watched = peers
}

// peersOf returns the other nodes of all configurations that hold a node, and
// those that are wished to be in them.
func peersOf(t *ring.Table, self ring.NodeID) map[ring.NodeID]bool {
	peers := map[ring.NodeID]bool{}
	for i := range t.Partitions {
		cfg := &t.Partitions[i]
		if !cfg.Holds(self) {
			continue
		}
		for _, id := range cfg.ISR {
			peers[id] = true
		}
		for _, id := range cfg.Learners {
			peers[id] = true
		}
		for _, id := range cfg.Target { // who was just left out, too
			peers[id] = true
		}
	}
	delete(peers, self)
	return peers
}

// died tells every machine that a process is gone.
func (c *core) died(process ring.Process) {
	for _, p := range c.parts {
		c.step(p, replica.Died{Process: process, Now: c.now})
	}
}
