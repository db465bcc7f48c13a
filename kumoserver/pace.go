package kumoserver

import (
	"maps"
	"time"
)

// pace has moves give way to clients, as LEDBAT has bulk transfers (RFC 6817):
// how long a range takes until the learner asks for the next tells how busy both
// servers, their disks and what is between them are. Beyond what it takes at
// rest, the copy waits some times as long before its next range.
type pace struct {
	sent map[moveKey]time.Time // ranges under way
	// The quickest rounds of this window and of the one before.
	quick, before time.Duration
	turned        time.Time // when this window began
}

const (
	// paceSlack is how much longer than the quickest a round may take.
	paceSlack = time.Millisecond
	// paceGain is how many times what a round took longer a copy rests, and paceMost
	// how long at most, so that moves come to an end on a machine that is always busy.
	paceGain = 20
	paceMost = 100 * time.Millisecond
	// paceWindow is for how long the quickest round counts, twice.
	paceWindow = 30 * time.Second
)

// sends notes that a range has gone.
func (p *pace) sends(key moveKey, now time.Time) { p.sent[key] = now }

// forget drops the rounds of copies that nobody makes any more: their learners ask for
// nothing.
func (p *pace) forget(gone func(moveKey) bool) {
	maps.DeleteFunc(p.sent, func(key moveKey, _ time.Time) bool { return gone(key) })
}

// asked notes that a learner wants its next range, and tells how long to wait
// with it.
func (p *pace) asked(key moveKey, now time.Time) time.Duration {
	at, ok := p.sent[key]
	if !ok {
		return 0
	}
	delete(p.sent, key)
	took := now.Sub(at)
	if now.Sub(p.turned) > paceWindow {
		p.before, p.quick, p.turned = p.quick, took, now
	}
	p.quick = min(p.quick, took)
	quick := p.quick
	if p.before > 0 {
		quick = min(quick, p.before)
	}
	return min(max(took-quick-paceSlack, 0)*paceGain, paceMost)
}
