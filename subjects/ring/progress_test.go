package ring_test

import (
	"testing"

	"github.com/etolabo/kumofs/subjects/ring"
)

func TestProgress(t *testing.T) {
	var g ring.Progress
	for i, step := range []struct {
		missing, percent int
		ok               bool
	}{
		{0, 100, false}, {10, 0, true}, {40, 0, true}, {30, 25, true}, {1, 97, true}, {20, 50, true},
		{0, 100, false}, {3, 0, true}, {2, 33, true}, {0, 100, false},
	} {
		if p, ok := g.Look(step.missing); p != step.percent || ok != step.ok {
			t.Errorf("step %d: %d missing are %d%%, %v; want %d%%, %v", i, step.missing, p, ok, step.percent, step.ok)
		}
	}
}

func TestMissing(t *testing.T) {
	c := ring.Config{Epoch: 3, ISR: []ring.NodeID{1, 2}, Learners: []ring.NodeID{4}, Target: []ring.NodeID{4, 1, 5}}
	if n := c.Missing(); n != 2 {
		t.Errorf("%d copies are missing, want 2", n)
	}
	if c.Epoch = 0; c.Missing() != 0 {
		t.Errorf("%d copies of a partition that was never placed are missing", c.Missing())
	}
}
