package pauses_test

import (
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv/pauses"
)

// TestLeaderKilled ends the leader of the managers and, in the same moment, a
// server: the partitions that it led are served again once another manager
// leads and has agreed with the rest on new epochs.
func TestLeaderKilled(t *testing.T) {
	if *managers < 3 {
		*managers = 3
	}
	s := begin(t, "kill -9 of the leading manager and of a server")
	s.p = pauses.Start(t, s.c, pauses.Defaults())
	const watch = 6 * time.Second
	var writes, writes0 pauses.Series
	n, operations, errors := repeats(10), 0, 0
	servers := s.c.Names(subjects.RoleServer)
	for i := range n {
		leader, victim := s.c.Leader(), servers[i%len(servers)]
		leads, _ := roles(s.c.Table(), s.c.Addr(victim))
		s.calm()
		fault := time.Now()
		s.c.Kill(leader, victim)
		s.p.Wait(fault.Add(watch))
		before, win := s.p.Before(fault, afterFault, leads), s.p.Window(fault, watch, leads)
		s.Logf("%s and %s at %s: reads %s, writes %s", leader, victim, fault.Format("15:04:05.000"), win.Reads, win.Writes)
		writes = append(writes, win.Writes)
		writes0 = append(writes0, before.Writes)
		operations += win.Operations
		errors += win.Errors
		s.c.Start(leader, victim)
		s.c.EventuallyState(leader, "up")
		s.c.EventuallyState(victim, "up")
		s.settle()
	}
	s.add(pauses.Pause("until writes go on in new epochs", writes, writes0, pauses.Bar{Worst: 2 * time.Second}))
	s.add(pauses.Count("errors", n, errors, operations, 0.001))
	s.report.Totals(t, n, s.p.Stop())
}

// TestManagersDown ends all managers: what is served goes on being served.
func TestManagersDown(t *testing.T) {
	s := begin(t, "all managers down")
	s.p = pauses.Start(t, s.c, pauses.Defaults())
	names, length := s.c.Names(subjects.RoleManager), lasting(10*time.Minute)
	s.calm()
	fault := time.Now()
	s.c.Kill(names...)
	s.p.Wait(fault.Add(length))
	before, win := s.p.Before(fault, afterFault, pauses.Everywhere), s.p.Window(fault, length, pauses.Everywhere)
	s.c.Start(names...)
	for _, n := range names {
		s.c.EventuallyState(n, "up")
	}
	s.settle()
	s.add(pauses.Pause("longest operation in "+length.String()+" without managers", pauses.Series{max(win.Reads, win.Writes)},
		pauses.Series{max(before.Reads, before.Writes)}, pauses.Bar{}))
	s.add(pauses.Count("errors in "+length.String()+" without managers", 1, win.Errors, win.Operations, 0))
	s.report.Totals(t, 1, s.p.Stop())
}
