package replica

import (
	"math"

	"github.com/etolabo/kumofs/subjects"
)

// Where clocks cannot be trusted an answer that depends on a lease is confirmed
// instead (R6): after it was made, every replica that could be in sync in a next
// epoch is asked for a lease, and its grant says that it had not promised a
// next epoch when it was asked. So none had begun when the answer was made, and
// no newer value had committed. The times that are compared are of one clock,
// and only their order counts.

// confirm is an answer that waits.
type confirm struct {
	id    uint64
	since int64 // when it was made
	reply subjects.Reply
}

// confirm holds an answer until it is confirmed.
func (r *Replica) confirm(ev *Confirm) {
	l := r.lead
	switch {
	case l == nil:
		r.answer(ev.ID, subjects.StatusNotPrimary)
		return
	case ev.Epoch != l.epoch || !l.serving || len(l.confirms) >= r.o.Waiting:
		r.answer(ev.ID, subjects.StatusRetry)
		return
	}
	if n := len(l.confirms); n == 0 || l.confirms[n-1].since != ev.Now {
		for _, p := range l.peers {
			if l.mayFollow(p) && p.state == replicating {
				r.emit(WantLease{To: p.id, Epoch: l.epoch})
			}
		}
	}
	l.confirms = append(l.confirms, confirm{ev.ID, ev.Now, ev.Reply})
	l.confirmed(r)
}

// confirmed gives the answers that every peer has confirmed.
func (l *lead) confirmed(r *Replica) {
	if len(l.confirms) == 0 {
		return
	}
	asked := int64(math.MaxInt64)
	for _, p := range l.peers {
		if l.mayFollow(p) {
			asked = min(asked, p.granted)
		}
	}
	n := 0
	for n < len(l.confirms) && l.confirms[n].since <= asked {
		r.emit(Reply{ID: l.confirms[n].id, Reply: l.confirms[n].reply})
		n++
	}
	l.confirms = shift(l.confirms, n)
}

// overdue has answers made again whose confirmation got lost.
func (l *lead) overdue(r *Replica) {
	n := 0
	for n < len(l.confirms) && r.now-l.confirms[n].since >= r.o.Resend {
		n++
	}
	for _, c := range l.confirms[:n] {
		r.answer(c.id, subjects.StatusRetry)
	}
	l.confirms = shift(l.confirms, n)
}

// unconfirmed has the answers of an epoch made again in the next.
func (r *Replica) unconfirmed(l *lead) {
	for _, c := range l.confirms {
		r.answer(c.id, subjects.StatusRetry)
	}
	l.confirms = nil
}
