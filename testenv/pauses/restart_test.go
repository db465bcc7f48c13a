package pauses_test

import (
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv/pauses"
)

// TestGracefulRestart stops every manager and every server in good order and
// starts it again, one after the other, under load. Clients should see neither
// an error nor much of a pause.
func TestGracefulRestart(t *testing.T) {
	s := begin(t, "graceful restart of every manager and server in turn")
	s.p = pauses.Start(t, s.c, pauses.Defaults())
	n := repeats(2)
	for _, role := range []subjects.Role{subjects.RoleManager, subjects.RoleServer} {
		var during, calm pauses.Series
		operations, errors := 0, 0
		for range n {
			for _, node := range s.c.Names(role) {
				s.calm()
				begin := time.Now()
				s.c.Stop(node)
				stopped := time.Now()
				s.c.Start(node)
				s.c.EventuallyState(node, "up")
				s.settle()
				length := time.Since(begin)
				s.p.Wait(time.Now().Add(length))
				win, after := s.p.Window(begin, length, pauses.Everywhere), s.p.Before(begin.Add(2*length), length, pauses.Everywhere)
				s.Logf("%s at %s, stopped after %s, back after %s: reads %s, writes %s; after it: %s, %s", node, begin.Format("15:04:05.000"),
					stopped.Sub(begin), length, win.Reads, win.Writes, after.Reads, after.Writes)
				during = append(during, max(win.Reads, win.Writes))
				calm = append(calm, max(after.Reads, after.Writes))
				operations += win.Operations
				errors += win.Errors
			}
		}
		s.add(pauses.Pause("longest operation while a "+string(role)+" restarts", during, calm, pauses.Bar{Worst: 250 * ms}))
		s.add(pauses.Count("errors while a "+string(role)+" restarts", len(during), errors, operations, 0))
	}
	s.report.Totals(t, 0, s.p.Stop())
}
