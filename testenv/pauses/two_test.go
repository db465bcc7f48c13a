package pauses_test

import (
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv/pauses"
)

// TestTwoKilled ends two of three servers with SIGKILL, together and a second
// apart: the third goes on alone.
func TestTwoKilled(t *testing.T) {
	s := begin(t, "kill -9 of two of three servers")
	s.p = pauses.Start(t, s.c, pauses.Defaults())
	s.two("two servers killed together", 0)
	s.two("two servers killed 1 s apart", time.Second)
	s.report.Totals(t, 0, s.p.Stop())
}

func (s *scenario) two(what string, apart time.Duration) {
	const watch = 8 * time.Second
	var after, before pauses.Series
	n, operations, errors := repeats(6), 0, 0
	servers := s.c.Names(subjects.RoleServer)
	for i := range n {
		first, second := servers[i%len(servers)], servers[(i+1)%len(servers)]
		s.calm()
		fault := time.Now()
		if apart == 0 {
			s.c.Kill(first, second)
		} else {
			s.c.Kill(first)
			s.p.Wait(fault.Add(apart))
			s.c.Kill(second)
		}
		s.p.Wait(fault.Add(watch))
		calm, win := s.p.Before(fault, afterFault, pauses.Everywhere), s.p.Window(fault, watch, pauses.Everywhere)
		s.Logf("%s: %s and %s at %s: reads %s, writes %s", what, first, second, fault.Format("15:04:05.000"), win.Reads, win.Writes)
		after = append(after, max(win.Reads, win.Writes))
		before = append(before, max(calm.Reads, calm.Writes))
		operations += win.Operations
		errors += win.Errors
		s.c.Start(first, second)
		s.c.EventuallyState(first, "up")
		s.c.EventuallyState(second, "up")
		s.settle()
	}
	s.add(pauses.Pause(what, after, before, pauses.Bar{Worst: 3 * time.Second}))
	s.add(pauses.Count("errors, "+what, n, errors, operations, 0.001))
}
