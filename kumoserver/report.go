package kumoserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxBeatAge is after how long without a heartbeat a server has come to a halt.
const maxBeatAge = 10 * time.Second

// SetScrub changes Options.ScrubRate and Options.ScrubEvery while the server runs.
func (s *Server) SetScrub(rate int64, every time.Duration) { s.store.SetScrub(rate, every) }

// SetReadRate changes Options.ReadRate while the server runs.
func (s *Server) SetReadRate(rate int64) { s.frozen.setRate(rate) }

// CanServe tells whether the managers know this process, so that it can lead and
// hold what they give it.
func (s *Server) CanServe() bool {
	t := s.Table()
	if t == nil {
		return false
	}
	n, ok := t.Node(s.store.ID())
	return ok && n.Up && n.Boot == s.boot
}

// Doing says in a line what the server does, and how much of the copies that it
// is to get it has. It is called by one goroutine.
func (s *Server) Doing() string {
	t := s.Table()
	self := s.store.ID()
	switch {
	case s.stopping.Load():
		return "hands its partitions over"
	case t == nil:
		return "waits for a manager"
	case !s.CanServe():
		return "waits until the managers know it"
	}
	missing := 0
	for _, p := range t.Partitions {
		if slices.Contains(p.Target, self) && p.Epoch > 0 && !p.HasISR(self) {
			missing++
		}
	}
	n, _ := t.Node(self)
	l := s.load()
	what := fmt.Sprintf("leads %d of %d partitions, holds %d copies", l.Primaries, t.Size(), l.Replicas)
	if !n.Attached && l.Replicas == 0 {
		what = "waits for kumoctl attach"
	}
	if percent, ok := s.progress.Look(missing); ok {
		what += fmt.Sprintf("; rebalancing %d%%, %d copies to go", percent, missing)
	}
	switch d := s.disk(); {
	case d.Stuck:
		what += "; its disk hangs"
	case d.Broken:
		what += "; its data file is damaged"
	case d.Full:
		what += "; its disk is full"
	}
	return what
}

// Alive has the core loop answer; the error says that it, or the one that sends
// heartbeats, does not until ctx ends.
func (s *Server) Alive(ctx context.Context) error {
	answered := make(chan struct{})
	if !s.inbox.push(work{call: func(*core) { close(answered) }}, 0) {
		return nil // it stops
	}
	select {
	case <-answered:
	case <-s.ctx.Done():
		return nil
	case <-ctx.Done():
		return errors.New("the server's core loop does not answer")
	}
	if at := s.beaten.Load(); at != 0 && time.Since(time.Unix(0, at)) > maxBeatAge {
		return fmt.Errorf("the server has sent no heartbeat for %s", time.Since(time.Unix(0, at)).Round(time.Second))
	}
	return nil
}
