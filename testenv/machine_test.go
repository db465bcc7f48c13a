package testenv_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

var servers = []string{"server1", "server2", "server3"}

// serverStat is some of what a server counts.
type serverStat struct {
	Moved float64 `json:"moved_bytes"` // to learners
	Store struct {
		Unclean int // copies that may lack what they acknowledged
	}
}

func stat(c *testenv.Cluster, name string) (st serverStat) {
	c.Stat(subjects.NodeName(c.Addr(name)), &st)
	return st
}

func unclean(c *testenv.Cluster, name string) int { return stat(c, name).Store.Unclean }

// One machine dies under load and forgets what it had not synced: it leads
// nothing before it was taken out and has caught up, and nothing is lost. It
// catches up from the log; its data is not copied again.
func TestMachineOfOneServerDies(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.Fill(1000)
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	moved := stat(c, "server2").Moved + stat(c, "server3").Moved
	c.Kill("server1")
	c.LoseMachine("server1", 8<<10)
	c.Start("server1")
	c.EventuallyState("server1", "up")
	c.EventuallyWhole()
	c.Eventually("all copies are clean", func() bool { return unclean(c, "server1") == 0 })
	load.GoesOn()
	load.Stop()
	load.NoErrors()
	load.Verify()
	if st := c.Status(); st.Partitions.Loss > 0 {
		t.Errorf("possible loss is reported: %+v", st.Partitions)
	}
	if now := stat(c, "server2").Moved + stat(c, "server3").Moved; now-moved > 1000*1024/10 {
		t.Errorf("%.0f bytes were copied anew", now-moved)
	}

	// It is clean for good: now it alone has all there is.
	c.Kill("server2", "server3")
	load.Verify()
	c.VerifyFill(1000)
}

// All machines die at once, and each forgets something else: the longest log of
// each partition leads, without a command, and possible loss is reported. Who
// restarts later is clean.
func TestAllMachinesDieAtOnce(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.Fill(300)
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	c.Kill("manager1", "server1", "server2", "server3") // the manager, too: it sees nobody die before another
	load.Stop()
	for i, s := range servers {
		c.LoseMachine(s, (i+1)*4<<10)
	}
	c.Start("manager1", "server1", "server2")
	c.Eventually("two of three may not lead, and say so", func() bool {
		st := c.Status()
		return c.State("server1") != "down" && c.State("server2") != "down" &&
			st.Partitions.Down == st.Partitions.Total && len(st.Stuck) == st.Partitions.Total &&
			strings.Contains(strings.Join(st.Alarms, "\n"), "kumoctl recover")
	})
	c.Start("server3")
	c.Eventually("all serve", func() bool { return c.Status().Partitions.Down == 0 })
	c.EventuallyWhole()
	c.VerifyFill(300) // had been on the disks for long
	st := c.Status()
	if st.Partitions.Loss != st.Partitions.Total || !strings.Contains(strings.Join(st.Alarms, "\n"), "may be lost") {
		t.Errorf("possible loss is not reported: %+v %v", st.Partitions, st.Alarms)
	}
	for _, s := range servers {
		if n := unclean(c, s); n > 0 {
			t.Errorf("%d copies of %s are unclean", n, s)
		}
	}
	lossAt := map[int]ring.Epoch{}
	for p, cfg := range c.Table().Partitions {
		lossAt[p] = cfg.LossAt
	}
	before := map[string]ring.BootID{}
	for _, s := range servers {
		before[s] = bootOf(c, s)
	}
	c.Kill("server1", "server2", "server3")
	c.Start("server1", "server2", "server3")
	c.Eventually("all serve, as other processes", func() bool {
		for _, s := range servers {
			if bootOf(c, s) == before[s] {
				return false
			}
		}
		return c.Status().Partitions.Down == 0
	})
	c.VerifyFill(300)
	for p, cfg := range c.Table().Partitions {
		if cfg.LossAt != lossAt[p] {
			t.Errorf("partition %d was forced again: %+v", p, cfg)
		}
	}
}

// All machines die, and one stays away. Its partitions wait; an operator gives
// one of them up. When it is back after all, it takes over what was decided, and
// leads the others.
func TestOneOfAllMachinesStaysAway(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.Fill(300)
	c.EventuallyWhole()
	c.Kill("manager1", "server1", "server2", "server3")
	for _, s := range servers {
		c.LoseMachine(s, 0)
	}
	c.Start("manager1", "server1", "server2")
	c.Eventually("two are up, and all wait", func() bool {
		st := c.Status()
		return c.State("server1") != "down" && c.State("server2") != "down" && len(st.Stuck) == st.Partitions.Total
	})
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()

	var done subjects.AdminDone
	req := subjects.RecoverRequest{Partition: 3}
	if err := c.Admin().Do(ctx, subjects.AdminRecover, req, &done); err != nil {
		t.Fatal(err)
	}
	if r := done.Recover; r == nil || r.Done || len(r.Missing) != 1 || len(r.Copies) != 2 || len(r.Loss) == 0 {
		t.Fatalf("%+v", done)
	}
	if c.Table().Partitions[3].Forced {
		t.Fatal("it was done although the loss was not accepted")
	}
	req.AcceptLoss, req.Epoch = true, done.Recover.Epoch
	for range 2 { // a repeat finds it done
		if err := c.Admin().Do(ctx, subjects.AdminRecover, req, &done); err != nil {
			t.Fatal(err)
		}
	}
	c.Eventually("the partition is led", func() bool {
		table := c.Table()
		return table.Alive(table.Partitions[3].Primary) && len(table.Partitions[3].ISR) == 2
	})
	if n := c.Status().Partitions; n.Down != n.Total-1 || n.Loss != 1 {
		t.Errorf("%+v", n)
	}
	err := c.Admin().Do(ctx, subjects.AdminRecover, subjects.RecoverRequest{Partition: 3}, &done)
	if !errors.Is(err, subjects.ErrRefused) || !strings.Contains(err.Error(), "leads it") {
		t.Errorf("a partition that is led can be recovered: %v", err)
	}

	c.Start("server3")
	c.Eventually("all serve", func() bool { return c.Status().Partitions.Down == 0 })
	c.EventuallyWhole()
	c.VerifyFill(300)
}
