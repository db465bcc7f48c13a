package kumogateway_test

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/subjects/watch"
)

const (
	testCluster   = subjects.Cluster("test")
	testClusterID = ring.ClusterID(0x1122334455667788)
	testSize      = 16 // partitions
)

// node is a member of the mesh that answers as a server and a manager do, from
// a map, and misbehaves when told to. What a kumo-server really does is tested
// with whole clusters; here the gateway meets answers that those seldom give.
type node struct {
	t    testing.TB
	bus  *bus.Bus
	proc ring.Process
	addr string

	lock    *sync.Mutex // above mu, where nodes share their items
	mu      sync.Mutex
	table   *ring.Table
	items   map[string]subjects.Record
	done    map[subjects.OpID]subjects.Reply // answers by operation ID; N holds the partition too
	seq     uint64
	answers []subjects.OpID // of the writes in the order in which they were carried out
	attempt []uint32
	// meddle says what to do with a request instead of answering it: nil goes
	// on, a status is answered, 0 is no answer.
	meddle func(write bool, key string) *subjects.Status
}

func startNode(t testing.TB, hub *bus.Hub, name string, routes ...string) *node {
	t.Helper()
	b, err := bus.Open(bus.Options{
		Name: name, Mesh: "test", Listen: "127.0.0.1:0", RouteListen: "127.0.0.1:0", Routes: routes, Hub: hub, Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, bus: b, addr: b.ClientAddr(), items: map[string]subjects.Record{}, done: map[subjects.OpID]subjects.Reply{}}
	n.proc = ring.Process{Store: ring.NodeID(len(name))<<32 | ring.NodeID(name[0]), Boot: 1}
	t.Cleanup(n.stop)
	id := func() uint64 { return uint64(testClusterID) }
	for _, verb := range []string{subjects.VerbRead, subjects.VerbWrite} {
		out := b.NewOutbox(id)
		now := func(body []byte) ([]byte, bool) {
			if verb == subjects.VerbWrite {
				return nil, false
			}
			rep := n.serve(body, false)
			return rep.Append(nil), rep.Status != 0
		}
		_, err := b.HandleNow(testCluster.Parts(name, verb), id, func(f *bus.Frame) { n.frame(f, out, verb) }, now)
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = b.Service(bus.ServiceOptions{Name: "ring", Version: "1.0.0", Endpoints: []bus.Endpoint{{
		Name: "get", Subject: testCluster.RingGet(),
		Handler: func(req []byte, _ string) ([]byte, error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			return watch.Answer(n.table, req, 1000), nil
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) stop() { n.bus.Close() }

func (n *node) frame(f *bus.Frame, out *bus.Outbox, verb string) {
	for {
		id, body, ok := f.Next()
		if !ok {
			break
		}
		rep := n.serve(body, verb == subjects.VerbWrite)
		if rep.Status == 0 {
			continue
		}
		out.Add(f.Reply, f.Reply, "", id, rep.Append)
	}
	if err := out.Flush(); err != nil {
		n.t.Logf("%s: answer: %v", n.bus.Name(), err)
	}
}

func (n *node) serve(body []byte, write bool) subjects.Reply {
	var r subjects.Read
	var w subjects.Write
	var err error
	if write {
		if err = w.Decode(body); err == nil {
			r = subjects.Read{Partition: w.Partition, Epoch: w.Epoch, Key: w.Key}
		}
	} else {
		err = r.Decode(body)
	}
	if err != nil {
		n.t.Errorf("request does not decode: %v", err)
		return subjects.Reply{Status: subjects.StatusBad}
	}
	if n.lock != nil {
		n.lock.Lock()
		defer n.lock.Unlock()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.meddle != nil {
		if s := n.meddle(write, string(r.Key)); s != nil {
			return subjects.Reply{Status: *s}
		}
	}
	if c := n.table.Partitions[r.Partition]; c.Primary != n.proc || c.Epoch != r.Epoch {
		return subjects.Reply{Status: subjects.StatusNotPrimary, Epoch: c.Epoch}
	}
	if !write {
		return n.found(string(r.Key))
	}
	n.answers = append(n.answers, w.Op)
	n.attempt = append(n.attempt, w.Attempt)
	id := subjects.OpID{Boot: w.Op.Boot, N: w.Op.N<<16 | uint64(w.Partition)}
	if rep, ok := n.done[id]; ok {
		return rep
	}
	rep := n.write(&w)
	if n.done != nil {
		n.done[id] = rep
	}
	return rep
}

// misbehave sets what to do with requests; see node.meddle.
func (n *node) misbehave(f func(write bool, key string) *subjects.Status) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.meddle = f
}

// told is a status for misbehave.
func told(s subjects.Status) *subjects.Status { return &s }

// tableOf makes a table where the nodes share the partitions.
func tableOf(revision uint64, nodes ...*node) *ring.Table {
	t := &ring.Table{Cluster: string(testCluster), ClusterID: testClusterID, Revision: revision, Replicas: 1}
	for _, n := range nodes {
		t.Nodes = append(t.Nodes, ring.Node{
			ID: n.proc.Store, Name: n.bus.Name(), Addr: n.addr, Boot: n.proc.Boot, Up: true, Attached: true,
		})
	}
	for p := range testSize {
		n := nodes[p%len(nodes)]
		t.Partitions = append(t.Partitions, ring.Config{Epoch: ring.Epoch(revision), Primary: n.proc, ISR: []ring.NodeID{n.proc.Store}})
	}
	return t
}

// agree gives all nodes a table, without telling anybody else.
func agree(t *ring.Table, nodes ...*node) {
	for _, n := range nodes {
		n.mu.Lock()
		n.table = t
		n.mu.Unlock()
	}
}

// publish tells everybody of a table.
func (n *node) publish(t *ring.Table) {
	data, err := json.Marshal(t.Diff(nil))
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.bus.Publish(testCluster.Ring(), data); err != nil {
		n.t.Fatal(err)
	}
}

// startNodes makes a mesh of nodes that share the partitions.
func startNodes(t testing.TB, count int) ([]*node, []string) {
	t.Helper()
	return startNodesOn(t, nil, count)
}

// startNodesOn starts nodes that share a process with whoever has the hub.
func startNodesOn(t testing.TB, hub *bus.Hub, count int) ([]*node, []string) {
	t.Helper()
	var nodes []*node
	var addrs []string
	for i := range count {
		var routes []string
		if i > 0 {
			routes = []string{nodes[0].bus.RouteAddr()}
		}
		n := startNode(t, hub, string(rune('a'+i))+"-node", routes...)
		nodes = append(nodes, n)
		addrs = append(addrs, n.addr)
	}
	agree(tableOf(1, nodes...), nodes...)
	eventually(t, "the mesh is whole", func() bool {
		for _, n := range nodes {
			if len(n.bus.Peers()) != count-1 {
				return false
			}
		}
		return true
	})
	return nodes, addrs
}

// within fails the test if f takes longer.
func within(t testing.TB, d time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > d {
		t.Errorf("took %v, more than %v", took, d)
	}
}
