package dashboard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// tableOf is a table of servers 1 to n that are up, each in the zone of its
// parity.
func tableOf(n int, partitions ...ring.Config) *ring.Table {
	t := &ring.Table{Revision: 7, Replicas: 3, Partitions: partitions}
	for i := range n {
		t.Nodes = append(t.Nodes, ring.Node{
			ID: ring.NodeID(i + 1), Addr: fmt.Sprintf("10.0.0.1:%d", 9998+i), Zone: string(rune('a' + i%2)), Boot: 1, Up: true, Attached: true,
		})
	}
	return t
}

// config is a configuration that its first in-sync server leads.
func config(isr, learners, target []ring.NodeID) ring.Config {
	return ring.Config{Epoch: 1, Primary: ring.Process{Store: isr[0], Boot: 1}, ISR: isr, Learners: learners, Target: target}
}

type ids = []ring.NodeID

func TestPicture(t *testing.T) {
	table := tableOf(4,
		config(ids{1, 2, 3}, nil, ids{1, 2, 3}),
		config(ids{2, 1}, ids{4}, ids{2, 1, 4}),
		config(ids{1}, nil, ids{1, 2, 3}),
		config(ids{3, 1}, nil, ids{3, 1}),
		ring.Config{},
	)
	table.Nodes[2].Boot = 2 // the primary of 3 is not its newest process
	got := draw(table)
	want := &Picture{
		Revision: 7,
		// By zone, and the address whose port has more digits is the later one.
		Servers: []Server{{"10.0.0.1:9998", "a", true, true}, {"10.0.0.1:10000", "a", true, true}, {"10.0.0.1:9999", "b", true, true}, {"10.0.0.1:10001", "b", true, true}},
		Parts: [][]int{
			{0*4 + primary, 2*4 + inSync, 1*4 + inSync},
			{2*4 + primary, 0*4 + inSync, 3*4 + joining},
			{0*4 + primary, 2*4 + wanted, 1*4 + wanted},
			{1*4 + inSync, 0*4 + inSync},
			{},
		},
		Health: "01233",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if draw(nil) != nil {
		t.Error("there is a picture of no table")
	}
}

func TestMovesAreFollowed(t *testing.T) {
	start := time.Unix(1000, 0)
	var m mover
	step := func(second int, partitions ...ring.Config) Moves {
		now := start.Add(time.Duration(second) * time.Second)
		m.look(tableOf(4, partitions...), now)
		return m.view(now)
	}
	there := config(ids{1, 2, 4}, nil, ids{1, 2, 4})
	wished := config(ids{1, 2, 3}, nil, ids{1, 2, 4})
	under := config(ids{1, 2, 3}, ids{4}, ids{1, 2, 4})
	if got := step(0, there, there, there, there); got.Done+got.Pending+got.Active > 0 || got.Took != 0 {
		t.Errorf("without moves: %+v", got)
	}
	if got := step(10, wished, under, wished, wished); got.Pending != 4 || got.Active != 1 || got.Done != 0 || got.Left != 0 {
		t.Errorf("as they begin: %+v", got)
	}
	got := step(16, there, there, under, wished)
	want := Moves{Done: 2, Pending: 2, Active: 1, Took: 6000, Left: 6000, Servers: []Move{{Addr: "10.0.0.1:10001", Done: 2, Pending: 2, Active: 1}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("half way: %s", diff)
	}
	got.estimate(subjects.Moves{Bytes: 77})
	if got.Left != 6000 || got.Bytes != 77 {
		t.Errorf("while the leader does not know how long: %+v", got)
	}
	if got.estimate(subjects.Moves{Bytes: 77, Left: 9}); got.Left != 9000 {
		t.Errorf("when the leader knows: %+v", got)
	}
	if got := step(20, there, there, there, there); got.Done != 4 || got.Pending != 0 || got.Took != 10000 || got.Left != 0 {
		t.Errorf("when they are done: %+v", got)
	}
	// What a server that is down lacks is no move.
	table := tableOf(4, wished)
	table.Nodes[3].Up = false
	m.look(table, start.Add(time.Minute))
	if got := m.view(start.Add(time.Minute)); got.Pending != 0 || got.Waiting != 1 || got.Done != 4 {
		t.Errorf("with its server down: %+v", got)
	}
	if got := step(70, wished); got.Pending != 1 || got.Done != 0 {
		t.Errorf("as others begin: %+v", got)
	}
	for i := range 10 * maxPaces {
		m.look(tableOf(4, wished), start.Add(70*time.Second+time.Duration(i)*time.Millisecond))
	}
	if len(m.samples) > maxPaces {
		t.Errorf("%d samples are kept", len(m.samples))
	}
}

func TestRates(t *testing.T) {
	r := rates{}
	start := time.Unix(1000, 0)
	step := func(ms int64, boot ring.BootID, get, set uint64) *Rate {
		n := subjects.NodeStatus{Role: subjects.RoleGateway, ID: 1, Boot: boot, Load: subjects.Load{Get: get, Set: set, Delete: 1, At: 1e6 + ms}}
		return r.of(&n, start.Add(time.Duration(ms)*time.Millisecond))
	}
	if got := step(0, 1, 1000, 0); got != nil {
		t.Errorf("a rate of one sample: %+v", got)
	}
	if got := step(0, 1, 1000, 0); got != nil {
		t.Errorf("a rate of one sample that was told twice: %+v", got)
	}
	if got := step(2000, 1, 3000, 10); got == nil || got.Read != 1000 || got.Write != 5 {
		t.Errorf("%+v", got)
	}
	for i := range int64(20) {
		step(3000+1000*i, 1, 3000, 10)
	}
	if got := step(23000, 1, 3000, 10); got == nil || got.Read != 0 {
		t.Errorf("long after: %+v", got)
	}
	if got := step(24000, 1, 7, 0); got != nil {
		t.Errorf("as its counters begin anew: %+v", got)
	}
	if got := step(25000, 2, 9000, 0); got != nil {
		t.Errorf("as another process begins: %+v", got)
	}
	r.forget(start.Add(rateForget + 24500*time.Millisecond))
	if len(r) != 1 {
		t.Errorf("%d processes are remembered, want the newest", len(r))
	}
}

func TestTotals(t *testing.T) {
	d := &Dashboard{rates: rates{}}
	gateway := func(id ring.NodeID, state string, gets uint64, at, took int64) subjects.NodeStatus {
		return subjects.NodeStatus{
			Role: subjects.RoleGateway, ID: id, State: state,
			Load: subjects.Load{Get: gets, At: at, Took: subjects.Took{Read50: took, Read99: 2 * took}},
		}
	}
	server := func(id ring.NodeID, state string, items uint64) subjects.NodeStatus {
		return subjects.NodeStatus{Role: subjects.RoleServer, ID: id, State: state, Primary: 1, Replica: 3, Load: subjects.Load{Items: items, Bytes: 10}}
	}
	now := time.Now()
	look := func(at int64, gets ...uint64) State {
		return d.stateOf(&subjects.ClusterStatus{Nodes: []subjects.NodeStatus{
			gateway(1, "up", gets[0], at, 100), gateway(2, "up", gets[1], at, 500), gateway(3, "down", gets[2], at, 9000),
			server(4, "up", 30), server(5, "joining", 30), server(6, "down", 30),
		}}, now)
	}
	look(1000, 0, 0, 0)
	got := look(2000, 300, 100, 77777).Total
	want := Total{Rate: Rate{Read: 400}, Took: subjects.Took{Read50: 200, Read99: 1000}, Items: 20, Bytes: 20}
	if got.Read != want.Read || got.Took != want.Took || got.Items != want.Items || got.Bytes != want.Bytes {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestBounds(t *testing.T) {
	long := strings.Repeat("…x", maxText)
	st := &subjects.ClusterStatus{}
	for i := range 2 * maxNodes {
		st.Nodes = append(st.Nodes, subjects.NodeStatus{Name: long, Addr: long, Role: subjects.RoleGateway, State: "up", ID: ring.NodeID(i + 1), Listen: []string{long, long, long, long, long}})
		st.Alarms = append(st.Alarms, long)
	}
	st.Nodes[2*maxNodes-1].State = "down"
	st.Nodes[2*maxNodes-2].Disk.Full = true
	s := (&Dashboard{rates: rates{}}).stateOf(st, time.Now())
	if len(s.Nodes) != maxNodes || s.More != maxNodes || len(s.Alarms) != maxAlarms {
		t.Errorf("%d nodes, %d more, %d alarms", len(s.Nodes), s.More, len(s.Alarms))
	}
	unwell := 0
	for _, n := range s.Nodes {
		if n.State == "down" || n.Disk.Full {
			unwell++
		}
	}
	if unwell != 2 {
		t.Errorf("%d nodes are shown that are not well, want 2", unwell)
	}
	if n := len([]rune(s.Nodes[0].Name)); n != maxText+1 || len(s.Nodes[0].Listen) != 4 {
		t.Errorf("a name of %d characters, %d addresses", n, len(s.Nodes[0].Listen))
	}
	var j journal
	for range 3 * maxEntries {
		j.add(subjects.Event{Text: long})
	}
	if all := j.since(0); len(all) != maxEntries || all[0].Number != 2*maxEntries+1 || len([]rune(all[0].Text)) != maxText+1 {
		t.Errorf("%d entries from %d on", len(all), all[0].Number)
	}
	for range 9 * maxEntries {
		j.add(subjects.Event{Kind: subjects.EventEpoch})
	}
	if all := j.since(0); len(all) != 2*maxEntries || all[0].Kind != "" || all[2*maxEntries-1].Number != 12*maxEntries {
		t.Errorf("%d entries with epochs", len(all))
	}
	if more := j.since(12*maxEntries - 2); len(more) != 2 {
		t.Errorf("%d entries after the last but two", len(more))
	}
	if more := j.since(99999); len(more) != 0 {
		t.Errorf("%d entries after what never was", len(more))
	}
}

// What happened before the dashboard began is told to who begins to listen, once.
func TestEarlierEvents(t *testing.T) {
	texts := func(list []Entry) (all string) {
		for _, e := range list {
			all += e.Text
		}
		return all
	}
	var j journal
	j.add(subjects.Event{Text: "c", Time: 3})
	j.add(subjects.Event{Text: "d", Time: 4})
	j.before([]subjects.Event{{Text: "a", Time: 1}, {Text: "b", Time: 2}, {Text: "c", Time: 3}})
	j.add(subjects.Event{Text: "e", Time: 5})
	if got := texts(j.since(0)); got != "abcde" {
		t.Errorf("all is %s", got)
	}
	if got := texts(j.since(2)); got != "e" {
		t.Errorf("who listens already hears %s", got)
	}
	var empty journal
	empty.before([]subjects.Event{{Text: "a"}})
	if texts(empty.since(0)) != "a" || empty.number == 0 || texts(empty.since(empty.number)) != "" {
		t.Error("who has heard what was before hears it again")
	}
	many := make([]subjects.Event, 3*maxEntries)
	if empty.before(many); len(empty.since(0)) > maxEntries+1 {
		t.Errorf("%d entries", len(empty.since(0)))
	}
}
