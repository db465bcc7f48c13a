package testenv_test

import (
	"slices"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

// Copies are on their way, slowly, when the manager that leads is killed, and
// then both ends of one of them: they go on until all is where it should be. Then
// a server is emptied and stopped. Clients notice none of it.
func TestMovesResume(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes(), testenv.Managers(3), testenv.Partitions(8))
	const fill = 4000 // more than an empty copy takes from the log
	c.Fill(fill)
	load := c.Load()
	set := func(s ring.Settings) {
		t.Helper()
		if err := c.Admin().Do(t.Context(), subjects.AdminSet, s, nil); err != nil {
			t.Fatal(err)
		}
	}
	slow, fast := int64(ring.MinMoveRate), int64(0)
	set(ring.Settings{MoveRate: &slow})
	fresh := c.AddServer()
	c.EventuallyState(fresh, "new")
	c.Attach()
	var move subjects.Move
	c.Eventually("bytes are under way, and it is known for how long", func() bool {
		st := c.Status()
		i := slices.IndexFunc(st.Moves.Copies, func(m subjects.Move) bool { return m.Of > 0 })
		if i >= 0 {
			move = st.Moves.Copies[i]
		}
		return i >= 0 && st.Moves.Rate > 0 && st.Moves.Left > 0 && st.Moves.Bytes > 0
	})
	leader := c.Leader()
	c.Kill(leader)
	c.Eventually("another manager tells of moves", func() bool { return c.Leader() != leader })
	var ends []string
	for _, n := range c.Status().Nodes {
		if n.Name == move.From || n.Name == move.To {
			ends = append(ends, nodeAt(c, n.Addr))
		}
	}
	if len(ends) != 2 {
		t.Fatalf("the ends of %+v are %v", move, ends)
	}
	c.Kill(ends...)
	c.Start(ends...)
	c.Start(leader)
	for _, name := range ends {
		c.Eventually(name+" is up", func() bool { return c.State(name) != "down" })
	}
	t.Logf("%+v to go", c.Status().Moves)
	set(ring.Settings{MoveRate: &fast})
	settled := func() bool {
		st := c.Status()
		return st.Moves.Settled() && st.Moves.Held == 0 && st.Partitions.Full == st.Partitions.Total
	}
	c.Eventually("all copies are where they should be", settled)
	c.EventuallyState(fresh, "up")

	if err := c.Admin().Do(t.Context(), subjects.AdminDrain, subjects.AdminRequest{Nodes: []string{c.Addr("server1")}}, nil); err != nil {
		t.Fatal(err)
	}
	c.Eventually("all copies are elsewhere", settled)
	c.EventuallyState("server1", "drained")
	load.GoesOn()
	c.Stop("server1")
	load.GoesOn()
	load.Stop()
	load.NoErrors()
	load.Verify()
	c.VerifyFill(fill)
}

func nodeAt(c *testenv.Cluster, addr string) string {
	for _, n := range c.Layout().Nodes {
		if n.Addr == addr {
			return n.Name
		}
	}
	return ""
}
