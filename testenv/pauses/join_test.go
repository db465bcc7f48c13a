package pauses_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumoctl/loadgen"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv/pauses"
)

// TestJoin attaches a fourth server under load, and then one of the four that
// comes back with an empty folder.
func TestJoin(t *testing.T) {
	s := begin(t, "a server joins, and one returns empty")
	s.fill(300_000, 100)
	s.report.Cluster += fmt.Sprintf(", 300,000 keys of 100 bytes, %d operations a second, half of them writes", *rate)
	s.p = pauses.Start(t, s.c, pauses.Options{Every: time.Duration(*partitions) * 2 * time.Second / time.Duration(*rate), Value: 100})
	var took, longest, calm pauses.Series
	var took2, longest2, calm2 pauses.Series
	n := repeats(3)
	for range n {
		name := s.c.AddServer()
		s.c.EventuallyState(name, "new")
		s.move("it joins", &took, &longest, &calm, s.c.Attach)

		s.c.Kill(name)
		s.c.EventuallyState(name, "down")
		if err := os.RemoveAll(filepath.Join(s.c.Dir(), name)); err != nil {
			t.Fatal(err)
		}
		s.settleWithout()
		s.c.Start(name)
		s.c.Eventually("it is seen as a new server", func() bool {
			return slices.ContainsFunc(s.c.Status().Nodes, func(n subjects.NodeStatus) bool {
				return n.Addr == s.c.Addr(name) && n.State == "new"
			})
		})
		s.move("it returns empty", &took2, &longest2, &calm2, func() {
			s.order(subjects.AdminAttach, subjects.AdminRequest{NoReplace: true})
			s.order(subjects.AdminDetach, subjects.AdminRequest{})
		})

		// It leaves for good, so that the next can join three.
		s.order(subjects.AdminDetach, subjects.AdminRequest{Nodes: []string{s.c.Addr(name)}})
		s.settle()
		s.c.Stop(name)
	}
	s.add(pauses.Pause("a fourth server joins: time until all is where it should be", took, nil, pauses.Bar{Worst: 6 * time.Second}))
	s.add(pauses.Pause("longest operation meanwhile", longest, calm, pauses.Bar{Worst: 250 * ms}))
	s.add(pauses.Pause("an emptied server returns: time until all is where it should be", took2, nil, pauses.Bar{Worst: 6 * time.Second}))
	s.add(pauses.Pause("longest operation meanwhile, with the emptied server", longest2, calm2, pauses.Bar{Worst: 250 * ms}))
	sum := s.p.Stop()
	s.add(pauses.Count("errors", n, sum.Errors, sum.Operations, 0))
	s.report.Totals(t, n, sum)
}

// move gives an order and waits until all data is where it should be.
func (s *scenario) move(what string, took, longest, calm *pauses.Series, order func()) {
	s.Helper()
	s.calm()
	began := time.Now()
	order()
	s.settle()
	length := time.Since(began)
	before, win := s.p.Before(began, afterFault, pauses.Everywhere), s.p.Window(began, length, pauses.Everywhere)
	s.Logf("%s at %s: %s; reads %s, writes %s; before: %s, %s", what, began.Format("15:04:05.000"), length, win.Reads, win.Writes, before.Reads, before.Writes)
	*took = append(*took, length)
	*longest = append(*longest, max(win.Reads, win.Writes))
	*calm = append(*calm, max(before.Reads, before.Writes))
}

// settleWithout waits until every partition is led by somebody who is up.
func (s *scenario) settleWithout() {
	s.Helper()
	s.c.Eventually("every partition has a primary", func() bool { return s.c.Status().Partitions.Down == 0 })
}

// order gives an operator's command.
func (s *scenario) order(verb string, req subjects.AdminRequest) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var done subjects.AdminDone
	if err := s.c.Admin().Do(ctx, verb, req, &done); err != nil {
		s.Fatal(err)
	}
	s.Logf("%s: %s", verb, done.Text)
}

// fill stores keys that no prober touches.
func (s *scenario) fill(keys, size int) {
	s.Helper()
	o := loadgen.Defaults()
	l := s.c.Layout()
	o.Addr, o.Keys, o.Size, o.Connections, o.Time, o.Warmup = l.Addrs(subjects.RoleGateway)[0], keys, loadgen.Range{Min: size, Max: size}, 16, ms, 0
	began := time.Now()
	if _, err := loadgen.Run(context.Background(), o); err != nil {
		s.Fatal(err)
	}
	s.Logf("filled %d keys of %d bytes in %s", keys, size, time.Since(began).Round(ms))
}
