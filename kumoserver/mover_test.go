package kumoserver

import (
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
)

// testMover has the lead of partitions 0 and 1, both of which should have two
// copies; partition 1 lacks one.
func testMover(rate int64, paused bool) (*mover, *ring.Table) {
	t := &ring.Table{ClusterID: 1, MoveRate: rate, Paused: paused, Partitions: []ring.Config{
		{Epoch: 1, ISR: []ring.NodeID{1, 2}, Learners: []ring.NodeID{3}, Target: []ring.NodeID{1, 3}},
		{Epoch: 1, ISR: []ring.NodeID{1}, Learners: []ring.NodeID{3}, Target: []ring.NodeID{1, 3}},
	}}
	m := newMover(nil)
	m.table = t
	return m, t
}

func TestMoveRateHoldsRangesBack(t *testing.T) {
	m, _ := testMover(rangeBytes/1000, false) // a range takes 1,000 seconds
	if wait, _ := m.delay(0); wait != 0 {
		t.Errorf("the first waits %s", wait)
	}
	if wait, _ := m.delay(1); wait < 900*time.Second || wait > 1010*time.Second {
		t.Errorf("the second waits %s", wait)
	}
	m.charge(-rangeBytes / 2) // it was half as large
	if wait, _ := m.delay(1); wait < 400*time.Second || wait > 505*time.Second {
		t.Errorf("after half a range the second waits %s", wait)
	}
	m.charge(10 * rangeBytes)
	if wait, _ := m.delay(1); wait < 10000*time.Second {
		t.Errorf("after a large record the second waits %s", wait)
	}
}

func TestNoMoveRate(t *testing.T) {
	m, _ := testMover(0, false)
	for range 10 {
		if wait, _ := m.delay(0); wait > 0 {
			t.Errorf("a range waits %s", wait)
		}
		m.charge(1 << 20)
	}
}

func TestPauseHoldsMovesAndNoRepair(t *testing.T) {
	m, _ := testMover(0, true)
	if wait, _ := m.delay(0); wait != forever {
		t.Errorf("a move waits %s", wait)
	}
	if wait, _ := m.delay(1); wait != 0 {
		t.Errorf("a copy that is missing waits %s", wait)
	}
}

// Whoever waits looks again when rate or pause change, and not at other changes.
func TestMoverLooksAgain(t *testing.T) {
	m, table := testMover(rangeBytes/1000, false)
	m.delay(0)
	for _, tt := range []struct {
		change func(*ring.Table)
		again  bool
		free   bool
	}{
		{func(t *ring.Table) { t.Revision++ }, false, false},
		{func(t *ring.Table) { t.Paused = true }, false, false},
		{func(t *ring.Table) { t.Paused = false }, true, false},
		{func(t *ring.Table) { t.MoveRate = 0 }, true, true},
	} {
		_, changed := m.delay(0)
		next := *table
		tt.change(&next)
		m.take(&next, ring.Process{Store: 1, Boot: 1})
		table = &next
		again := false
		select {
		case <-changed:
			again = true
		default:
		}
		if wait, _ := m.delay(0); again != tt.again || (wait == 0) != tt.free {
			t.Errorf("%+v: told: %t, and then a wait of %s", next, again, wait)
		}
	}
}

// Of a copy that ended before its learner asked for the next range nothing is kept.
func TestMoverForgetsCopiesThatEnded(t *testing.T) {
	m, table := testMover(0, false)
	self := ring.Process{Store: 1, Boot: 1}
	next := *table
	next.Partitions = append([]ring.Config(nil), table.Partitions...)
	for p := range next.Partitions {
		next.Partitions[p].Primary = self
		m.pace.sends(moveKey{ring.Partition(p), 3}, time.Unix(1000, 0))
	}
	m.pace.sends(moveKey{0, 9}, time.Unix(1000, 0))
	m.pace.sends(moveKey{7, 3}, time.Unix(1000, 0)) // of no partition any more
	next.Partitions[1].Primary = ring.Process{Store: 2, Boot: 1}
	m.take(&next, self)
	if _, ok := m.pace.sent[moveKey{0, 3}]; !ok || len(m.pace.sent) != 1 {
		t.Errorf("it knows of %v, want that of the learner alone that there is", m.pace.sent)
	}
}
