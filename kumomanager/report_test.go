package kumomanager

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
)

// What a manager says to whoever supervises it, and limits that change.
func TestReport(t *testing.T) {
	g := newGroup(t, 1, nil)
	m := g.leader()
	if s := m.Doing(); !m.CanServe() || s != "leads; 0 of 0 servers up" {
		t.Errorf("it serves: %v; it says %q", m.CanServe(), s)
	}
	newServer(t, g, 1)
	newServer(t, g, 2)
	eventually(t, "two servers are seen", func() bool { return strings.Contains(m.Doing(), "2 of 2 servers up") })
	if err := m.Alive(t.Context()); err != nil {
		t.Error(err)
	}
	m.SetLimits(Limits{ReplaceDelay: time.Second, LostAfter: time.Hour, FailAfter: 500 * time.Millisecond, MaxMoves: 3})
	got := make(chan settings, 1)
	m.seat.do(func(time.Time) { got <- m.seat.core.settings })
	if s := <-got; s.replaceDelay != time.Second || s.lostAfter != time.Hour || s.failAfter != 500*time.Millisecond || s.learners != 3 {
		t.Errorf("settings %+v", s)
	}

	// A loop that does not answer is told from one that does.
	stuck, free := make(chan struct{}), make(chan struct{})
	m.seat.do(func(time.Time) { close(stuck); <-free })
	<-stuck
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := m.Alive(ctx); err == nil {
		t.Error("a loop that is stuck is called alive")
	}
	close(free)
}

func TestRebalancing(t *testing.T) {
	var p ring.Progress
	for _, step := range []struct {
		missing int
		want    string
	}{{0, ""}, {8, "; rebalancing 0%, 8 copies to go"}, {2, "; rebalancing 75%, 2 copies to go"}, {0, ""}} {
		if got := rebalancing(&p, step.missing); got != step.want {
			t.Errorf("%d are missing: %q, want %q", step.missing, got, step.want)
		}
	}
}
