package rebalance

import (
	"testing"

	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Who cannot write hands the lead over at once, and gets nothing new, until it
// can write again; a disk that hangs is no longer waited for, one that is full
// keeps what it has.
func TestSickDisksLeadNothing(t *testing.T) {
	for name, sick := range map[string]Status{"full": {Full: true}, "hung": {Hung: true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 16, 3, 3)
			w.replan(ring.Command{Attach: []ring.NodeID{1, 2, 3}})
			w.rest()
			set := func(id ring.NodeID, to Status) {
				s := w.nodes[id]
				s.Full, s.Hung = to.Full, to.Hung
				w.nodes[id] = s
			}
			count := func(id ring.NodeID) (leads, inSync int) {
				for _, c := range w.table.Partitions {
					if c.Primary.Store == id {
						leads++
					}
					if c.HasISR(id) {
						inSync++
					}
				}
				return leads, inSync
			}
			had, _ := count(2)
			set(2, sick)
			w.apply(ring.Command{Change: Reconcile(w.view()).Changes})
			if leads, inSync := count(2); leads != 0 || inSync != 16 && sick.Full || inSync != 0 && sick.Hung {
				t.Errorf("it leads %d partitions and is in sync for %d", leads, inSync)
			}
			for range 5 { // nothing is copied to it meanwhile
				if out := Reconcile(w.view()); len(out.Changes) > 0 {
					w.apply(ring.Command{Change: out.Changes})
				}
			}
			for p, c := range w.table.Partitions {
				if len(c.Learners) > 0 {
					t.Fatalf("partition %d: a copy was begun: %+v", p, c)
				}
			}
			set(1, sick)
			set(3, sick)
			if out := Reconcile(w.view()); len(out.Changes) > 0 {
				t.Errorf("with all disks %s it goes on with %+v", name, out.Changes)
			}
			for id := range ring.NodeID(3) {
				set(id+1, Status{})
			}
			w.rest()
			w.checkFull()
			if leads, _ := count(2); leads != had {
				t.Errorf("it leads %d partitions afterwards, want %d as before", leads, had)
			}
		})
	}
}

// A machine's disk that hangs for a moment is said by each server on it in its own
// time, and so is that it works again: none is blamed in between.
func TestOneDiskOfAllChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := cluster(t, 16, 3, 3)
		before := w.table.Partitions
		set := func(hung, turning bool) {
			for _, id := range rapid.Permutation([]ring.NodeID{1, 2, 3}).Draw(t, "order") {
				s := w.nodes[id]
				s.Hung, s.Turning = hung, turning
				w.nodes[id] = s
				if out := Reconcile(w.view()); len(out.Changes) > 0 {
					t.Fatalf("hung %v, changing %v: %+v", hung, turning, out.Changes)
				}
				for p, c := range before {
					asked := ring.Change{Partition: ring.Partition(p), Epoch: c.Epoch, Primary: c.Primary, ISR: []ring.NodeID{c.Primary.Store}}
					for _, other := range c.ISR {
						if s := w.nodes[other]; other == c.Primary.Store || !s.Hung {
							continue
						}
						for _, isr := range [][]ring.NodeID{asked.ISR, filter(c.ISR, func(id ring.NodeID) bool { return id != other })} {
							asked.ISR = isr
							if got, why := Judge(w.view(), c.Primary, asked); why == "" {
								t.Fatalf("hung %v, changing %v: %+v was granted", hung, turning, got)
							}
						}
					}
				}
			}
		}
		set(true, true)
		set(true, false)
		for id, s := range w.nodes {
			s.Frozen = true
			w.nodes[id] = s
		}
		set(false, true)
		set(false, false)
		if !cmp.Equal(before, w.table.Partitions) {
			t.Fatal("the table has changed")
		}
		s := w.nodes[2]
		s.Hung, s.Turning = true, false // one alone is another matter
		w.nodes[2] = s
		w.apply(ring.Command{Change: Reconcile(w.view()).Changes})
		for p, c := range w.table.Partitions {
			if c.HasISR(2) {
				t.Errorf("partition %d still waits for a disk that hangs", p)
			}
		}
	})
}

// Disks that hang together are not noticed together: the last copy beside the
// primary's stays until the primary would have said that its disk hangs, too, so
// that the partition does not rest on whoever is noticed last.
func TestDisksThatHangTogether(t *testing.T) {
	w := cluster(t, 1, 3, 3)
	c := w.table.Partitions[0]
	p := c.Primary.Store
	followers := filter(c.ISR, func(id ring.NodeID) bool { return id != p })
	set := func(id ring.NodeID, change func(*Status)) {
		s := w.nodes[id]
		change(&s)
		w.nodes[id] = s
	}
	isr := func(want ...ring.NodeID) {
		t.Helper()
		for range 5 {
			if out := Reconcile(w.view()); len(out.Changes) > 0 {
				w.apply(ring.Command{Change: out.Changes})
			}
		}
		if got := w.table.Partitions[0]; got.Primary.Store != p || len(got.ISR) != len(want) {
			t.Fatalf("%+v, want %v", got, want)
		}
	}
	set(followers[0], func(s *Status) { s.Hung = true })
	isr(p, followers[1])
	set(followers[1], func(s *Status) { s.Hung = true })
	isr(p, followers[1])
	alone := ring.Change{Epoch: w.table.Partitions[0].Epoch, Primary: c.Primary, ISR: []ring.NodeID{p}}
	if got, why := Judge(w.view(), c.Primary, alone); why == "" {
		t.Fatalf("the primary goes on alone at once: %+v", got)
	}
	set(p, func(s *Status) { s.Hung = true })
	isr(p, followers[1])
	set(followers[0], func(s *Status) { s.Frozen = true })
	set(followers[1], func(s *Status) { s.Frozen = true })
	isr(p, followers[1])
	set(p, func(s *Status) { s.Hung = false }) // it works again, the others do not
	if got, why := Judge(w.view(), c.Primary, alone); why != "" || !cmp.Equal(got.ISR, alone.ISR) {
		t.Fatalf("%+v %s", got, why)
	}
	isr(p)
}

// What was heard of a disk before a server fell silent is held against nobody once
// it is not known whether it is up.
func TestOldNewsOfDisks(t *testing.T) {
	w := cluster(t, 4, 3, 3)
	w.nodes[2] = Status{State: Unknown, Boot: w.nodes[2].Boot, Hung: true, Frozen: true}
	v := w.view()
	v.FailoverOnly = true
	if out := Reconcile(v); len(out.Changes) > 0 {
		t.Fatalf("%+v", out.Changes)
	}
}
