package pauses_test

import (
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv/pauses"
)

// TestKill ends servers with SIGKILL, in turn. With three servers each of them
// leads some partitions and follows in the others, so that one kill is that of a
// primary and that of a backup.
func TestKill(t *testing.T) {
	s := begin(t, "kill -9 of a server")
	s.p = pauses.Start(t, s.c, pauses.Defaults())
	var reads, writes, reads0, writes0 pauses.Series     // of what it led
	var reads2, writes2, reads20, writes20 pauses.Series // of what it followed
	n, operations, errors := repeats(50), 0, 0
	servers := s.c.Names(subjects.RoleServer)
	for i := range n {
		victim := servers[i%len(servers)]
		leads, follows := roles(s.c.Table(), s.c.Addr(victim))
		s.calm()
		fault := time.Now()
		s.c.Kill(victim)
		s.p.Wait(fault.Add(afterFault))
		led, led0 := s.p.Window(fault, afterFault, leads), s.p.Before(fault, afterFault, leads)
		followed, followed0 := s.p.Window(fault, afterFault, follows), s.p.Before(fault, afterFault, follows)
		t.Logf("%2d %s at %s: led: reads %s, writes %s; followed: reads %s, writes %s; before: %s %s %s %s", i, victim, fault.Format("15:04:05.000"),
			led.Reads, led.Writes, followed.Reads, followed.Writes, led0.Reads, led0.Writes, followed0.Reads, followed0.Writes)
		reads, writes, reads0, writes0 = append(reads, led.Reads), append(writes, led.Writes), append(reads0, led0.Reads), append(writes0, led0.Writes)
		reads2, writes2, reads20, writes20 = append(reads2, followed.Reads), append(writes2, followed.Writes), append(reads20, followed0.Reads), append(writes20, followed0.Writes)
		operations += led.Operations + followed.Operations
		errors += led.Errors + followed.Errors
		s.c.Start(victim)
		s.c.EventuallyState(victim, "up")
		s.settle()
	}
	bar, readsBar := pauses.Bar{Median: 300 * ms, Worst: 1500 * ms}, pauses.Bar{Median: 100 * ms, Worst: time.Second}
	if leaseOnly() { // nothing is read early of a process that nobody knows dead
		bar, readsBar = pauses.Bar{Median: 1300 * ms}, pauses.Bar{Median: 1300 * ms}
	}
	s.add(pauses.Pause("reads of partitions whose primary was killed", reads, reads0, readsBar))
	s.add(pauses.Pause("writes to partitions whose primary was killed", writes, writes0, bar))
	s.add(pauses.Pause("reads of partitions where a backup was killed", reads2, reads20, notAtAll(reads20)))
	s.add(pauses.Pause("writes to partitions where a backup was killed", writes2, writes20, pauses.Bar{Median: bar.Median}))
	s.add(pauses.Count("errors in the 3 s after a crash, 10 s client time-out", n, errors, operations, 0.001))
	s.report.Totals(t, n, s.p.Stop())
}

// notAtAll is the bar for operations that a fault should not touch: they may take
// as long as without it, give or take what a loaded machine adds.
func notAtAll(without pauses.Series) pauses.Bar {
	return pauses.Bar{Median: max(50*ms, 2*without.Median())}
}
