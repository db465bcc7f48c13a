package sim

import (
	"github.com/etolabo/kumofs/subjects/ring"
)

// stallMost is for how long a partition may stand still while everybody who must
// do something about it can.
const stallMost = 3000 * ms

// stall is since when a partition has stood still.
type stall struct {
	epoch  ring.Epoch
	commit uint64
	since  int64
}

// checkProgress checks that somebody is given the lead of a partition whose
// primary is gone (R8), and that a replica which does not answer is taken out
// (R7), as long as managers have a quorum and can be reached.
func (s *Sim) checkProgress() {
	for i := range s.stalls {
		p := ring.Partition(i)
		c, st := s.mgr.table.Partitions[p], &s.stalls[p]
		var commit uint64
		why := ""
		if n := s.nodes[max(c.Primary.Store, 1)]; c.Epoch > 0 && s.mgr.quorum && s.prof.Drift <= maxDrift {
			why = s.standsStill(n, c, p)
			commit = n.parts[p].mem.commit
		}
		if why == "" || c.Epoch != st.epoch || commit != st.commit {
			*st = stall{c.Epoch, commit, s.now}
			continue
		}
		if s.now-st.since > stallMost {
			s.fail("p%d: %s for %s at epoch %d, and nobody does anything about it", p, why, clock(s.now-st.since), c.Epoch)
		}
	}
}

// standsStill says what should be done about a partition, if it could be.
func (s *Sim) standsStill(n *node, c ring.Config, p ring.Partition) string {
	for _, id := range c.ISR {
		if s.nodes[id].parts[p].damaged() {
			return "" // that takes its time
		}
	}
	if n.up && n.process() == c.Primary {
		st := n.parts[p].m.Status()
		if st.Leading && st.Promised == c.Epoch && st.Commit < st.Tail.Seq && s.reaches(n) {
			return "writes wait"
		}
		return ""
	}
	for _, id := range c.ISR {
		if o := s.nodes[id]; o.up && !o.stopping && s.reaches(o) && !s.mgr.hears(c.Primary) {
			return "there is no primary"
		}
	}
	return ""
}

// reaches reports whether a node and the managers hear each other.
func (s *Sim) reaches(n *node) bool {
	return n.paused <= s.now && s.cuts[n.id][0] == 0 && s.cuts[0][n.id] == 0
}
