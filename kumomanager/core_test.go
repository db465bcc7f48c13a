package kumomanager

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/etolabo/kumofs/kumomanager/members"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"pgregory.net/rapid"
)

var epoch = time.Unix(1_000_000_000, 0)

// failer is a *testing.T or *rapid.T.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// sim is a leader's core with a cluster of obedient servers around it.
type sim struct {
	t       failer
	c       *core
	table   *ring.Table
	now     time.Time
	alive   map[ring.NodeID]ring.BootID
	known   []ring.NodeID
	boots   ring.BootID
	open    int // requests and orders that were not answered yet
	refused []string
}

func newSim(t failer, auto bool, servers int) *sim {
	s := &sim{t: t, now: epoch, alive: map[ring.NodeID]ring.BootID{}}
	s.c = newCore(settings{
		init:     ring.Init{Cluster: "k", ClusterID: 1, Partitions: 8, Replicas: 3, AutoReplace: auto},
		learners: 2, failAfter: 1500 * time.Millisecond, replaceDelay: time.Second, lostAfter: 3 * time.Second,
	}, epoch)
	s.c.lead(s.now)
	for i := range servers {
		id := ring.NodeID(i + 1)
		s.known = append(s.known, id)
		s.start(id)
	}
	s.pass(time.Second)
	return s
}

func (s *sim) start(id ring.NodeID) {
	s.boots++
	s.alive[id] = s.boots
}

// pass lets time go by: heartbeats, decisions, and what primaries ask for.
func (s *sim) pass(d time.Duration) {
	s.t.Helper()
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(tickEvery)
		for _, id := range s.known {
			if boot := s.alive[id]; boot != 0 {
				s.c.members.Hear(subjects.Heartbeat{Role: subjects.RoleServer, Node: "n" + id.String(), ID: id, Boot: boot}, s.c.at(s.now))
			}
		}
		s.c.members.Tick(s.c.at(s.now))
		s.certify()
		for n := 0; n < 3 && s.commit(nil); n++ {
		}
	}
}

// commit proposes what the core wants, with this outcome. It reports whether
// there was anything.
func (s *sim) commit(outcome error) bool {
	s.t.Helper()
	p := s.c.next(s.now)
	if p == nil {
		return false
	}
	if s.c.next(s.now) != nil {
		s.t.Fatal("two commands at once")
	}
	if outcome == nil || errors.Is(outcome, subjects.ErrTimeout) {
		next, res, err := s.table.Apply(p.command)
		if err != nil || len(res.Refused) > 0 {
			s.t.Fatalf("%+v: %v, refused %+v", p.command, err, res.Refused)
		}
		if next == s.table {
			s.t.Fatalf("a command that does nothing: %+v", p.command)
		}
		s.table = next
		s.c.tables(next, s.now)
	}
	s.c.done(p, outcome)
	return true
}

func (s *sim) partitions() []ring.Config {
	if s.table == nil {
		return nil
	}
	return s.table.Partitions
}

func holders(c ring.Config) []ring.NodeID { return slices.Concat(c.ISR, c.Learners) }

// processes are the newest of these servers.
func processes(t *ring.Table, ids []ring.NodeID) (list []ring.Process) {
	for _, id := range ids {
		n, _ := t.Node(id)
		list = append(list, n.Process())
	}
	return list
}

// certify has each live primary ask for its learners.
func (s *sim) certify() {
	for p, c := range s.partitions() {
		if len(c.Learners) == 0 || s.alive[c.Primary.Store] != c.Primary.Boot {
			continue
		}
		if slices.ContainsFunc(holders(c), func(id ring.NodeID) bool { return s.alive[id] == 0 }) {
			continue
		}
		s.open++
		s.c.ask(&asked{
			req: subjects.ChangeRequest{Cluster: 1, From: c.Primary, Changes: []ring.Change{{
				Partition: ring.Partition(p), Epoch: c.Epoch, Primary: c.Primary, ISR: holders(c), Joined: processes(s.table, c.Learners),
			}}},
			done: func([]ring.Refusal, error) { s.open-- },
		})
	}
}

func (s *sim) order(verb string, req subjects.AdminRequest) {
	s.open++
	s.c.command(&order{verb: verb, req: req, done: func(_ subjects.AdminDone, err error) {
		s.open--
		if err != nil {
			s.refused = append(s.refused, err.Error())
		}
	}})
}

func (s *sim) event(t *rapid.T) {
	id := rapid.SampledFrom(s.known).Draw(t, "node")
	old := s.alive[id]
	switch rapid.IntRange(0, 8).Draw(t, "event") {
	case 0, 1:
		delete(s.alive, id)
		s.c.members.Ended(ring.Process{Store: id, Boot: old}, s.c.at(s.now))
	case 2:
		delete(s.alive, id) // only silent
	case 3, 4:
		s.start(id)
	case 5:
		s.order(subjects.AdminAttach, subjects.AdminRequest{})
	case 6:
		s.order(subjects.AdminDetach, subjects.AdminRequest{Nodes: []string{id.String()}})
	case 7: // another leads for a while, and this one again
		s.c.follow()
		s.c.lead(s.now)
	case 8:
		s.commit(subjects.ErrNotLeader)
	}
}

func TestCoreReachesAFixedPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		auto := rapid.Bool().Draw(t, "auto")
		s := newSim(t, auto, rapid.IntRange(1, 5).Draw(t, "servers"))
		s.order(subjects.AdminAttach, subjects.AdminRequest{})
		for range rapid.IntRange(0, 12).Draw(t, "events") {
			s.event(t)
			s.pass(time.Duration(rapid.IntRange(0, 20).Draw(t, "time")) * tickEvery)
		}
		for _, id := range s.known {
			if s.alive[id] == 0 {
				s.start(id)
			}
		}
		s.pass(4 * time.Second)
		s.order(subjects.AdminAttach, subjects.AdminRequest{})
		s.order(subjects.AdminReplace, subjects.AdminRequest{})
		s.pass(12 * time.Second)
		if s.open != 0 {
			t.Fatalf("%d requests were never answered, or twice", s.open)
		}
		for p, c := range s.table.Partitions {
			if len(c.ISR) != min(3, len(s.known)) || len(c.Learners) > 0 || c.Primary.Store != c.Target[0] || !s.table.Alive(c.Primary) {
				t.Fatalf("partition %d: %+v", p, c)
			}
		}
		st := s.c.status("m", nil, s.now)
		if st.Partitions.Full != 8 || st.Moves.Pending+st.Moves.Active > 0 {
			t.Fatalf("%+v", st)
		}
		at := s.table.Revision
		if s.pass(5 * time.Second); s.table.Revision != at {
			t.Fatal("it never comes to rest")
		}
	})
}

func TestDeathAndFailoverAreOneCommand(t *testing.T) {
	s := newSim(t, false, 3)
	s.order(subjects.AdminAttach, subjects.AdminRequest{})
	s.pass(5 * time.Second)
	at := s.table.Revision
	s.c.members.Ended(ring.Process{Store: 2, Boot: s.alive[2]}, s.c.at(s.now))
	s.commit(nil)
	if s.table.Revision != at+1 {
		t.Fatalf("%d commands", s.table.Revision-at)
	}
	for _, c := range s.table.Partitions {
		if c.Primary.Store == 2 || c.HasISR(2) || len(c.ISR) != 2 {
			t.Fatalf("%+v", c)
		}
	}
}

func TestLeadComesHomeOnceAProcessIsOldEnough(t *testing.T) {
	s := newSim(t, false, 3)
	s.order(subjects.AdminAttach, subjects.AdminRequest{})
	s.pass(5 * time.Second)
	leads := func() (n int) {
		for _, c := range s.table.Partitions {
			if c.Primary.Store == 2 {
				n++
			}
		}
		return n
	}
	had := leads()
	s.c.members.Ended(ring.Process{Store: 2, Boot: s.alive[2]}, s.c.at(s.now))
	s.start(2)
	young := time.Duration(members.YoungFor) - tickEvery
	s.pass(young)
	if n := leads(); n != 0 {
		t.Errorf("%d partitions are led by a process of %s", n, young)
	}
	s.pass(2 * time.Second)
	if n := leads(); n != had {
		t.Errorf("%d partitions came home, want %d", n, had)
	}
}

// A server that stops in good order first loses the lead and goes on as a copy,
// so that the new primaries need not wait for its end; then it is taken out.
func TestStoppingServerHandsOverInTwoSteps(t *testing.T) {
	s := newSim(t, false, 3)
	s.order(subjects.AdminAttach, subjects.AdminRequest{})
	s.pass(5 * time.Second)
	had := s.table.Revision
	stop := func() {
		s.c.members.Hear(subjects.Heartbeat{Role: subjects.RoleServer, Node: "n2", ID: 2, Boot: s.alive[2], Stopping: true}, s.c.at(s.now))
		for s.commit(nil) {
		}
	}
	stop()
	if s.table.Revision != had+1 {
		t.Fatalf("%d commands", s.table.Revision-had)
	}
	led := 0
	for p, c := range s.table.Partitions {
		if c.Primary.Store == 2 || c.HasISR(2) != s.c.moved[ring.Partition(p)].Equal(s.now) {
			t.Fatalf("partition %d: %+v", p, c)
		}
		if c.HasISR(2) {
			led++
		}
	}
	if n, _ := s.table.Node(2); led == 0 || led == len(s.table.Partitions) || !n.Up {
		t.Fatalf("%d partitions were led by it, up: %v", led, n.Up)
	}
	for range 2 + settleAfter/tickEvery {
		s.now = s.now.Add(tickEvery)
		stop()
	}
	for p, c := range s.table.Partitions {
		if c.HasISR(2) || len(c.ISR) != 2 {
			t.Fatalf("partition %d: %+v", p, c)
		}
	}
	if n, _ := s.table.Node(2); n.Up {
		t.Fatal("it is up although it has handed over everything")
	}
}

// With nobody to take over a server is let go at once.
func TestLastServersAreLetGo(t *testing.T) {
	s := newSim(t, false, 2)
	s.order(subjects.AdminAttach, subjects.AdminRequest{})
	s.pass(5 * time.Second)
	for _, id := range s.known {
		s.c.members.Hear(subjects.Heartbeat{Role: subjects.RoleServer, Node: "n" + id.String(), ID: id, Boot: s.alive[id], Stopping: true}, s.c.at(s.now))
	}
	for s.commit(nil) {
	}
	for _, n := range s.table.Nodes {
		if n.Up {
			t.Errorf("%s is kept", n.Name)
		}
	}
	for p, c := range s.table.Partitions {
		if len(c.ISR) != 2 {
			t.Errorf("partition %d: %+v", p, c)
		}
	}
}

func TestWitnessCoreOnlyFailsOver(t *testing.T) {
	s := newSim(t, true, 4)
	s.pass(5 * time.Second)
	s.c.witness = true
	delete(s.alive, 2)
	s.pass(8 * time.Second)
	s.start(2)
	s.order(subjects.AdminReplace, subjects.AdminRequest{})
	s.pass(5 * time.Second)
	if len(s.refused) != 1 || !strings.Contains(s.refused[0], "plans nothing") {
		t.Fatalf("%v", s.refused)
	}
	for _, c := range s.table.Partitions {
		if len(c.Learners) > 0 || !s.table.Alive(c.Primary) || c.HasISR(2) {
			t.Fatalf("%+v", c)
		}
	}
}

func TestDetachedByHandStaysOut(t *testing.T) {
	s := newSim(t, true, 4)
	s.pass(5 * time.Second)
	s.order(subjects.AdminDetach, subjects.AdminRequest{Nodes: []string{ring.NodeID(2).String()}})
	s.pass(10 * time.Second)
	if n, _ := s.table.Node(2); n.Attached {
		t.Fatal("auto-replace undid an operator's detach")
	}
	for _, c := range s.table.Partitions {
		if c.Holds(2) || len(c.ISR) != 3 {
			t.Fatalf("%+v", c)
		}
	}
	delete(s.alive, 2)
	s.pass(2 * time.Duration(members.ForgetAfter))
	if _, ok := s.table.Node(2); ok {
		t.Fatal("a server that is down, detached and empty is not forgotten")
	}
}

func TestLargePlanComesInParts(t *testing.T) {
	s := newSim(t, false, 0)
	s.table, s.c.table = nil, &ring.Table{}
	s.c.init.Partitions = 1 << 12
	s.known = []ring.NodeID{1, 2, 3}
	for _, id := range s.known {
		s.start(id)
	}
	s.pass(time.Second)
	s.order(subjects.AdminAttach, subjects.AdminRequest{})
	s.pass(2 * time.Second)
	for p, c := range s.table.Partitions {
		if len(c.ISR) != 3 {
			t.Fatalf("partition %d: %+v", p, c)
		}
	}
}

func TestNextVoter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		managers := rapid.IntRange(1, 3).Draw(t, "managers")
		voters := []string{"m1", "m2", "m3"}[:managers]
		var servers []candidate
		for i := range rapid.IntRange(0, 6).Draw(t, "servers") {
			up := rapid.Bool().Draw(t, "up")
			servers = append(servers, candidate{
				id: ring.NodeID(i + 1), up: up, lost: !up && rapid.Bool().Draw(t, "lost"),
				zone: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "zone"),
			})
		}
		for id := range rapid.IntRange(0, 5).Draw(t, "votes") {
			voters = append(voters, WitnessID(ring.NodeID(id+1)))
		}
		for step := 0; ; step++ {
			add, remove := nextVoter(managers, voters, servers)
			if add == "" && remove == "" {
				break
			}
			if step > 20 || add != "" && remove != "" || slices.Contains(voters, add) || remove != "" && (!slices.Contains(voters, remove) || !isWitness(remove)) {
				t.Fatalf("step %d: add %q, remove %q of %v, servers %+v", step, add, remove, voters, servers)
			}
			voters = slices.DeleteFunc(slices.Clone(voters), func(v string) bool { return v == remove })
			if add != "" {
				voters = append(voters, add)
			}
		}
		votes, up := 0, 0
		for _, c := range servers {
			if c.up {
				up++
			}
		}
		for _, v := range voters {
			if isWitness(v) {
				votes++
			}
		}
		switch {
		case managers != 2 && votes > 0:
			t.Fatalf("servers vote beside %d managers", managers)
		case votes > 3, managers == 2 && votes > 1 && len(servers) < 3:
			t.Fatalf("%d of %d servers vote", votes, len(servers))
		case managers == 2 && votes < 3 && up >= 3, managers == 2 && up > 0 && votes == 0:
			t.Fatalf("%d of %d servers that are up vote", votes, up)
		}
	})
}

func TestHeir(t *testing.T) {
	now := epoch
	c := newCore(settings{}, now)
	c.table = &ring.Table{Revision: 7}
	hear := func(node string, revision uint64, stopping bool) {
		c.members.Hear(subjects.Heartbeat{Role: subjects.RoleManager, Node: node, Revision: revision, Stopping: stopping}, c.at(now))
	}
	hear("behind", 6, false)
	hear("stopping", 7, true)
	hear("no-voter", 7, false)
	voters := []string{"behind", "stopping", "good", "w-1"}
	if heir := c.heir(voters, now); heir != "" {
		t.Fatal(heir)
	}
	hear("good", 7, false)
	if heir := c.heir(voters, now); heir != "good" {
		t.Fatal(heir)
	}
	now = now.Add(time.Second)
	if heir := c.heir(voters, now); heir != "" {
		t.Fatal("a manager that is silent inherits")
	}
}

// What fills a status that nothing is wrong with, and one where much is.
func TestStatusWords(t *testing.T) {
	c := newCore(settings{failAfter: time.Second}, epoch)
	node := func(id ring.NodeID, up, attached bool) ring.Node {
		return ring.Node{ID: id, Boot: 1, Name: "n" + id.String()[15:], Up: up, Attached: attached}
	}
	p := ring.Process{Store: 1, Boot: 1}
	c.tables(&ring.Table{
		ClusterID: 1, Replicas: 3, Revision: 9,
		Nodes: []ring.Node{node(1, true, true), node(2, false, true), node(3, true, true), node(4, true, false), node(5, true, false)},
		Partitions: []ring.Config{
			{Epoch: 3, Primary: p, ISR: []ring.NodeID{1, 5}, Learners: []ring.NodeID{3}, Target: []ring.NodeID{1, 2, 3}},
			{Epoch: 1, Primary: ring.Process{Store: 2, Boot: 1}, ISR: []ring.NodeID{2}, Target: []ring.NodeID{2, 1, 3}},
			{Epoch: 2, Primary: p, ISR: []ring.NodeID{1}, Target: []ring.NodeID{1}, Loss: true},
		},
	}, epoch)
	st := c.status("m", []string{"m"}, epoch)
	var states []string
	for _, n := range st.Nodes {
		states = append(states, n.Name+" "+n.State)
	}
	got := strings.Join(states, ", ")
	if want := "n1 joining, n2 down, n3 joining, n4 new, n5 leaving"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if st.Health != healthUnavailable || st.Partitions != (subjects.PartitionCount{Total: 3, Full: 1, Degraded: 1, Lone: 1, Down: 1, Loss: 1}) {
		t.Errorf("%s %+v", st.Health, st.Partitions)
	}
	moves := subjects.Moves{Pending: 4, Active: 1, Surplus: 1, Held: 5, HeldPartitions: 2, Copies: []subjects.Move{{Partition: 0, From: "n1", To: "n3"}}}
	if diff := cmp.Diff(moves, st.Moves); diff != "" {
		t.Error(diff)
	}
	if len(st.Alarms) != 5 {
		t.Errorf("%q", st.Alarms)
	}
}
