package rebalance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// failer is a *testing.T or *rapid.T.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// world is a cluster whose primaries obey: they certify learners that are up and
// ask that silent backups be taken out. Time is rounds.
type world struct {
	t     failer
	table *ring.Table
	nodes map[ring.NodeID]Status
	whole []map[ring.NodeID]bool // partition → stores that hold all acknowledged entries
	// copies are what each store would say of each of its copies if it were asked.
	copies []map[ring.NodeID]Copy
	draw   *rapid.T // what a crash costs; nil: nothing but a tail
	boots  ring.BootID
}

func newWorld(t failer, partitions, replicas, servers int) *world {
	w := &world{t: t, nodes: map[ring.NodeID]Status{}, whole: make([]map[ring.NodeID]bool, partitions)}
	for range partitions {
		w.copies = append(w.copies, map[ring.NodeID]Copy{})
	}
	w.apply(ring.Command{Init: &ring.Init{Cluster: "k", ClusterID: 1, Partitions: partitions, Replicas: replicas}})
	for i := range servers {
		w.start(ring.NodeID(i + 1))
	}
	return w
}

// apply applies a command of which no change may be refused, and checks that no
// change gives the lead to a store that lacks acknowledged entries.
func (w *world) apply(c ring.Command) {
	w.t.Helper()
	next, res, err := w.table.Apply(c)
	if err != nil || len(res.Refused) > 0 {
		w.t.Fatalf("%+v: %v, refused %+v", c, err, res.Refused)
	}
	for _, p := range res.Done {
		old, now := w.table.Partitions[p], next.Partitions[p]
		if old.Epoch == 0 || w.whole[p] == nil {
			w.whole[p] = set(now.ISR)
		} else if !w.whole[p][now.Primary.Store] && now.LossAt != now.Epoch {
			w.t.Fatalf("partition %d: %v leads without the data: %+v after %+v", p, now.Primary.Store, now, old)
		}
		if now.LossAt == now.Epoch {
			w.checkLoss(ring.Partition(p), old, now)
			w.whole[p] = map[ring.NodeID]bool{now.Primary.Store: true}
		}
		for _, id := range now.ISR { // writes go on: only who is in sync holds all
			if !slices.Contains(now.Unclean, id) {
				w.whole[p][id] = true
				w.copies[p][id] = Copy{Epoch: now.Epoch}
			}
		}
		for id := range w.whole[p] {
			if !now.HasISR(id) {
				delete(w.whole[p], id)
			}
		}
	}
	w.table = next
}

func set(ids []ring.NodeID) map[ring.NodeID]bool {
	m := map[ring.NodeID]bool{}
	for _, id := range ids {
		m[id] = true
	}
	return m
}

func (w *world) start(id ring.NodeID) {
	w.boots++
	w.nodes[id] = Status{State: Up, Boot: w.boots}
	// A store keeps in mind what is in doubt until the copy is in sync again.
	var unclean []ring.Partition
	for p := range w.copies {
		if w.copies[p][id].Unclean {
			unclean = append(unclean, ring.Partition(p))
		}
	}
	n := ring.Node{ID: id, Boot: w.boots, Name: fmt.Sprint("n", uint64(id))}
	w.apply(ring.Command{Seen: []ring.Sighting{{Node: n, Unclean: ring.SetOf(unclean...)}}})
}

func (w *world) kill(id ring.NodeID, hard bool) {
	s := w.nodes[id]
	if s.State != Up {
		return
	}
	w.nodes[id] = Status{State: Down, Boot: s.Boot}
	if hard {
		w.lose(id)
	}
	w.apply(ring.Command{Down: []ring.Process{{Store: id, Boot: s.Boot}}})
}

func (w *world) servers() (out []Server) {
	for _, n := range w.table.Nodes {
		if n.Attached {
			out = append(out, Server{ID: n.ID, Zone: n.Zone})
		}
	}
	return out
}

// replan attaches or detaches and places the partitions anew.
func (w *world) replan(c ring.Command) {
	if c.Attach != nil || c.Detach != nil {
		w.apply(c)
	}
	if ts := Targets(w.table, w.servers()); len(ts) > 0 && len(w.servers()) > 0 {
		w.apply(ring.Command{Target: ts})
	}
}

func (w *world) view() View {
	v := View{Table: w.table, Nodes: w.nodes, Learners: 4, Shifts: 4, Copies: map[ring.Partition]map[ring.NodeID]Copy{}}
	for p := range w.copies { // who is up has been asked
		v.Copies[ring.Partition(p)] = map[ring.NodeID]Copy{}
		for id, c := range w.copies[p] {
			if w.nodes[id].State == Up {
				v.Copies[ring.Partition(p)][id] = c
			}
		}
	}
	return v
}

// lose takes what was not on the disk of a machine: of each of its copies
// something, nothing, or keys.
func (w *world) lose(id ring.NodeID) {
	for p, c := range w.table.Partitions {
		if !c.HasISR(id) {
			continue
		}
		left := 1
		if w.draw != nil {
			left = rapid.IntRange(1, 5).Draw(w.draw, "left")
		}
		was := w.copies[p][id]
		if was.Unclean { // what is gone does not come back
			left = min(left, int(was.Seq))
		}
		if left < 5 { // else nothing is lost, which nobody knows
			delete(w.whole[p], id)
		}
		w.copies[p][id] = Copy{Epoch: c.Epoch, Seq: uint64(left), Unclean: true, Incomplete: left == 4 || was.Unclean && was.Incomplete}
	}
}

// checkLoss checks that acknowledged writes are given up only where nobody has
// them, and as few as possible.
func (w *world) checkLoss(p ring.Partition, old, now ring.Config) {
	w.t.Helper()
	best := w.copies[p][now.Primary.Store]
	for _, id := range old.ISR {
		c := w.copies[p][id]
		switch {
		case w.nodes[id].State != Up:
			w.t.Fatalf("partition %d is forced to %v while %v is missing: %+v", p, now.Primary, id, old)
		case w.whole[p][id] && !w.whole[p][now.Primary.Store]:
			w.t.Fatalf("partition %d is forced to %v although %v holds all: %+v", p, now.Primary, id, old)
		case !c.Incomplete && c.compare(best) > 0 || best.Incomplete:
			w.t.Fatalf("partition %d is forced to %v, %+v, although %v holds %+v", p, now.Primary, best, id, c)
		}
	}
	if !old.HasISR(now.Primary.Store) || !slices.Equal(now.ISR, []ring.NodeID{now.Primary.Store}) {
		w.t.Fatalf("partition %d is forced to %+v from %+v", p, now, old)
	}
}

// round lets the managers decide once and the primaries answer. It reports
// whether anything happened.
func (w *world) round(diligence func() bool) bool {
	before := w.table
	if out := Reconcile(w.view()); len(out.Changes) > 0 {
		w.apply(ring.Command{Change: out.Changes})
	}
	for p, c := range w.table.Partitions {
		if c.Epoch == 0 || w.nodes[c.Primary.Store] != (Status{State: Up, Boot: c.Primary.Boot}) || !w.reachable(c) {
			continue
		}
		for _, id := range c.Learners {
			if w.nodes[id].State == Up && diligence() {
				w.ask(p, c, ring.Change{Primary: c.Primary, ISR: append(slices.Clone(c.ISR), id), Learners: filter(c.Learners, func(o ring.NodeID) bool { return o != id })})
				break
			}
		}
	}
	return w.table != before
}

// reachable: to certify a learner takes all that are in sync.
func (w *world) reachable(c ring.Config) bool {
	return len(filter(c.ISR, func(id ring.NodeID) bool { return w.nodes[id].State != Up })) == 0
}

func (w *world) ask(p int, old ring.Config, c ring.Change) {
	c.Partition, c.Epoch = ring.Partition(p), old.Epoch
	for _, id := range c.ISR {
		if !old.HasISR(id) {
			n, _ := w.table.Node(id)
			c.Joined = append(c.Joined, n.Process())
		}
	}
	judged, why := Judge(w.view(), old.Primary, c)
	if why != "" {
		w.t.Fatalf("refused: %s: %+v", why, c)
	}
	w.apply(ring.Command{Change: []ring.Change{judged}})
}

func always() bool { return true }

// rest runs rounds until nothing happens any more.
func (w *world) rest() {
	w.t.Helper()
	limit := 40 + 12*w.table.Size()
	for range limit {
		if !w.round(always) {
			return
		}
	}
	w.t.Fatalf("still changing after %d rounds: %+v", limit, Reconcile(w.view()))
}

// checkFull: every partition is where it is wished, and led so.
func (w *world) checkFull() {
	w.t.Helper()
	leads := map[ring.NodeID]int{}
	for _, s := range w.servers() {
		leads[s.ID] = 0
	}
	for p, c := range w.table.Partitions {
		if len(w.servers()) == 0 {
			return
		}
		if !cmp.Equal(set(c.ISR), set(c.Target)) || len(c.Learners) > 0 || !w.table.Alive(c.Primary) || c.Primary.Store != c.Target[0] || len(c.Unclean) > 0 {
			w.t.Fatalf("partition %d is not as wished: %+v", p, c)
		}
		leads[c.Primary.Store]++
	}
	even(w.t, "leads", leads)
}

// event does one thing to the cluster.
func (w *world) event(t *rapid.T) {
	ids := make([]ring.NodeID, 0, len(w.nodes))
	for _, n := range w.table.Nodes {
		ids = append(ids, n.ID)
	}
	id := rapid.SampledFrom(ids).Draw(t, "node")
	switch rapid.IntRange(0, 9).Draw(t, "event") {
	case 0, 1, 2:
		w.kill(id, false)
	case 3:
		w.kill(id, true)
	case 4, 5, 6:
		w.start(id) // also over a running process: a quick restart
	case 7:
		w.replan(ring.Command{Attach: []ring.NodeID{id}})
	case 8:
		if len(w.servers()) > 1 {
			w.replan(ring.Command{Detach: []ring.NodeID{id}})
		}
	case 9: // the leader changes: for a moment it has not heard everybody
		for _, id := range ids {
			if rapid.Bool().Draw(t, "unknown") && w.nodes[id].State == Up {
				w.nodes[id] = Status{State: Unknown, Boot: w.nodes[id].Boot}
			}
		}
	}
}

func TestReconcileReachesAFixedPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		servers := rapid.IntRange(1, 7).Draw(t, "servers")
		w := newWorld(t, 1<<rapid.IntRange(0, 5).Draw(t, "partitions"), rapid.IntRange(1, 4).Draw(t, "replicas"), servers)
		w.draw = t
		var all []ring.NodeID
		for i := range rapid.IntRange(1, servers).Draw(t, "attached") {
			all = append(all, ring.NodeID(i+1))
		}
		w.replan(ring.Command{Attach: all})
		for range rapid.IntRange(0, 25).Draw(t, "events") {
			w.event(t)
			for range rapid.IntRange(0, 3).Draw(t, "rounds") {
				w.round(func() bool { return rapid.Bool().Draw(t, "done") })
			}
			for id, s := range w.nodes { // whoever was unknown is heard or missed
				if s.State == Unknown {
					w.nodes[id] = Status{State: Up, Boot: s.Boot}
				}
			}
		}
		for _, n := range w.table.Nodes {
			if w.nodes[n.ID].State != Up {
				w.start(n.ID)
			}
		}
		w.rest()
		w.giveUp()
		w.checkFull()
		epochs := w.table.Revision
		if w.rest(); w.table.Revision != epochs {
			t.Fatal("a fixed point is not fixed")
		}
	})
}

// cluster is a world at rest with all servers attached.
func cluster(t failer, partitions, replicas, servers int) *world {
	w := newWorld(t, partitions, replicas, servers)
	var all []ring.NodeID
	for i := range servers {
		all = append(all, ring.NodeID(i+1))
	}
	w.replan(ring.Command{Attach: all})
	w.rest()
	w.checkFull()
	return w
}

func TestFailoverIsOneRoundAndEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		servers := rapid.IntRange(3, 8).Draw(t, "servers")
		w := cluster(t, 128, 3, servers)
		dead := []ring.NodeID{1, 2}[:rapid.IntRange(1, 2).Draw(t, "dead")]
		for _, id := range dead {
			w.kill(id, false)
		}
		w.round(func() bool { return false })
		leads := map[ring.NodeID]int{}
		for p, c := range w.table.Partitions {
			if !w.table.Alive(c.Primary) {
				t.Fatalf("partition %d has no primary: %+v", p, c)
			}
			for _, id := range c.ISR {
				if slices.Contains(dead, id) {
					t.Fatalf("partition %d still counts on the dead: %+v", p, c)
				}
			}
			leads[c.Primary.Store]++
		}
		for id, n := range leads {
			if want := 128 / (servers - len(dead)); n > want+want/3+3 {
				t.Errorf("%v leads %d partitions, %d would be even", id, n, want)
			}
		}
	})
}

func TestFullRestartKeepsPrimaries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := cluster(t, 32, 3, 4)
		before := w.table
		for id, s := range w.nodes {
			w.nodes[id] = Status{State: Unknown, Boot: s.Boot}
		}
		if w.round(always) {
			t.Fatal("something was decided before anybody was heard")
		}
		for _, id := range rapid.Permutation([]ring.NodeID{1, 2, 3, 4}).Draw(t, "order") {
			w.start(id)
			w.round(always)
		}
		for p, c := range w.table.Partitions {
			if o := before.Partitions[p]; c.Primary.Store != o.Primary.Store || c.Epoch != o.Epoch+1 || !cmp.Equal(c.ISR, o.ISR) {
				t.Fatalf("partition %d changed for no reason: %+v to %+v", p, o, c)
			}
		}
	})
}

// A process that has just started may be bound by what the one before granted,
// and would keep writes waiting: others lead, as long as there are any.
func TestYoungProcessesLeadLast(t *testing.T) {
	w := newWorld(t, 16, 3, 3)
	w.replan(ring.Command{Attach: []ring.NodeID{1, 2, 3}})
	w.rest()
	young := func(id ring.NodeID, is bool) {
		s := w.nodes[id]
		s.Young = is
		w.nodes[id] = s
	}
	leads := func(id ring.NodeID) (n int) {
		for _, c := range w.table.Partitions {
			if c.Primary.Store == id {
				n++
			}
		}
		return n
	}
	had := leads(2)
	w.kill(2, false)
	w.rest()
	w.start(2)
	young(2, true)
	w.rest()
	if n := leads(2); n != 0 {
		t.Errorf("a young process leads %d partitions", n)
	}
	w.kill(1, false) // 2 is wished in its place for some, and 3 is there
	w.apply(ring.Command{Change: Reconcile(w.view()).Changes})
	if n := leads(2); n != 0 {
		t.Errorf("a young process was given %d partitions although another could have them", n)
	}
	w.kill(3, false)
	w.apply(ring.Command{Change: Reconcile(w.view()).Changes})
	if n := leads(2); n != 16 {
		t.Errorf("the only process that is left leads %d partitions", n)
	}
	w.start(1)
	w.start(3)
	young(2, false)
	w.rest()
	w.checkFull()
	if n := leads(2); n != had {
		t.Errorf("%d partitions, want %d as before", n, had)
	}
}

func TestAllUncleanLeadWithLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := cluster(t, 8, 3, 3)
		for _, id := range []ring.NodeID{1, 2, 3} {
			s := w.nodes[id]
			w.lose(id)
			w.nodes[id] = Status{State: Down, Boot: s.Boot}
			w.apply(ring.Command{Down: []ring.Process{{Store: id, Boot: s.Boot}}})
		}
		order := rapid.Permutation([]ring.NodeID{1, 2, 3}).Draw(t, "order")
		for _, id := range order[:2] {
			w.start(id)
			w.round(always)
			if out := Reconcile(w.view()); len(out.Changes) > 0 || len(out.Stuck) != 8 {
				t.Fatalf("an unclean store was used while one has not reported: %+v", out)
			}
		}
		w.start(order[2])
		w.rest()
		for _, c := range w.table.Partitions {
			if !c.Loss {
				t.Fatal("possible loss is not recorded")
			}
		}
		w.checkFull()
	})
}

func TestWitnessPlansNothing(t *testing.T) {
	w := cluster(t, 16, 2, 3)
	w.kill(3, false)
	w.round(always)
	w.start(3)
	v := w.view()
	v.FailoverOnly = true
	if out := Reconcile(v); len(out.Changes) > 0 {
		t.Fatalf("a move was begun: %+v", out.Changes)
	}
}

func TestLimits(t *testing.T) {
	w := cluster(t, 128, 3, 3)
	w.start(4)
	w.replan(ring.Command{Attach: []ring.NodeID{4}})
	out := Reconcile(w.view())
	if len(out.Changes) != 4 {
		t.Fatalf("%d copies begun towards one node, want 4", len(out.Changes))
	}
	settings := true
	w.apply(ring.Command{Settings: &ring.Settings{Paused: &settings}})
	if out := Reconcile(w.view()); len(out.Changes) > 0 {
		t.Fatalf("moves while paused: %+v", out)
	}
	w.kill(2, false)
	w.round(always)
	w.start(2)
	if out := Reconcile(w.view()); len(out.Changes) == 0 {
		t.Fatal("a lost copy is not restored while moves are paused")
	}
}

func TestJudge(t *testing.T) {
	w := cluster(t, 1, 3, 3)
	c := w.table.Partitions[0]
	p := c.Primary.Store
	backups := filter(c.ISR, func(id ring.NodeID) bool { return id != p })
	b1, b2 := backups[0], backups[1]
	alone := ring.Change{Epoch: c.Epoch, Primary: c.Primary, ISR: []ring.NodeID{p}}
	got, why := Judge(w.view(), c.Primary, alone)
	if why != "" || got.Primary.Store == p || got.Epoch != c.Epoch || !cmp.Equal(set(got.ISR), set([]ring.NodeID{p, b1, b2})) {
		t.Fatalf("%+v %s: a primary that hears nobody keeps the lead, or somebody is left out", got, why)
	}
	table, res, err := w.table.Apply(ring.Command{Change: []ring.Change{got}})
	if err != nil || len(res.Done) != 1 {
		t.Fatal(res, err)
	}
	next := w.view()
	next.Table = table
	again := ring.Change{Epoch: got.Epoch + 1, Primary: got.Primary, ISR: []ring.NodeID{got.Primary.Store}}
	if judged, why := Judge(next, got.Primary, again); why != "" || !cmp.Equal(judged.ISR, again.ISR) {
		t.Fatalf("%+v %s: a second primary that hears nobody is not believed", judged, why)
	}
	two := ring.Change{Epoch: c.Epoch, Primary: c.Primary, ISR: []ring.NodeID{p, b1}}
	if got, why := Judge(w.view(), c.Primary, two); why != "" || !cmp.Equal(got.ISR, two.ISR) || got.By != c.Primary {
		t.Fatalf("%+v %s", got, why)
	}
	w.nodes[b1], w.nodes[b2] = Status{State: Down}, Status{State: Down}
	if got, why := Judge(w.view(), c.Primary, alone); why != "" || !cmp.Equal(got.ISR, alone.ISR) {
		t.Fatalf("%+v %s: the dead are counted on", got, why)
	}
	for _, other := range []ring.Process{{}, {Store: b1, Boot: 1}, {Store: p, Boot: 99}} {
		if _, why := Judge(w.view(), other, alone); why == "" {
			t.Fatalf("%v may ask", other)
		}
	}
}

// A copy that joins and the one that it is for change places in one epoch, unless
// a copy would be missing for it.
func TestJoinTakesTheSurplusOut(t *testing.T) {
	w := cluster(t, 1, 3, 3)
	w.start(4)
	c := w.table.Partitions[0]
	p := c.Primary.Store
	followers := filter(c.ISR, func(id ring.NodeID) bool { return id != p })
	w.apply(ring.Command{Target: []ring.Target{{Nodes: []ring.NodeID{p, followers[0], 4}}}})
	w.apply(ring.Command{Change: []ring.Change{{Epoch: c.Epoch, Primary: c.Primary, ISR: c.ISR, Learners: []ring.NodeID{4}}}})
	joins := ring.Change{Epoch: c.Epoch + 1, Primary: c.Primary, ISR: append(slices.Clone(c.ISR), 4)}
	n, _ := w.table.Node(4)
	joins.Joined = []ring.Process{n.Process()}
	got, why := Judge(w.view(), c.Primary, joins)
	if why != "" || !cmp.Equal(set(got.ISR), set([]ring.NodeID{p, followers[0], 4})) {
		t.Fatalf("%+v %s", got, why)
	}
	w.apply(ring.Command{Change: []ring.Change{got}})
	w.nodes[followers[0]] = Status{State: Down}
	v := w.view()
	v.Table = &ring.Table{Replicas: 3, Nodes: w.table.Nodes, Partitions: []ring.Config{{
		Epoch: c.Epoch + 1, Primary: c.Primary, ISR: c.ISR, Learners: []ring.NodeID{4}, Target: []ring.NodeID{p, followers[0], 4},
	}}}
	if got, why = Judge(v, c.Primary, joins); why != "" || !cmp.Equal(set(got.ISR), set(joins.ISR)) {
		t.Fatalf("%+v %s: a copy goes while another is missing", got, why)
	}
	for _, c := range []struct {
		name    string
		status  Status
		unclean []ring.NodeID
	}{
		{"is about to leave", Status{State: Up, Stopping: true}, nil},
		{"hangs", Status{State: Up, Hung: true}, nil},
		{"is unclean", Status{State: Up}, []ring.NodeID{followers[0]}},
	} {
		v.Nodes[followers[0]] = c.status
		v.Table.Partitions[0].Unclean = c.unclean
		if got, why = Judge(v, joins.Primary, joins); why != "" || !cmp.Equal(set(got.ISR), set(joins.ISR)) {
			t.Errorf("%+v %s: a copy goes while another %s", got, why, c.name)
		}
	}
}
