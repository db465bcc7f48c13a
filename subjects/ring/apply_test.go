package ring

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func node(id NodeID, boot BootID) Node {
	return Node{ID: id, Boot: boot, Name: "n" + id.String(), Addr: id.String() + ":1"}
}

func mustApply(t interface {
	Helper()
	Fatalf(string, ...any)
}, table *Table, cs ...Command) *Table {
	t.Helper()
	for _, c := range cs {
		next, res, err := table.Apply(c)
		if err != nil || len(res.Refused) > 0 {
			t.Fatalf("apply %+v: %v, refused %v", c, err, res.Refused)
		}
		table = next
	}
	return table
}

// small is a cluster of four partitions and nodes 1, 2, 3; partition 0 is led
// by 1, has 2 in sync and 3 as learner, and is at epoch 1.
func small(t *testing.T) *Table {
	return mustApply(t, nil,
		Command{Init: &Init{Cluster: "kumo", ClusterID: 9, Partitions: 4, Replicas: 3}},
		Command{Seen: []Sighting{{Node: node(1, 11)}, {Node: node(2, 21)}, {Node: node(3, 31)}}},
		Command{Attach: []NodeID{1, 2, 3}, Target: []Target{{0, []NodeID{1, 2, 3}}}},
		Command{Change: []Change{{Partition: 0, Primary: Process{1, 11}, ISR: []NodeID{1, 2}, Learners: []NodeID{3}}}},
	)
}

func TestChangeIsRefused(t *testing.T) {
	p1, p2, p3 := Process{1, 11}, Process{2, 21}, Process{3, 31}
	for _, c := range []struct {
		name string
		c    Change
		want string // "" is done
	}{
		{"learner certified by the primary", Change{Epoch: 1, Primary: p1, ISR: []NodeID{1, 2, 3}, By: p1, Joined: []Process{p3}}, ""},
		{"learner that has restarted since", Change{Epoch: 1, Primary: p1, ISR: []NodeID{1, 2, 3}, By: p1, Joined: []Process{{3, 30}}}, "not the process"},
		{"learner of no known process", Change{Epoch: 1, Primary: p1, ISR: []NodeID{1, 2, 3}, By: p1}, "not the process"},
		{"backup taken out", Change{Epoch: 1, Primary: p1, ISR: []NodeID{1}}, ""},
		{"fail-over", Change{Epoch: 1, Primary: p2, ISR: []NodeID{2}}, ""},
		{"restarted primary leads again", Change{Epoch: 1, Primary: Process{1, 12}, ISR: []NodeID{1, 2}}, ""},
		{"learner forced to lead", Change{Epoch: 1, Primary: p3, ISR: []NodeID{3}, Loss: true}, ""},
		{"old epoch", Change{Epoch: 0, Primary: p1, ISR: []NodeID{1}}, "the epoch has moved on"},
		{"later epoch", Change{Epoch: 2, Primary: p1, ISR: []NodeID{1}}, "the epoch has moved on"},
		{"nobody in sync", Change{Epoch: 1, Primary: p1}, "no in-sync replica"},
		{"primary not in sync", Change{Epoch: 1, Primary: p1, ISR: []NodeID{2}}, "is not in sync"},
		{"learner leads", Change{Epoch: 1, Primary: p3, ISR: []NodeID{1, 3}, By: p1}, "was not in sync"},
		{"learner without certificate", Change{Epoch: 1, Primary: p1, ISR: []NodeID{1, 2, 3}}, "neither in sync nor certified"},
		{"certified by a backup", Change{Epoch: 1, Primary: p1, ISR: []NodeID{1, 2, 3}, By: p2}, "only the primary"},
		{"certified by the primary's next life", Change{Epoch: 1, Primary: p1, ISR: []NodeID{1, 2, 3}, By: Process{1, 12}}, "only the primary"},
		{"stranger", Change{Epoch: 1, Primary: p1, ISR: []NodeID{1, 7}, By: p1}, "is not known"},
		{"twice", Change{Epoch: 1, Primary: p1, ISR: []NodeID{1, 1}}, "there twice"},
		{"in sync and learner", Change{Epoch: 1, Primary: p1, ISR: []NodeID{1, 2}, Learners: []NodeID{2}}, "there twice"},
		{"no such partition", Change{Partition: 4, Epoch: 1, Primary: p1, ISR: []NodeID{1}}, "no such partition"},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := small(t)
			next, res, err := old.Apply(Command{Change: []Change{c.c}})
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if len(res.Refused) > 0 || next.Partitions[0].Epoch != 2 || next.Revision != old.Revision+1 {
					t.Fatalf("refused %v, now %+v", res.Refused, next.Partitions[0])
				}
				return
			}
			if len(res.Refused) != 1 || !strings.Contains(res.Refused[0].Why, c.want) {
				t.Fatalf("refused %v, want %q", res.Refused, c.want)
			}
			if next != old {
				t.Fatal("a refused change made a new table")
			}
		})
	}
}

func TestUncleanMayNotLead(t *testing.T) {
	table := small(t)
	back := Sighting{node(2, 22), SetOf(0)}
	table = mustApply(t, table, Command{Seen: []Sighting{back}})
	if got := table.Partitions[0].Unclean; !cmp.Equal(got, []NodeID{2}) {
		t.Fatalf("unclean %v", got)
	}
	for p, c := range table.Partitions[1:] {
		if c.Unclean != nil {
			t.Fatalf("partition %d, of which nothing was said: %v", p+1, c.Unclean)
		}
	}
	lead := Change{Epoch: 1, Primary: Process{2, 22}, ISR: []NodeID{2}}
	if _, res, _ := table.Apply(Command{Change: []Change{lead}}); len(res.Refused) != 1 {
		t.Fatal("an unclean store was made primary")
	}
	out := mustApply(t, table, Command{Change: []Change{{Epoch: 1, Primary: Process{1, 11}, ISR: []NodeID{1}, Learners: []NodeID{2}}}})
	in := mustApply(t, out, Command{Change: []Change{{Epoch: 2, Primary: Process{1, 11}, ISR: []NodeID{1, 2}, By: Process{1, 11}, Joined: []Process{{2, 22}}}}})
	if got := in.Partitions[0].Unclean; got != nil {
		t.Fatalf("still unclean after it was copied anew: %v", got)
	}
	if again := mustApply(t, in, Command{Seen: []Sighting{back}}); again != in {
		t.Fatal("the same process made its copies unclean twice")
	}
	lead.Loss = true
	if forced := mustApply(t, table, Command{Change: []Change{lead}}); !forced.Partitions[0].Loss || forced.Partitions[0].Unclean != nil {
		t.Fatalf("forced: %+v", forced.Partitions[0])
	}
	later := mustApply(t, table, Command{Seen: []Sighting{{Node: node(2, 23)}}})
	if got := later.Partitions[0].Unclean; !cmp.Equal(got, []NodeID{2}) {
		t.Fatalf("a doubt ended although its member stayed: %v", got)
	}
}

// A forced copy is the truth for as long as its store leads, whatever its
// process; that there was a loss is never forgotten.
func TestForcedLastsWhileTheStoreLeads(t *testing.T) {
	table := mustApply(t, small(t), Command{Change: []Change{{Epoch: 1, Primary: Process{3, 31}, ISR: []NodeID{3}, Loss: true}}})
	table = mustApply(t, table, Command{Change: []Change{{Epoch: 2, Primary: Process{3, 32}, ISR: []NodeID{3}, Learners: []NodeID{1}}}})
	if c := table.Partitions[0]; !c.Forced || !c.Loss || c.LossAt != 2 {
		t.Fatalf("another process of the store: %+v", c)
	}
	table = mustApply(t, table,
		Command{Change: []Change{{Epoch: 3, Primary: Process{3, 32}, ISR: []NodeID{1, 3}, By: Process{3, 32}, Joined: []Process{{1, 11}}}}},
		Command{Change: []Change{{Epoch: 4, Primary: Process{1, 11}, ISR: []NodeID{1, 3}}}},
		Command{Change: []Change{{Epoch: 5, Primary: Process{3, 32}, ISR: []NodeID{1, 3}}}},
	)
	if c := table.Partitions[0]; c.Forced || !c.Loss || c.LossAt != 2 {
		t.Fatalf("after another store led: %+v", c)
	}
}

func TestCommandIsAllOrNothing(t *testing.T) {
	table := small(t)
	next, _, err := table.Apply(Command{Down: []Process{{1, 11}}, Attach: []NodeID{77}})
	if err == nil || next != table || !table.Nodes[0].Up {
		t.Fatalf("%v, %+v", err, next.Nodes)
	}
	if _, _, err := table.Apply(Command{}); !errors.Is(err, ErrEmpty) {
		t.Fatalf("empty command: %v", err)
	}
	if _, _, err := (*Table)(nil).Apply(Command{Down: []Process{{1, 11}}}); !errors.Is(err, ErrNoCluster) {
		t.Fatalf("before init: %v", err)
	}
}

func TestNodes(t *testing.T) {
	table := small(t)
	if again := mustApply(t, table, Command{Seen: []Sighting{{Node: node(2, 21)}}}); again != table {
		t.Fatal("a hello that tells nothing new made a new table")
	}
	if late := mustApply(t, table, Command{Down: []Process{{2, 20}}}); late != table {
		t.Fatal("the death of an earlier process took the node down")
	}
	down := mustApply(t, table, Command{Down: []Process{{2, 21}, {3, 31}}})
	if n, _ := down.Node(2); n.Up || !n.Attached {
		t.Fatalf("%+v", n)
	}
	up := mustApply(t, down, Command{Seen: []Sighting{{Node: node(2, 22)}}})
	if n, _ := up.Node(2); !n.Up || n.Boot != 22 || !n.Attached || up.Alive(Process{2, 21}) || !up.Alive(Process{2, 22}) {
		t.Fatalf("%+v", n)
	}
	if _, _, err := down.Apply(Command{Detach: []NodeID{3}, Forget: []NodeID{3}}); err == nil {
		t.Fatal("forgot a node that holds data")
	}
	gone := mustApply(t, down, Command{
		Detach: []NodeID{3},
		Target: []Target{{0, []NodeID{1, 2}}},
		Change: []Change{{Epoch: 1, Primary: Process{1, 11}, ISR: []NodeID{1, 2}}},
		Forget: []NodeID{3},
	})
	if _, ok := gone.Node(3); ok || len(gone.Nodes) != 2 {
		t.Fatalf("%+v", gone.Nodes)
	}
}

func TestInitOnce(t *testing.T) {
	for _, bad := range []Init{
		{ClusterID: 1, Partitions: 3, Replicas: 3}, {ClusterID: 1, Partitions: 0, Replicas: 3},
		{ClusterID: 1, Partitions: 2 * MaxPartitions, Replicas: 3}, {ClusterID: 1, Partitions: 4},
		{ClusterID: 1, Partitions: 4, Replicas: MaxReplicas + 1}, {Partitions: 4, Replicas: 1},
	} {
		if _, _, err := (*Table)(nil).Apply(Command{Init: &bad}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	table := small(t)
	if again := mustApply(t, table, Command{Init: &Init{ClusterID: 10, Partitions: 8, Replicas: 1}}); again != table {
		t.Fatal("the cluster was made twice")
	}
}

// drawCommand makes any command over a few nodes and partitions, sensible or not.
func drawCommand(t *rapid.T, table *Table) Command {
	id := rapid.Map(rapid.IntRange(1, 5), func(i int) NodeID { return NodeID(i) })
	boot := rapid.Map(rapid.IntRange(1, 3), func(i int) BootID { return BootID(i) })
	ids := rapid.SliceOfN(id, 0, 4)
	var c Command
	if rapid.IntRange(0, 3).Draw(t, "seen?") == 0 {
		n := node(id.Draw(t, "seen"), boot.Draw(t, "boot"))
		of := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4).Draw(t, "unclean")
		s := Sighting{Node: n}
		for _, p := range of {
			s.Unclean = SetOf(Partition(p))
		}
		c.Seen = []Sighting{s}
	}
	if rapid.IntRange(0, 3).Draw(t, "down?") == 0 {
		c.Down = []Process{{id.Draw(t, "down"), boot.Draw(t, "boot")}}
	}
	if rapid.IntRange(0, 5).Draw(t, "attach?") == 0 {
		c.Attach = ids.Draw(t, "attach")
	}
	if rapid.IntRange(0, 5).Draw(t, "target?") == 0 {
		c.Target = []Target{{Partition(rapid.IntRange(0, 4).Draw(t, "p")), ids.Draw(t, "target")}}
	}
	if rapid.IntRange(0, 5).Draw(t, "forget?") == 0 {
		c.Forget = ids.Draw(t, "forget")
	}
	for range rapid.IntRange(0, 3).Draw(t, "changes") {
		p := rapid.IntRange(0, len(table.Partitions)-1).Draw(t, "p")
		old := table.Partitions[p]
		ch := Change{
			Partition: Partition(p),
			Epoch:     old.Epoch + Epoch(rapid.IntRange(0, 9).Draw(t, "early")/9),
			ISR:       ids.Draw(t, "isr"),
			Learners:  ids.Draw(t, "learners"),
			Loss:      rapid.IntRange(0, 9).Draw(t, "loss") == 0,
		}
		if len(ch.ISR) > 0 {
			ch.Primary = Process{ch.ISR[0], boot.Draw(t, "boot")}
		}
		if rapid.Bool().Draw(t, "certified") {
			ch.By = old.Primary
			for _, n := range table.Nodes {
				if rapid.IntRange(0, 4).Draw(t, "newest?") > 0 {
					ch.Joined = append(ch.Joined, n.Process())
				}
			}
		}
		c.Change = append(c.Change, ch)
	}
	return c
}

// checkStep states R1 for one partition over one command that changes it once.
func checkStep(t *rapid.T, old, next Config, c Change) {
	switch {
	case next.Epoch == old.Epoch:
		old.Target, old.Unclean = next.Target, next.Unclean
		if !equal(old, next) {
			t.Fatalf("changed within an epoch: %+v to %+v", old, next)
		}
		return
	case next.Epoch != old.Epoch+1:
		t.Fatalf("epoch %d to %d", old.Epoch, next.Epoch)
	case next.Check() != nil:
		t.Fatal(next.Check())
	case next.Forced != (c.Loss || old.Forced && next.Primary.Store == old.Primary.Store):
		t.Fatalf("forced: %+v to %+v", old, next)
	case slices.Contains(old.Unclean, next.Primary.Store) && !c.Loss:
		t.Fatalf("an unclean copy leads: %+v to %+v", old, next)
	case old.Epoch == 0 || c.Loss:
		return
	case !old.HasISR(next.Primary.Store):
		t.Fatalf("primary %v was not in sync: %+v", next.Primary, old)
	}
	for _, id := range next.ISR {
		if !old.HasISR(id) && !(old.HasLearner(id) && c.By == old.Primary) {
			t.Fatalf("%v came into the ISR from nowhere: %+v to %+v", id, old, next)
		}
	}
}

func TestApplyKeepsR1(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := mustApply(t, nil, Command{Init: &Init{Cluster: "k", ClusterID: 1, Partitions: 4, Replicas: 3}})
		other := table // the same log through JSON, as a second manager sees it
		for range rapid.IntRange(1, 30).Draw(t, "commands") {
			c := drawCommand(t, table)
			before, _ := json.Marshal(table)
			next, res, err := table.Apply(c)
			if after, _ := json.Marshal(table); string(before) != string(after) {
				t.Fatal("Apply changed the table that it was given")
			}
			var sent Command
			wire, _ := json.Marshal(c)
			if err := json.Unmarshal(wire, &sent); err != nil {
				t.Fatal(err)
			}
			got, gotRes, gotErr := other.Apply(sent)
			if d := cmp.Diff(next, got); d != "" || !cmp.Equal(res.Done, gotRes.Done) || (err == nil) != (gotErr == nil) {
				t.Fatalf("two managers disagree: %s", d)
			}
			seen := map[Partition]bool{}
			for _, ch := range c.Change {
				if p := ch.Partition; len(res.Done) > 0 && !seen[p] && next.Partitions[p].Epoch <= table.Partitions[p].Epoch+1 {
					made := ch
					for _, later := range c.Change { // the one that was made
						if later.Partition == p && len(later.ISR) > 0 && later.Primary == next.Partitions[p].Primary && cmp.Equal(later.ISR, next.Partitions[p].ISR) {
							made = later
						}
					}
					checkStep(t, table.Partitions[p], next.Partitions[p], made)
					seen[p] = true
				}
			}
			if next != table && next.Revision != table.Revision+1 {
				t.Fatalf("revision %d to %d", table.Revision, next.Revision)
			}
			table, other = next, got
		}
	})
}
