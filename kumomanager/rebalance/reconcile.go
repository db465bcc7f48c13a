package rebalance

import (
	"cmp"
	"slices"

	"github.com/etolabo/kumofs/subjects/ring"
)

// State is what the leader knows about a node's newest process.
type State uint8

// A node that the leader has not heard yet, in its first moments, is Unknown: it
// is given nothing, and nothing is taken from it.
const (
	Unknown State = iota
	Up
	Down
)

// Status is a node's state, with the process that it belongs to.
type Status struct {
	State State
	Boot  ring.BootID
	// Young processes have just started and may be bound by what the process before
	// them granted: one that was made primary would commit nothing for a moment.
	Young bool
	// Stopping processes are about to end in good order: the lead is taken from
	// them, and then their copies.
	Stopping bool
	// Full disks take no values: the lead is taken from their nodes, which are given
	// no new copies. Hung disks take nothing at all: their copies are taken out, too,
	// unless the primary's hangs as well, as where all share one machine; the last
	// beside the primary's only once it would have said so by now (Frozen). Nobody is
	// held against another while Hung has just changed for either (Turning, see
	// hangsBeside).
	Full, Hung, Frozen, Turning bool
	// Resting nodes were just taken out of a configuration as silent although
	// they are up; they are given no new copies for a moment.
	Resting bool
}

// View is what Reconcile decides from.
type View struct {
	Table *ring.Table
	Nodes map[ring.NodeID]Status
	// Learners is how many copies may be under way at a time to one node, and
	// from one primary.
	Learners int
	// Shifts is how many partitions may change their primary in this round only
	// for the sake of balance.
	Shifts int
	// Moved are the partitions whose lead has just moved. The old primary stays in
	// sync for a moment: that it promises the new epoch is what ends the grants to
	// it, which otherwise keep the new one from committing for a second.
	Moved map[ring.Partition]bool
	// FailoverOnly keeps partitions served and starts no moves.
	FailoverOnly bool
	// Copies are what servers that are up have said of their copies of partitions
	// that nobody leads; see Outcome.Unsure.
	Copies map[ring.Partition]map[ring.NodeID]Copy
}

// Outcome is what Reconcile decided.
type Outcome struct {
	Changes []ring.Change
	Shifts  int              // of View.Shifts, used
	Stuck   []ring.Partition // without a primary, and nobody may lead
	Unsure  []ring.Partition // of Stuck, those whose in-sync copies that are up must be asked for
}

// Reconcile returns the next change of each partition that needs one, in one
// round; the next round goes on from the table that these make. In order of
// urgency: a first configuration, a new primary for one that is gone, dead
// members out; copies to wished nodes that lack them, fewest copies first;
// surplus copies out once the wished ones are in sync; at last, and only while
// nothing else is to be done, each partition's lead to its wished primary.
//
// A fixed point is reached when every partition is on its wished nodes, as far
// as they are up.
func Reconcile(v View) Outcome {
	r := reconciler{View: v, leads: map[ring.NodeID]int{}}
	for _, c := range v.Table.Partitions {
		if c.Epoch > 0 && r.alive(c.Primary) {
			r.leads[c.Primary.Store]++
		}
	}
	r.drafts = make([]draft, v.Table.Size())
	for p, c := range v.Table.Partitions {
		r.drafts[p] = draft{Config: c}
		if c.Epoch == 0 {
			r.first(ring.Partition(p))
		} else {
			r.repair(ring.Partition(p))
		}
	}
	if !v.FailoverOnly {
		r.startCopies()
		settled := r.settled()
		for p := range r.drafts {
			if !r.Moved[ring.Partition(p)] {
				r.tidy(&r.drafts[p], settled)
			}
		}
	}
	return r.outcome()
}

type reconciler struct {
	View
	leads  map[ring.NodeID]int // live primaries per node, this round's included
	drafts []draft
	shifts int
	stuck  []ring.Partition
	unsure []ring.Partition
}

// draft is a partition's configuration in the making. Lists are replaced, never
// written to.
type draft struct {
	ring.Config
	changed bool
	loss    bool
	reason  string
}

func (d *draft) because(reason string) {
	d.changed = true
	if d.reason == "" {
		d.reason = reason
	}
}

func (r *reconciler) outcome() Outcome {
	out := Outcome{Shifts: r.shifts, Stuck: r.stuck, Unsure: r.unsure}
	for p, d := range r.drafts {
		if d.changed {
			out.Changes = append(out.Changes, ring.Change{
				Partition: ring.Partition(p), Epoch: d.Epoch, Primary: d.Primary,
				ISR: d.ISR, Learners: d.Learners, Reason: d.reason, Loss: d.loss,
			})
		}
	}
	return out
}

func (v View) up(id ring.NodeID) bool { return v.Nodes[id].State == Up }

// stays reports whether a node is up and not about to stop.
func (v View) stays(id ring.NodeID) bool { return v.up(id) && !v.Nodes[id].Stopping }

// sick reports whether a node cannot write what its clients or its primary want.
func (v View) sick(id ring.NodeID) bool { return v.Nodes[id].Full || v.Nodes[id].Hung }

// hangsBeside reports whether a node that is up has a disk that hangs and another's
// does not, unless either has just changed: those that share a machine are about to
// say the same.
func (v View) hangsBeside(id, other ring.NodeID) bool {
	a, b := v.Nodes[id], v.Nodes[other]
	return v.up(id) && a.Hung && !b.Hung && !a.Turning && !b.Turning
}

// fit reports whether a node can be given something.
func (v View) fit(id ring.NodeID) bool  { return v.stays(id) && !v.sick(id) }
func (v View) down(id ring.NodeID) bool { return v.Nodes[id].State == Down }

// alive reports whether a process may still run: it was heard, or not yet
// missed, and the ring knows of no other process of its store.
func (v View) alive(p ring.Process) bool {
	s := v.Nodes[p.Store]
	if s.State == Unknown {
		n, ok := v.Table.Node(p.Store)
		return !ok || n.Boot == p.Boot
	}
	return s.State == Up && s.Boot == p.Boot
}

func (v View) process(id ring.NodeID) ring.Process {
	return ring.Process{Store: id, Boot: v.Nodes[id].Boot}
}

// first makes the first configuration: nothing is stored yet, so that all
// wished nodes are in sync.
func (r *reconciler) first(p ring.Partition) {
	d := &r.drafts[p]
	isr := filter(d.Target, r.stays)
	if len(isr) == 0 || r.FailoverOnly {
		return
	}
	d.ISR = isr
	d.Primary = r.process(isr[0]) // nobody has granted anything yet
	if isr[0] != d.Target[0] {
		d.Primary = r.process(r.pick(d.Target, isr))
	}
	r.leads[d.Primary.Store]++
	d.because("first configuration")
}

// repair takes out who is dead, unclean or about to stop, and finds a new primary
// if the primary is gone, or goes.
func (r *reconciler) repair(p ring.Partition) {
	d := &r.drafts[p]
	clean := func(id ring.NodeID) bool { return !slices.Contains(d.Unclean, id) }
	if !r.alive(d.Primary) {
		able := filter(d.ISR, func(id ring.NodeID) bool { return r.up(id) && clean(id) })
		if len(able) == 0 {
			able = r.lastResort(p, d)
		}
		if len(able) == 0 {
			r.stuck = append(r.stuck, p)
			return
		}
		d.Primary = r.process(r.pick(d.Target, able))
		r.leads[d.Primary.Store]++
		d.because("the primary is gone")
	} else if n := r.Nodes[d.Primary.Store]; n.Stopping || n.Full || n.Hung {
		better := func(id ring.NodeID) bool { return n.Stopping || n.Full || r.hangsBeside(d.Primary.Store, id) }
		able := filter(d.ISR, func(id ring.NodeID) bool { return r.fit(id) && better(id) && clean(id) })
		if n.Stopping && len(able) == 0 {
			able = filter(d.ISR, func(id ring.NodeID) bool { return r.stays(id) && clean(id) })
		}
		if len(able) > 0 {
			d.Primary = r.process(r.pick(d.Target, able))
			r.leads[d.Primary.Store]++
			d.because("the primary stops, or its disk does")
		}
	}
	goes := func(id ring.NodeID) bool { // it has handed over, and others are there
		return r.Nodes[id].Stopping && !d.changed && !r.Moved[p] && r.stays(d.Primary.Store)
	}
	if d.loss {
		r.force(d)
	}
	left := func(hangs func(ring.NodeID) bool) []ring.NodeID {
		return filter(d.ISR, func(id ring.NodeID) bool {
			return id == d.Primary.Store || !r.down(id) && !hangs(id) && !goes(id) && clean(id)
		})
	}
	hangs := func(id ring.NodeID) bool { return r.hangsBeside(id, d.Primary.Store) }
	isr := left(hangs)
	if len(isr) == 1 {
		isr = left(func(id ring.NodeID) bool { return r.Nodes[id].Frozen && hangs(id) })
	}
	if len(isr) < len(d.ISR) {
		d.ISR = isr
		d.because("a replica is gone")
	}
	if r.FailoverOnly {
		return
	}
	learners := filter(d.Learners, func(id ring.NodeID) bool {
		return !r.down(id) && !r.Nodes[id].Stopping && !r.sick(id) && (len(d.Target) == 0 || slices.Contains(d.Target, id))
	})
	if len(learners) < len(d.Learners) {
		d.Learners = learners
		d.because("a copy is given up")
	}
}

// pick chooses who leads among nodes that may: those whose disk takes nothing come
// last, before them processes that are about to stop, then young ones. The wished
// primary goes first, then wished nodes, then those with fewest leads.
func (r *reconciler) pick(target, able []ring.NodeID) ring.NodeID {
	rank := func(id ring.NodeID) (n int) {
		if i := slices.Index(target, id); i < 0 {
			n = 2
		} else if i > 0 {
			n = 1
		}
		if r.Nodes[id].Young {
			n += 3
		}
		if r.Nodes[id].Stopping {
			n += 6
		}
		if r.sick(id) {
			n += 12
		}
		return n
	}
	return slices.MinFunc(able, func(a, b ring.NodeID) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(r.leads[a], r.leads[b]), cmp.Compare(a, b))
	})
}

// startCopies makes learners of wished nodes, within the limits, where fewest
// copies are left first.
func (r *reconciler) startCopies() {
	to, from := map[ring.NodeID]int{}, map[ring.NodeID]int{}
	order := make([]int, 0, len(r.drafts))
	for p := range r.drafts {
		d := &r.drafts[p]
		for _, id := range d.Learners {
			to[id]++
			from[d.Primary.Store]++
		}
		if d.Epoch > 0 && len(r.missing(d)) > 0 {
			order = append(order, p)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(len(r.drafts[a].ISR), len(r.drafts[b].ISR))
	})
	for _, p := range order {
		d := &r.drafts[p]
		if !r.up(d.Primary.Store) || !r.alive(d.Primary) || r.Table.Paused && len(d.ISR) >= len(d.Target) {
			continue
		}
		for _, id := range r.missing(d) {
			if r.Nodes[id].Resting || to[id] >= r.Learners || from[d.Primary.Store] >= r.Learners {
				continue
			}
			to[id]++
			from[d.Primary.Store]++
			d.Learners = append(slices.Clone(d.Learners), id)
			d.because("a copy is wished")
		}
	}
}

// missing lists wished nodes that could have a copy and hold none, complete or not.
func (r *reconciler) missing(d *draft) []ring.NodeID {
	return filter(d.Target, func(id ring.NodeID) bool { return r.fit(id) && !d.Holds(id) })
}

// settled reports whether all copies that can be had are there.
func (r *reconciler) settled() bool {
	if len(r.stuck) > 0 {
		return false
	}
	for p := range r.drafts {
		if d := &r.drafts[p]; d.changed || len(d.Learners) > 0 || len(r.missing(d)) > 0 && !r.Table.Paused {
			return false
		}
	}
	return true
}

// tidy takes surplus copies out, the primary's last, and brings the lead home.
func (r *reconciler) tidy(d *draft, settled bool) {
	if d.changed || d.Epoch == 0 || len(d.Target) == 0 || !r.alive(d.Primary) {
		return
	}
	needed := r.needed(d.ISR, d.Target, d.Unclean, d.Primary.Store)
	leaves := len(filter(d.ISR, r.up)) > len(d.Target) && !slices.Contains(d.Target, d.Primary.Store)
	switch {
	case len(needed) < len(d.ISR):
		d.ISR = needed
		d.because("a surplus copy goes")
	case leaves:
		r.shift(d, "the primary is to leave")
	case settled && !r.Table.Paused:
		r.shift(d, "the lead goes to the wished primary")
	}
}

// needed leaves out of an in-sync set what is not wished and not the primary, for
// as long as there are more copies than are wished that will stay.
func (v View) needed(isr, target, unclean []ring.NodeID, primary ring.NodeID) []ring.NodeID {
	counts := func(id ring.NodeID) bool { return v.stays(id) && !v.Nodes[id].Hung && !slices.Contains(unclean, id) }
	spare := len(filter(isr, counts)) - len(target)
	if spare <= 0 || len(target) == 0 {
		return isr
	}
	followers := filter(isr, func(id ring.NodeID) bool { return id != primary && !slices.Contains(target, id) })
	out := followers[max(0, len(followers)-spare):]
	return filter(isr, func(id ring.NodeID) bool { return !slices.Contains(out, id) })
}

// shift moves the lead to the first wished node that is in sync and not young.
func (r *reconciler) shift(d *draft, reason string) {
	able := filter(d.Target, func(id ring.NodeID) bool {
		return r.fit(id) && d.HasISR(id) && !slices.Contains(d.Unclean, id) && !r.Nodes[id].Young
	})
	leaves := !slices.Contains(d.Target, d.Primary.Store)
	if len(able) == 0 || able[0] == d.Primary.Store || able[0] != d.Target[0] && !leaves || r.shifts >= r.Shifts {
		return
	}
	r.shifts++
	d.Primary = r.process(able[0])
	d.because(reason)
}

func filter(ids []ring.NodeID, keep func(ring.NodeID) bool) []ring.NodeID {
	var out []ring.NodeID
	for _, id := range ids {
		if keep(id) {
			out = append(out, id)
		}
	}
	return out
}
