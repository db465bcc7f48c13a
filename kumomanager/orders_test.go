package kumomanager

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// obey gives an order and lets the cluster carry it out.
func (s *sim) obey(verb string, nodes ...string) (done subjects.AdminDone, err error) {
	s.t.Helper()
	s.open++
	s.c.command(&order{verb: verb, req: subjects.AdminRequest{Nodes: nodes}, done: func(d subjects.AdminDone, e error) { done, err, s.open = d, e, s.open-1 }})
	s.pass(3 * time.Second)
	return done, err
}

// A drained server leads nothing and holds nothing, while it is up and attached;
// attached again it gets its share.
func TestDrainAndBack(t *testing.T) {
	s := newSim(t, false, 4)
	if _, err := s.obey(subjects.AdminAttach); err != nil {
		t.Fatal(err)
	}
	name := "n" + ring.NodeID(2).String()
	done, err := s.obey(subjects.AdminDrain, name)
	if err != nil || done.Moves == 0 || !strings.Contains(done.Text, "1 draining") {
		t.Fatalf("%+v, %v", done, err)
	}
	if holdsAnything(s.table, 2) {
		t.Errorf("it holds something: %+v", s.table.Partitions)
	}
	if n, _ := s.table.Node(2); !n.Attached || !n.Draining {
		t.Errorf("%+v", n)
	}
	st := s.c.status("", nil, s.now)
	if i := slices.IndexFunc(st.Nodes, func(n subjects.NodeStatus) bool { return n.ID == 2 }); st.Nodes[i].State != stateDrained || !st.Moves.Settled() || st.Health != healthOK {
		t.Errorf("%+v", st)
	}
	if _, err := s.obey(subjects.AdminReplace); err != nil || holdsAnything(s.table, 2) {
		t.Errorf("a new plan fills it: %v", err)
	}
	if done, err := s.obey(subjects.AdminAttach, name); err != nil || done.Moves == 0 || !holdsAnything(s.table, 2) {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestDrainIsRefused(t *testing.T) {
	s := newSim(t, false, 2)
	if _, err := s.obey(subjects.AdminAttach, "n"+ring.NodeID(1).String()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		nodes []string
		want  error
		says  string
	}{
		{nil, subjects.ErrBadRequest, "which server"},
		{[]string{"n" + ring.NodeID(2).String()}, subjects.ErrRefused, "not attached"},
		{[]string{"n" + ring.NodeID(1).String()}, subjects.ErrRefused, "no server would be left"},
		{[]string{"nobody"}, subjects.ErrUnknownNode, "there are"},
	} {
		if _, err := s.obey(subjects.AdminDrain, tt.nodes...); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v: %v", tt.nodes, err)
		}
	}
}

// Servers that are down can take nothing: the last that is up is not emptied, and
// no copy beside it goes as surplus.
func TestLastServerThatIsUpStays(t *testing.T) {
	t.Parallel()
	table := &ring.Table{Nodes: []ring.Node{
		{ID: 1, Attached: true, Up: true}, {ID: 2, Attached: true}, {ID: 3, Attached: true, Up: true, Draining: true},
	}}
	if err := mayLeave(table, table.Nodes[:1]); !errors.Is(err, subjects.ErrRefused) {
		t.Errorf("the last that is up: %v", err)
	}
	if err := mayLeave(table, table.Nodes[1:]); err != nil {
		t.Errorf("the others: %v", err)
	}
}

// The rate is what the servers say over ten seconds; one that starts anew counts
// from zero.
func TestPace(t *testing.T) {
	s := newSim(t, false, 1)
	say := func(boot ring.BootID, bytes, items uint64) {
		s.now = s.now.Add(paceEvery)
		s.c.members.Hear(subjects.Heartbeat{
			Role: subjects.RoleServer, Node: "n1", ID: 1, Boot: boot, Load: subjects.Load{MovedBytes: bytes, MovedItems: items, Items: 50, Replicas: 1},
		}, s.c.at(s.now))
		s.c.pace.look(s.table, s.c, s.now)
	}
	for i := range uint64(5) {
		say(1, i*1000, i*10)
	}
	if p := &s.c.pace; p.rate() != 1000 || p.perItem() != 100 || p.total != 4000 {
		t.Errorf("%d bytes a second, %f bytes a key, %d in all", p.rate(), p.perItem(), p.total)
	}
	// What waits for a server that is down takes no time that anybody knows.
	for _, up := range []bool{false, true} {
		table := &ring.Table{
			Nodes:      []ring.Node{{ID: 1, Attached: true, Up: true}, {ID: 2, Attached: true, Up: up}},
			Partitions: []ring.Config{{Epoch: 1, Primary: ring.Process{Store: 1, Boot: 1}, ISR: []ring.NodeID{1}, Target: []ring.NodeID{1, 2}}},
		}
		if m := s.c.moveStatus(table); m.Pending != 1 || m.Settled() == up || (m.Left > 0) != up {
			t.Errorf("up %t: %+v", up, m)
		}
	}
	say(7, 500, 5)
	say(7, 1500, 15)
	if p := &s.c.pace; p.total != 5000 {
		t.Errorf("after a restart: %d", p.total)
	}
	for range 2 * paceSamples {
		say(7, 1500, 15)
	}
	if p := &s.c.pace; p.rate() != 0 || len(p.samples) > paceSamples+1 {
		t.Errorf("at rest: %d bytes a second of %d samples", p.rate(), len(p.samples))
	}
}

// A server may be named by its host, if that has no other.
func TestServersByHost(t *testing.T) {
	table := &ring.Table{Nodes: []ring.Node{
		{ID: 1, Name: "svr1-19800", Addr: "svr1:19800"}, {ID: 2, Name: "svr1-19800", Addr: "svr1:19800", Up: true},
		{ID: 3, Name: "svr2-19800", Addr: "svr2:19800"}, {ID: 4, Name: "svr2-19801", Addr: "svr2:19801", Up: true},
		{ID: 5, Name: "--1-19800", Addr: "[::1]:19800", Up: true},
	}}
	for name, want := range map[string]ring.NodeID{"svr1": 2, "svr2": 0, "svr2:19800": 3, "svr2-19801": 4, "::1": 5, "svr3": 0} {
		got, err := choose(table, []string{name}, nil)
		switch {
		case want == 0 && !errors.Is(err, subjects.ErrUnknownNode):
			t.Errorf("%s: %v, %v", name, got, err)
		case want != 0 && (err != nil || len(got) != 1 || got[0].ID != want):
			t.Errorf("%s: %v, %v, want %s", name, got, err, want)
		}
	}
}
