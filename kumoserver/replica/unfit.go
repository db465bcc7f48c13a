package replica

import (
	"fmt"
	"slices"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// A copy is unfit when it may lack what it acknowledged: it is not complete, its
// machine died before all was on disk (unclean), or a stored record cannot be
// read (damaged). It leads nothing that another copy can lead, and comes back
// through the others (R13, R14).

// mayLead reports whether this copy may lead the newest configuration. One with
// a damaged record may where nobody else can, and until somebody else does; one
// that lacks more where it was declared the truth.
func (r *Replica) mayLead() bool {
	switch {
	case r.damaged && r.lead == nil && len(r.able()) > 0:
		return false
	case !r.incomplete && !r.unclean:
		return true
	case r.config.Forced:
		r.adopt()
		return true
	}
	return false
}

// adopt makes what the copy holds the truth: the managers, or an operator, have
// chosen it where acknowledged writes may be lost in any case.
func (r *Replica) adopt() {
	if len(r.outline) == 0 { // of a lost copy nothing is left
		r.outline = subjects.Outline{{}}
	}
	r.incomplete, r.cursor, r.unclean = false, nil, false
	r.emit(Adopt{})
}

// able are the other members of the in-sync set that may lead, as far as the
// ring tells.
func (r *Replica) able() []ring.NodeID {
	return slices.DeleteFunc(slices.Clone(r.config.ISR), func(id ring.NodeID) bool {
		return id == r.self.Store || slices.Contains(r.config.Unclean, id)
	})
}

// handOver asks for another primary, since this copy should not lead: each time
// for the next that may, since one may be down. This copy comes back as a
// learner.
func (r *Replica) handOver() {
	r.handed = r.now
	able, c := r.able(), &r.config
	if len(able) == 0 {
		if r.faulted < c.Epoch {
			r.faulted = c.Epoch
			r.emit(Fault{"no copy in sync is whole"})
		}
		return
	}
	learners := slices.Clone(c.Learners)
	if len(c.Target) == 0 || slices.Contains(c.Target, r.self.Store) {
		learners = append(learners, r.self.Store)
	}
	r.handedTo++
	r.emit(Ask{ring.Change{
		Partition: r.p, Epoch: c.Epoch, Primary: ring.Process{Store: able[r.handedTo%len(able)]},
		ISR:      slices.DeleteFunc(slices.Clone(c.ISR), func(id ring.NodeID) bool { return id == r.self.Store }),
		Learners: learners, By: r.self, Reason: "the primary's copy is not whole",
	}})
}

// outdated gives the lead up to those who are in sync and know of entries that
// have committed and are not here: this copy held them once, and its folder is an
// older state of itself, such as a backup that was put back. What it lacks must
// not become the truth.
func (r *Replica) outdated(m *subjects.EpochReply) {
	r.emit(Fault{fmt.Sprintf("the log ends at %s, but %s, which is in sync, knows that %d has committed: was an old folder put back?", r.tail, m.From, m.Commit)})
	r.unclean = true
	r.stepDown()
	r.handOver()
}

// hurt notes that a record of the copy cannot be read. A primary asks for
// another, and goes on meanwhile; a replica says that it takes no more, and is
// left out.
func (r *Replica) hurt() {
	if r.damaged {
		return
	}
	r.damaged = true
	switch {
	case r.lead != nil:
		if len(r.able()) > 0 {
			r.handOver()
		}
	case !r.leader.Zero() && r.leader != r.self:
		r.faulty, r.ack = true, false
		r.refuse(r.leader.Store)
	}
}
