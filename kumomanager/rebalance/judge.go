package rebalance

import (
	"slices"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Judge returns the change to propose when the process from, a primary, asks
// for c, or why not. It is not always what was asked: a primary that would go on
// alone while the managers hear the members that it calls silent may itself be
// the one that is cut off or slow, so the lead moves to one of them, and nobody
// is left out yet: a copy fewer would be a high price for a slow moment. Only if
// that one says the same is it believed (rule R7), or if those who are left out
// want to be, since their copies cannot go on or their disks hang: then it has
// heard them, too. Whether the epoch still fits
// is left to the table.
func Judge(v View, from ring.Process, c ring.Change) (_ ring.Change, why string) {
	if int(c.Partition) >= v.Table.Size() {
		return c, "no such partition"
	}
	old := v.Table.Partitions[c.Partition]
	switch {
	case from.Zero() || old.Primary != from:
		return c, "only the primary may ask"
	case old.Epoch != c.Epoch:
		return c, "the epoch has moved on"
	case !v.alive(from):
		return c, "the primary is taken for dead"
	case c.Primary.Store != from.Store && c.Primary != v.process(c.Primary.Store):
		return c, "the new primary is not up"
	case c.Primary.Store == from.Store && c.Primary != from:
		return c, "a primary asks for its own process only"
	}
	for _, id := range c.ISR {
		if v.down(id) && !old.HasISR(id) {
			return c, "node " + id.String() + " is down"
		}
	}
	for _, id := range c.Learners {
		if !old.HasLearner(id) && !old.HasISR(id) {
			return c, "node " + id.String() + " is not wished as a copy"
		}
	}
	c.By, c.Loss = from, false
	heard := filter(old.ISR, func(id ring.NodeID) bool {
		return !slices.Contains(c.ISR, id) && v.up(id) && !v.Nodes[id].Hung && !slices.Contains(old.Unclean, id)
	})
	early := func(id ring.NodeID) bool {
		return !v.hangsBeside(id, from.Store) || len(c.ISR) == 1 && !v.Nodes[id].Frozen
	}
	hangs := func(id ring.NodeID) bool {
		return id != from.Store && v.up(id) && v.Nodes[id].Hung && !slices.Contains(c.ISR, id) && early(id)
	}
	if c.Primary == from && slices.ContainsFunc(old.ISR, hangs) {
		return c, "a disk hangs, or did a moment ago, and the primary's may, too"
	}
	if len(c.ISR) == 1 && c.Primary == from && len(heard) > 0 && !old.Disputed && !c.Told {
		return moveAway(v, old, c, heard), ""
	}
	if joins := func(id ring.NodeID) bool { return !old.HasISR(id) }; slices.ContainsFunc(c.ISR, joins) && c.Primary == from && !v.FailoverOnly {
		// The copy that the new one is for goes in the same step: each change of a
		// configuration costs the partition's writes a moment.
		c.ISR = v.needed(c.ISR, old.Target, old.Unclean, from.Store)
	}
	return c, ""
}

// moveAway gives the lead to one of the members that are heard. The asking
// primary stays in sync.
func moveAway(v View, old ring.Config, c ring.Change, heard []ring.NodeID) ring.Change {
	r := reconciler{View: v, leads: map[ring.NodeID]int{}}
	for _, o := range v.Table.Partitions {
		r.leads[o.Primary.Store]++
	}
	stays := func(id ring.NodeID) bool { return !v.down(id) }
	return ring.Change{
		Partition: c.Partition,
		Epoch:     c.Epoch,
		Primary:   v.process(r.pick(old.Target, heard)),
		ISR:       filter(old.ISR, stays),
		Learners:  filter(old.Learners, stays),
		Disputed:  true,
		Reason:    "the primary cannot reach replicas that the managers hear",
	}
}
