package kumomanager

import (
	"slices"
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
)

// lookEvery is how often the leader looks whether a plan is due.
const lookEvery = 200 * time.Millisecond

// autoplan remembers what the leader last planned by itself.
type autoplan struct {
	looked time.Time
	wanted []ring.NodeID // servers on which partitions should be
	since  time.Time     // wanted has not changed
	done   []ring.NodeID // wanted, when it was last planned
}

// autoPlan attaches new servers and plans around lost ones, where auto-replace
// is on and nothing has changed for the delay, so that servers that come
// together are planned together.
func (c *core) autoPlan(d *draft, now time.Time) {
	a := &c.auto
	if !d.table.AutoReplace || d.table.Paused || len(c.plan) > 0 || len(d.finish) > 0 || now.Sub(a.looked) < lookEvery {
		return
	}
	a.looked = now
	var fresh, wanted []ring.NodeID
	for _, n := range d.table.Nodes {
		if !n.Attached && !n.Detached && c.members.UpFor(n.ID, c.at(now)) > 0 {
			fresh = append(fresh, n.ID)
			wanted = append(wanted, n.ID)
		}
	}
	for _, s := range c.eligible(d.table, now) {
		wanted = append(wanted, s.ID)
	}
	slices.Sort(wanted)
	if !slices.Equal(wanted, a.wanted) {
		a.wanted, a.since = wanted, now
	}
	if len(wanted) == 0 || now.Sub(a.since) < c.replaceDelay || slices.Equal(wanted, a.done) {
		return
	}
	a.done = wanted
	if len(fresh) > 0 {
		d.step(ring.Command{Attach: fresh})
	} else if slices.Equal(wanted, placedOn(d.table)) {
		return // so it was found by a new leader
	}
	c.replan(d, now)
}

// placedOn lists the servers that partitions are wished on.
func placedOn(t *ring.Table) []ring.NodeID {
	seen := map[ring.NodeID]bool{}
	var out []ring.NodeID
	for _, c := range t.Partitions {
		for _, id := range c.Target {
			if !seen[id] {
				seen[id] = true
				out = append(out, id)
			}
		}
	}
	slices.Sort(out)
	return out
}
