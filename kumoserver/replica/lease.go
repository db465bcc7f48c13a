package replica

import (
	"math"
	"slices"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// A lease is the primary's right to answer reads by itself (R6). It asks every
// in-sync replica again and again; each grant counts from when the question was
// sent, on the primary's clock, and binds its giver for longer, from when the
// question was received, on the giver's. A giver that becomes primary commits
// nothing until its grants to others have ended, so that nobody answers with a
// value that was overwritten elsewhere.

// grant is a lease that this copy gave. A grant belongs to the process that it
// was given to, whatever the epoch.
type grant struct {
	to    ring.Process // zero: whoever it was before this process began
	until int64
}

// leaseAsked grants a lease to the primary of the promised epoch.
func (r *Replica) leaseAsked(ev LeaseAsked) {
	if r.leader.Zero() && ev.Epoch >= r.promised {
		r.hello(ev.From)
		return
	}
	if r.lead != nil || ev.Epoch != r.promised || ev.From != r.leader || r.faulty || r.unclean {
		return
	}
	r.release(func(g grant) bool { return g.to == ev.From || g.until <= r.now })
	r.grants = append(r.grants, grant{ev.From, r.now + r.o.Grant})
	r.emit(Grant{To: ev.From, Epoch: ev.Epoch})
}

// release forgets grants that have ended one way or another.
func (r *Replica) release(ended func(grant) bool) {
	r.grants = slices.DeleteFunc(r.grants, ended)
}

// granted notes a peer's lease.
func (r *Replica) granted(ev Granted) {
	l := r.lead
	if l == nil || ev.Epoch != l.epoch {
		return
	}
	p := l.peer(ev.From.Store)
	if p == nil || p.state != replicating || p.boot != ev.From.Boot {
		return
	}
	p.lease = max(p.lease, ev.Sent+min(r.o.Lease, ev.Length))
	p.granted = max(p.granted, ev.Sent)
	p.leaseWaits = 0
	if p.waiting == 0 {
		p.silent = false
	}
	l.advance(r)
}

// died ends the grants to a process that is proved to be gone.
func (r *Replica) died(p ring.Process) {
	r.release(func(g grant) bool { return g.to == p })
	if r.lead != nil {
		r.lead.advance(r)
	}
}

// bound reports whether a grant to somebody else still keeps this primary from
// committing.
func (r *Replica) bound() bool {
	for _, g := range r.grants {
		if g.to != r.self && r.now < g.until {
			return true
		}
	}
	return false
}

// leased is until when this primary may answer reads: the earliest lease of all
// whose acknowledgement commits need, learners that only join aside. One that is
// alone needs none.
func (l *lead) leased() int64 {
	until := int64(math.MaxInt64)
	for _, p := range l.peers {
		if l.mayFollow(p) {
			until = min(until, p.lease)
		}
	}
	return until
}

// mayFollow reports whether a peer may be in sync in the next epoch, as far as
// this primary has asked for it.
func (l *lead) mayFollow(p *peer) bool { return !p.learner || slices.Contains(l.asked, p.id) }

// askLease asks a peer for its lease when it is time.
func (l *lead) askLease(r *Replica, p *peer) {
	switch {
	case !l.required(p):
		p.leaseWaits = 0
		return
	case p.state != replicating || p.leaseAsked != 0 && r.now-p.leaseAsked < r.o.LeaseEvery:
		return
	}
	p.leaseAsked = r.now
	if p.leaseWaits == 0 {
		p.leaseWaits = r.now
	}
	r.emit(WantLease{To: p.id, Epoch: l.epoch})
}

// hide notes the keys whose entries are of unknown fate at promotion: reads of
// them wait until it is known. A flush hides everything.
func (l *lead) hide() {
	if len(l.open) == 0 {
		return
	}
	l.hidden = make(map[string]struct{}, len(l.open))
	for _, e := range l.open {
		if e.Kind == subjects.EntryFlush {
			l.hidesAll = true
		}
		l.hidden[string(e.Key)] = struct{}{}
	}
}

// serve tells whether, and until when, reads are answered. Before the entries of
// unknown fate have committed, reads of other keys are: once all in-sync
// replicas have promised this epoch the primary before can commit nothing.
func (l *lead) serve(r *Replica, ready bool) {
	if r.commit >= l.rolled {
		l.hidden, l.hidesAll = nil, false
	}
	if ready && !l.hidesAll {
		l.serving = true
	}
	s := Serve{Epoch: l.epoch, On: l.serving, Until: l.leased(), Hidden: l.hidden}
	if r.o.Confirm {
		s.Until = math.MaxInt64 // each answer is confirmed instead
	}
	if s.On && (!l.told.On || s.Until != l.told.Until || s.Epoch != l.told.Epoch || len(s.Hidden) != len(l.told.Hidden)) {
		l.told = s
		r.emit(s)
	}
}

// reads reports whether this primary may answer from what is committed, now.
func (l *lead) reads(r *Replica) bool { return l.serving && (r.o.Confirm || r.now < l.leased()) }
