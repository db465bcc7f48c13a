package rebalance

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/etolabo/kumofs/subjects/ring"
)

// giveUp is an operator who recovers what nobody can lead, everybody being up.
func (w *world) giveUp() {
	w.t.Helper()
	for _, p := range Reconcile(w.view()).Stuck {
		for _, id := range w.table.Partitions[p].ISR {
			if !w.copies[p][id].Incomplete {
				w.t.Fatalf("partition %d waits for an operator, but %v holds %+v", p, id, w.copies[p][id])
			}
		}
		c, why := Recover(w.view(), p, 0)
		if why != "" {
			w.t.Fatalf("partition %d: %s", p, why)
		}
		w.forced(c)
	}
	w.rest()
}

// forced makes an operator's change, to which the checks of apply do not hold.
func (w *world) forced(c ring.Change) {
	w.t.Helper()
	next, res, err := w.table.Apply(ring.Command{Change: []ring.Change{c}})
	if err != nil || len(res.Done) != 1 {
		w.t.Fatalf("%+v: %v, %+v", c, err, res)
	}
	w.table = next
	w.whole[c.Partition] = set(c.ISR)
	w.copies[c.Partition][c.Primary.Store] = Copy{Epoch: c.Epoch + 1}
}

// three is a partition on servers 1, 2 and 3, led by 1, of which a test says who
// is up again after all died, and who is unclean.
func three(t failer, up, unclean []ring.NodeID) View {
	w := cluster(t, 1, 3, 3)
	w.table.Partitions[0].Primary = ring.Process{Store: 1, Boot: w.nodes[1].Boot}
	for _, id := range []ring.NodeID{1, 2, 3} {
		w.copies[0][id] = Copy{Epoch: 1, Unclean: slices.Contains(unclean, id)}
		s := w.nodes[id]
		w.nodes[id] = Status{State: Down, Boot: s.Boot}
		w.apply(ring.Command{Down: []ring.Process{{Store: id, Boot: s.Boot}}})
	}
	for _, id := range up {
		w.start(id)
	}
	v := w.view()
	v.Copies = map[ring.Partition]map[ring.NodeID]Copy{0: {}}
	return v
}

var all = []ring.NodeID{1, 2, 3}

func TestLastResort(t *testing.T) {
	unclean := func(seq uint64) Copy { return Copy{Epoch: 1, Seq: seq, Unclean: true} }
	for _, c := range []struct {
		name    string
		up      []ring.NodeID
		unclean []ring.NodeID
		said    map[ring.NodeID]Copy
		lead    ring.NodeID // 0: nobody
		loss    bool
		unsure  bool
	}{
		{name: "who is clean leads, and nobody is asked", up: all, unclean: []ring.NodeID{1, 2}, lead: 3},
		{name: "who is clean is missing", up: all[:2], unclean: all[:2],
			said: map[ring.NodeID]Copy{1: unclean(9), 2: unclean(8)}},
		{name: "all are unclean, and nobody was asked", up: all, unclean: all, unsure: true},
		{name: "all are unclean and one is missing", up: all[:2], unclean: all,
			said: map[ring.NodeID]Copy{1: unclean(9), 2: unclean(8)}},
		{name: "all are unclean and one has not answered", up: all, unclean: all,
			said: map[ring.NodeID]Copy{1: unclean(9), 2: unclean(8)}, unsure: true},
		{name: "the longest log leads", up: all, unclean: all,
			said: map[ring.NodeID]Copy{1: unclean(7), 2: unclean(9), 3: unclean(8)}, lead: 2, loss: true},
		{name: "a later epoch is longer", up: all, unclean: all,
			said: map[ring.NodeID]Copy{1: unclean(7), 2: unclean(9), 3: {Epoch: 2, Seq: 1, Unclean: true}}, lead: 3, loss: true},
		{name: "a complete log goes before a longer one", up: all, unclean: all,
			said: map[ring.NodeID]Copy{1: unclean(7), 2: {Epoch: 9, Seq: 99, Unclean: true, Incomplete: true}, 3: unclean(6)}, lead: 1, loss: true},
		{name: "nothing complete is left", up: all, unclean: all,
			said: map[ring.NodeID]Copy{1: {Incomplete: true}, 2: {Incomplete: true}, 3: {Epoch: 4, Seq: 4, Incomplete: true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := three(t, c.up, c.unclean)
			v.Copies[0] = c.said
			out := Reconcile(v)
			if len(out.Unsure) > 0 != c.unsure || len(out.Stuck) > 0 != (c.lead == 0) {
				t.Fatalf("%+v", out)
			}
			if c.lead == 0 {
				if len(out.Changes) > 0 {
					t.Fatalf("%+v", out)
				}
				return
			}
			ch := out.Changes[0]
			if ch.Primary != v.process(c.lead) || ch.Loss != c.loss {
				t.Fatalf("%+v", ch)
			}
			if c.loss && (len(ch.ISR) != 1 || len(ch.Learners) != 2) {
				t.Fatalf("the others do not come back through the primary: %+v", ch)
			}
			if _, res, err := v.Table.Apply(ring.Command{Change: []ring.Change{ch}}); err != nil || len(res.Done) != 1 {
				t.Fatal(res, err)
			}
		})
	}
}

func TestRecover(t *testing.T) {
	said := func(copies ...Copy) map[ring.NodeID]Copy {
		m := map[ring.NodeID]Copy{}
		for i, c := range copies {
			m[ring.NodeID(i+1)] = c
		}
		return m
	}
	lost, some := Copy{Incomplete: true}, Copy{Epoch: 1, Seq: 5, Incomplete: true}
	unclean := Copy{Epoch: 1, Seq: 7, Unclean: true}
	for _, c := range []struct {
		name    string
		up      []ring.NodeID
		unclean []ring.NodeID
		said    map[ring.NodeID]Copy
		want    ring.NodeID
		lead    ring.NodeID
		why     string
	}{
		{name: "somebody in sync is there", up: all[:1], said: said(Copy{Epoch: 1, Seq: 7}), why: "will lead by itself"},
		{name: "all have answered", up: all, unclean: all, said: said(unclean, unclean, unclean), why: "will lead by itself"},
		{name: "one is missing", up: all[:2], unclean: all, said: said(unclean, Copy{Epoch: 1, Seq: 8, Unclean: true}), lead: 2},
		{name: "another is wanted", up: all[:2], unclean: all, said: said(unclean, Copy{Epoch: 1, Seq: 8, Unclean: true}), want: 1, lead: 1},
		{name: "who is wanted does not answer", up: all[:2], unclean: all, said: said(unclean, unclean), want: 3, why: "does not answer"},
		{name: "all that is left is not complete", up: all, unclean: all, said: said(lost, lost, some), lead: 3},
		{name: "nothing is left", up: all, unclean: all, said: said(lost, lost, lost), lead: 1},
		{name: "nobody answers", up: all[:1], unclean: all, why: "to be asked again, are "},
		{name: "nobody is up", unclean: all, why: "no server is up"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := three(t, c.up, c.unclean)
			v.Copies[0] = c.said
			ch, why := Recover(v, 0, c.want)
			if c.why != "" {
				if !strings.Contains(why, c.why) {
					t.Fatalf("%q, %+v", why, ch)
				}
				return
			}
			if why != "" || ch.Primary != v.process(c.lead) || !ch.Loss || !slices.Equal(ch.ISR, []ring.NodeID{c.lead}) {
				t.Fatalf("%q, %+v", why, ch)
			}
		})
	}
	w := cluster(t, 1, 3, 3)
	v := w.view()
	id := w.table.Partitions[0].Primary.Store
	v.Copies[0] = map[ring.NodeID]Copy{id: {Leads: true}}
	if _, why := Recover(v, 0, 0); !strings.Contains(why, "leads it") {
		t.Fatalf("%q", why)
	}
	if _, why := Recover(v, 1, 0); !strings.Contains(why, "no partition 1") {
		t.Fatalf("%q", why)
	}
	v.Copies[0] = map[ring.NodeID]Copy{id: {Incomplete: true}} // it was made primary and cannot lead
	for _, other := range w.table.Partitions[0].ISR {
		if other != id {
			v.Copies[0][other] = Copy{Incomplete: true}
		}
	}
	if _, why := Recover(v, 0, 0); why != "" {
		t.Fatalf("%q", why)
	}
}

// Whoever crashes, in whatever order, an acknowledged write is given up only
// where nobody has it, and an operator is needed only where no copy is complete
// (apply and giveUp check it).
func TestAllMachinesDie(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := cluster(t, 4, 3, rapid.IntRange(1, 4).Draw(t, "servers"))
		w.draw = t
		for range rapid.IntRange(1, 3).Draw(t, "times") {
			var ids []ring.NodeID
			for _, n := range w.table.Nodes {
				ids = append(ids, n.ID)
				w.kill(n.ID, rapid.IntRange(0, 5).Draw(t, "hard") > 0)
			}
			for _, id := range rapid.Permutation(ids).Draw(t, "order") {
				w.start(id)
				for range rapid.IntRange(0, 2).Draw(t, "rounds") {
					w.round(func() bool { return rapid.Bool().Draw(t, "done") })
				}
			}
			if rapid.Bool().Draw(t, "rest") {
				w.rest()
			}
		}
		w.rest()
		w.giveUp()
		w.checkFull()
	})
}
