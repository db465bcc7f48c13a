package kumoserver

import (
	"testing"
	"time"
)

// round is one range of a copy: when it went, and how long until the next is asked.
func (p *pace) round(at time.Time, took time.Duration) time.Duration {
	key := moveKey{1, 2}
	p.sends(key, at)
	return p.asked(key, at.Add(took))
}

func TestPaceRestsWhenRoundsTakeLonger(t *testing.T) {
	p := &pace{sent: map[moveKey]time.Time{}}
	at := time.Unix(1000, 0)
	for _, r := range []struct{ took, rest time.Duration }{
		{4 * time.Millisecond, 0},
		{2 * time.Millisecond, 0},
		{3 * time.Millisecond, 0}, // within the slack
		{5 * time.Millisecond, 2 * paceGain * time.Millisecond},
		{time.Minute, paceMost},
	} {
		if got := p.round(at, r.took); got != r.rest {
			t.Errorf("after a round of %s it rests %s, want %s", r.took, got, r.rest)
		}
		at = at.Add(time.Second)
	}
}

// What was quick once is forgotten after two windows: a machine may have become
// slower for good.
func TestPaceForgets(t *testing.T) {
	p := &pace{sent: map[moveKey]time.Time{}}
	at := time.Unix(1000, 0)
	p.round(at, time.Millisecond)
	slow := 20 * time.Millisecond
	if p.round(at.Add(paceWindow+time.Second), slow) == 0 {
		t.Error("it does not rest after a slow round")
	}
	for n := 2; n < 4; n++ {
		p.round(at.Add(time.Duration(n)*(paceWindow+time.Second)), slow)
	}
	if rest := p.round(at.Add(5*(paceWindow+time.Second)), slow); rest != 0 {
		t.Errorf("it rests %s when all rounds are slow", rest)
	}
}

func TestPaceKnowsNoFirstRound(t *testing.T) {
	p := &pace{sent: map[moveKey]time.Time{}}
	if rest := p.asked(moveKey{1, 2}, time.Unix(1000, 0)); rest != 0 {
		t.Errorf("the first range waits %s", rest)
	}
	if len(p.sent) != 0 {
		t.Error("it remembers rounds that have ended")
	}
}
