package kumoserver

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/etolabo/kumofs/subjects/ring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPeersOf(t *testing.T) {
	table := &ring.Table{Partitions: []ring.Config{
		{ISR: []ring.NodeID{1, 2}, Learners: []ring.NodeID{3}},
		{ISR: []ring.NodeID{4}, Learners: []ring.NodeID{1}},
		{ISR: []ring.NodeID{2, 5}, Target: []ring.NodeID{1, 5}}, // who is wished for may just have been left out
		{},
	}}
	for self, want := range map[ring.NodeID]map[ring.NodeID]bool{
		1: {2: true, 3: true, 4: true},
		3: {1: true, 2: true},
		5: {1: true, 2: true},
		6: {},
	} {
		if d := cmp.Diff(want, peersOf(table, self)); d != "" {
			t.Errorf("peers of %d (-want +got):\n%s", self, d)
		}
	}
}

func TestDeathOfAPeerReachesTheLoop(t *testing.T) {
	s := &Server{inbox: newInbox(), log: slog.New(slog.DiscardHandler), o: Options{Listen: "127.0.0.1:19800", Bind: "127.0.0.1", Failover: FailoverProof}}
	if err := s.openProof(); err != nil {
		t.Fatal(err)
	}
	defer s.proof.Close()
	defer s.deaths.Close()
	near, far := listen(t), listen(t)
	c := &core{s: s}
	table := func(isr ...ring.NodeID) *ring.Table {
		return &ring.Table{
			Nodes: []ring.Node{
				{ID: 1, Boot: 11, Proof: s.proof.Addr()},
				{ID: 2, Boot: 12, Proof: near.Addr().String()},
				{ID: 3, Boot: 13, Proof: far.Addr().String()},
			},
			Partitions: []ring.Config{{ISR: isr}, {ISR: []ring.NodeID{3}}},
		}
	}
	c.watchPeers(table(1, 3), 1)
	forgotten := accept(t, far)
	c.watchPeers(table(1, 2), 1)
	if _, err := forgotten.Read(make([]byte, 1)); err == nil {
		t.Fatal("a watcher said something")
	}
	c.watchPeers(table(1, 2), 1) // the same again is nothing new
	watched := accept(t, near)
	near.Close()
	watched.Close()
	select {
	case <-s.inbox.wake:
	case <-time.After(20 * time.Second):
		t.Fatal("the end of a peer was not told")
	}
	items := s.inbox.take(nil)
	if len(items) != 1 || items[0].died == nil || *items[0].died != (ring.Process{Store: 2, Boot: 12}) {
		t.Fatalf("%+v came instead of the end of node 2", items)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
