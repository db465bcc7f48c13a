package pauses_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv/pauses"
)

// TestPaused stops servers with SIGSTOP, so that nothing proves them dead, and
// lets them go on: first for moments around the times of leases and of the
// failure detector, at last for longer than anything waits. Clients must be
// served by others, and what wakes must neither answer from the past nor be
// missed.
func TestPaused(t *testing.T) {
	s := begin(t, "SIGSTOP of a server")
	s.p = pauses.Start(t, s.c, pauses.Defaults())
	for _, d := range []time.Duration{500 * ms, time.Second, 1500 * ms, 2 * time.Second, 5 * time.Second, 20 * time.Second, 60 * time.Second, 110 * time.Second} {
		if *duration > 0 && d > *duration {
			continue
		}
		s.pause(d, repeats(3))
	}
	s.report.Totals(t, 0, s.p.Stop())
}

// pause stops servers for d, one after the other.
func (s *scenario) pause(d time.Duration, n int) {
	s.Helper()
	if d > 30*time.Second {
		n = (n + 2) / 3
	}
	var during, before, waking pauses.Series
	operations, errors := 0, 0
	servers := s.c.Names(subjects.RoleServer)
	for i := range n {
		victim := servers[i%len(servers)]
		s.calm()
		fault := time.Now()
		s.c.Pause(victim)
		s.p.Wait(fault.Add(d))
		wake := time.Now()
		s.c.Resume(victim)
		s.p.Wait(wake.Add(afterFault))
		calm := s.p.Before(fault, afterFault, pauses.Everywhere)
		win, after := s.p.Window(fault, d, pauses.Everywhere), s.p.Window(wake, afterFault, pauses.Everywhere)
		s.Logf("%s for %s at %s: reads %s, writes %s; after it woke: %s, %s", victim, d, fault.Format("15:04:05.000"),
			win.Reads, win.Writes, after.Reads, after.Writes)
		during = append(during, max(win.Reads, win.Writes))
		before = append(before, max(calm.Reads, calm.Writes))
		waking = append(waking, max(after.Reads, after.Writes))
		operations += win.Operations + after.Operations
		errors += win.Errors + after.Errors
		s.c.EventuallyState(victim, "up")
		s.settle()
	}
	s.add(pauses.Pause(fmt.Sprintf("operations begun while a server is stopped for %s", d), during, before, pauses.Bar{Worst: 2500 * ms}))
	s.add(pauses.Pause(fmt.Sprintf("operations in the 3 s after it woke, %s", d), waking, before, pauses.Bar{}))
	s.add(pauses.Count(fmt.Sprintf("errors, %s", d), n, errors, operations, 0.001))
}
