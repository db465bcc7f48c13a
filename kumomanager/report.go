package kumomanager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
)

// maxBeatAge is after how long without a heartbeat a manager has come to a halt.
const maxBeatAge = 10 * time.Second

// Limits are the options that may change while a manager runs. All are as in
// Options, and must be such as Options.Check lets pass.
type Limits struct {
	ReplaceDelay time.Duration
	LostAfter    time.Duration
	FailAfter    time.Duration
	MaxMoves     int
}

// SetLimits changes limits. Only those of the manager that leads count.
func (m *Manager) SetLimits(l Limits) {
	m.seat.do(func(time.Time) {
		c := m.seat.core
		c.replaceDelay, c.lostAfter, c.failAfter, c.learners = l.ReplaceDelay, l.LostAfter, l.FailAfter, l.MaxMoves
		c.members.SetSilence(int64(l.FailAfter))
	})
}

// CanServe tells whether the manager knows a leader, itself or another, and the
// partition table.
func (m *Manager) CanServe() bool {
	leader, _ := m.seat.quorum.Leader()
	return leader != "" && m.Table().Size() > 0
}

// Doing says in a line what the manager does, and how far a rebalancing is. It is
// called by one goroutine.
func (m *Manager) Doing() string {
	t := m.Table()
	leader, _ := m.seat.quorum.Leader()
	if leader == "" || t.Size() == 0 {
		return fmt.Sprintf("waits for a majority of the %d voters", len(m.seat.quorum.Voters()))
	}
	s := "follows " + leader
	if m.Leads() {
		s = "leads"
	}
	up, missing, down := 0, 0, 0
	for _, n := range t.Nodes {
		if n.Up {
			up++
		}
	}
	for _, p := range t.Partitions {
		missing += p.Missing()
		if p.Epoch > 0 && !t.Alive(p.Primary) {
			down++
		}
	}
	s += fmt.Sprintf("; %d of %d servers up", up, len(t.Nodes))
	if down > 0 {
		s += fmt.Sprintf("; %d partitions have no live primary", down)
	}
	return s + rebalancing(&m.progress, missing)
}

func rebalancing(g *ring.Progress, missing int) string {
	percent, ok := g.Look(missing)
	if !ok {
		return ""
	}
	return fmt.Sprintf("; rebalancing %d%%, %d copies to go", percent, missing)
}

// Alive has the loop that decides answer; the error says that it, or the one that
// sends heartbeats, does not until ctx ends.
func (m *Manager) Alive(ctx context.Context) error {
	answered := make(chan struct{})
	select {
	case m.seat.inbox <- func(time.Time) { close(answered) }:
	case <-m.ctx.Done():
		return nil
	case <-ctx.Done():
		return errors.New("the manager's loop takes nothing any more")
	}
	select {
	case <-answered:
	case <-m.ctx.Done():
		return nil
	case <-ctx.Done():
		return errors.New("the manager's loop does not answer")
	}
	if age := time.Since(time.Unix(0, m.beaten.Load())); m.beaten.Load() != 0 && age > maxBeatAge {
		return fmt.Errorf("the manager has sent no heartbeat for %s", age.Round(time.Second))
	}
	return nil
}
