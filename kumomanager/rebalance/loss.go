package rebalance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Copy is what a server says of its copy of a partition.
type Copy struct {
	// Epoch and Seq are the last entry of its log.
	Epoch ring.Epoch
	Seq   uint64
	// Incomplete copies lack keys: they were being made, or their file is gone.
	Incomplete bool
	// Unclean copies might lack what they had acknowledged.
	Unclean bool
	Damaged int  // records that cannot be read
	Leads   bool // the server's process leads the partition
}

func (c Copy) compare(o Copy) int {
	return cmp.Or(cmp.Compare(c.Epoch, o.Epoch), cmp.Compare(c.Seq, o.Seq))
}

// lastResort finds who may lead where the ring knows of nobody in sync that is
// up and clean (R13). If all members are unclean, acknowledged writes may be lost
// in any case; once all have been heard the longest log leads. While a member is
// missing that may hold more, nobody does: that takes an operator.
func (r *reconciler) lastResort(p ring.Partition, d *draft) []ring.NodeID {
	if slices.ContainsFunc(d.ISR, func(id ring.NodeID) bool { return !r.up(id) || !slices.Contains(d.Unclean, id) }) {
		return nil
	}
	said := r.Copies[p]
	if slices.ContainsFunc(d.ISR, func(id ring.NodeID) bool { _, ok := said[id]; return !ok }) {
		r.unsure = append(r.unsure, p)
		return nil
	}
	complete := filter(d.ISR, func(id ring.NodeID) bool { return !said[id].Incomplete })
	if len(complete) == 0 {
		return nil
	}
	best := slices.MaxFunc(complete, func(a, b ring.NodeID) int { return said[a].compare(said[b]) })
	d.loss = true
	d.because("all copies may lack acknowledged writes; the longest log leads")
	return filter(complete, func(id ring.NodeID) bool { return said[id].compare(said[best]) == 0 })
}

// force makes the primary's copy the truth: alone, until the others have taken
// over what it has.
func (r *reconciler) force(d *draft) {
	back := filter(d.ISR, func(id ring.NodeID) bool { return id != d.Primary.Store && r.up(id) })
	for _, id := range back {
		if !slices.Contains(d.Learners, id) {
			d.Learners = append(slices.Clone(d.Learners), id)
		}
	}
	d.ISR = []ring.NodeID{d.Primary.Store}
}

// Recover returns the change with which an operator's command makes a copy the
// truth: that of a server if one is wanted, otherwise the best of those that
// answered. why says why not, if nothing needs it or no copy is there.
func Recover(v View, p ring.Partition, want ring.NodeID) (_ ring.Change, why string) {
	if int(p) >= v.Table.Size() {
		return ring.Change{}, fmt.Sprintf("there is no partition %d", p)
	}
	c, said := v.Table.Partitions[p], v.Copies[p]
	if c.Epoch == 0 {
		return ring.Change{}, "the partition was never placed: attach servers"
	}
	if why := unneeded(v, c, said); why != "" {
		return ring.Change{}, why
	}
	if want == 0 {
		if want = bestCopy(c, said); want == 0 {
			return ring.Change{}, nobody(v)
		}
	}
	if _, ok := said[want]; !ok {
		return ring.Change{}, "server " + v.name(want) + " does not answer"
	}
	return ring.Change{
		Partition: p, Epoch: c.Epoch, Primary: v.process(want), ISR: []ring.NodeID{want},
		Loss: true, Reason: "an operator has given up what other copies may hold",
	}, ""
}

// nobody says why no copy is known.
func nobody(v View) string {
	var silent []string
	for _, n := range v.Table.Nodes {
		if v.up(n.ID) {
			silent = append(silent, v.name(n.ID))
		}
	}
	if len(silent) == 0 {
		return "no server is up: start those that are in sync, or one that has an older copy"
	}
	return "no server says what it has; up, and to be asked again, are " + strings.Join(silent, ", ")
}

// unneeded says why a partition needs no operator.
func unneeded(v View, c ring.Config, said map[ring.NodeID]Copy) string {
	primary, heard := said[c.Primary.Store]
	switch {
	case !v.alive(c.Primary):
	case !heard:
		return "server " + v.name(c.Primary.Store) + " leads it, and does not answer now"
	case primary.Leads:
		return "server " + v.name(c.Primary.Store) + " leads it"
	}
	sure := !v.alive(c.Primary)
	for _, id := range c.ISR {
		s, ok := said[id]
		switch {
		case !ok || s.Incomplete:
			sure = false
		case !s.Unclean:
			return "server " + v.name(id) + " is in sync and has lost nothing: it will lead by itself"
		}
	}
	if sure {
		return "all servers in sync have answered: the best copy will lead by itself"
	}
	return ""
}

// bestCopy prefers what holds anything, then what is complete, then the longest
// log, then members of the in-sync set, then the fewest damaged records.
func bestCopy(c ring.Config, said map[ring.NodeID]Copy) (best ring.NodeID) {
	flag := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	better := func(a, b ring.NodeID) int {
		x, y := said[a], said[b]
		return cmp.Or(
			cmp.Compare(flag(x.Seq > 0), flag(y.Seq > 0)), cmp.Compare(flag(y.Incomplete), flag(x.Incomplete)),
			x.compare(y), cmp.Compare(flag(c.HasISR(a)), flag(c.HasISR(b))), cmp.Compare(y.Damaged, x.Damaged), cmp.Compare(b, a))
	}
	for id := range said {
		if best == 0 || better(id, best) > 0 {
			best = id
		}
	}
	return best
}

func (v View) name(id ring.NodeID) string {
	if n, ok := v.Table.Node(id); ok {
		return n.Name
	}
	return id.String()
}
