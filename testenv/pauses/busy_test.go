package pauses_test

import (
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/etolabo/kumofs/testenv/pauses"
)

// TestFalseFailovers keeps every core busy beside the cluster and its clients:
// nobody may be taken for dead who is only slow.
func TestFalseFailovers(t *testing.T) {
	s := begin(t, "false fail-overs on a busy machine")
	s.p = pauses.Start(t, s.c, pauses.Defaults())
	length := lasting(30 * time.Minute)
	before := epochs(s.c.Table())
	loops := 2 * runtime.NumCPU()
	for range loops {
		busy(t)
	}
	began := time.Now()
	for time.Since(began) < length {
		s.p.Wait(time.Now().Add(min(length/10, time.Minute)))
		win := s.p.Window(time.Now().Add(-afterFault), afterFault, pauses.Everywhere)
		t.Logf("after %s: %d epochs changed; reads %s, writes %s", time.Since(began).Round(time.Second),
			epochs(s.c.Table())-before, win.Reads, win.Writes)
	}
	sum := s.p.Stop()
	s.report.Cluster += ", " + length.String() + " beside busy loops, two for each core"
	s.add(pauses.Count("epochs that changed", 1, epochs(s.c.Table())-before, 0, 0))
	s.add(pauses.Count("errors", 1, sum.Errors, sum.Operations, 0))
	s.add(pauses.Pause("longest operation", pauses.Series{sum.Longest}, nil, pauses.Bar{}))
	s.report.Totals(t, 1, sum)
}

// busy starts a process that does nothing, as fast as it can, until the test ends,
// however it does.
func busy(t *testing.T) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `while kill -0 $PPID 2>/dev/null; do i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; done`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}
