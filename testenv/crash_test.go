package testenv_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// filled is how many values there are to copy, where that matters.
const filled = 3000

// One of three servers is killed, then a second, under load; then both return
// with their old folders.
func TestTwoOfThreeServersKilled(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()

	c.Kill("server1")
	load.GoesOn()
	c.EventuallyState("server1", "down")
	c.Eventually("two copies of everything are left", func() bool {
		p := c.Status().Partitions
		return p.Degraded == p.Total && p.Lone == 0 && p.Down == 0
	})

	c.Kill("server2")
	load.GoesOn()
	c.EventuallyState("server2", "down")
	c.Eventually("one copy of everything is left", func() bool {
		p := c.Status().Partitions
		return p.Lone == p.Total && p.Down == 0
	})
	if st := c.Status(); len(st.Alarms) == 0 || st.Health != "degraded" {
		t.Errorf("health %s without an alarm: %v", st.Health, st.Alarms)
	}

	c.Start("server1")
	c.EventuallyState("server1", "up")
	c.Start("server2")
	c.EventuallyState("server2", "up")
	c.EventuallyWhole()
	load.GoesOn()
	load.Stop()
	load.NoErrors()
	load.Verify()

	// What came back holds the data itself: it alone serves in the end.
	c.Kill("server3")
	c.EventuallyState("server3", "down")
	load.Verify()
	c.Kill("server2")
	c.EventuallyState("server2", "down")
	load.Verify()
}

// With two managers, one of them and a server may be lost together.
func TestManagerAndServerKilledTogether(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.New(t, testenv.Processes(), testenv.Managers(2))
	c.Eventually("three servers vote beside the managers", func() bool { return len(c.Status().Voters) == 5 })
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	for _, pair := range [][]string{{"manager1", "server1"}, {"manager2", "server2"}} {
		c.Kill(pair...)
		load.GoesOn()
		c.EventuallyState(pair[1], "down")
		c.Eventually("every partition is led", func() bool { return c.Status().Partitions.Down == 0 })
		load.GoesOn()
		c.Start(pair...)
		c.EventuallyState(pair[0], "up")
		c.EventuallyState(pair[1], "up")
		c.EventuallyWhole()
	}
	load.Stop()
	load.NoErrors()
	load.Verify()
}

// Every process is killed at once; they return in any order, and nobody has to
// do anything.
func TestAllKilledAtOnce(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	var nodes []string
	for _, role := range []subjects.Role{subjects.RoleManager, subjects.RoleServer, subjects.RoleGateway} {
		nodes = append(nodes, c.Names(role)...)
	}
	for round := range 3 {
		load := c.Load()
		load.GoesOn()
		c.Kill(nodes...)
		load.Stop()
		rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		t.Logf("round %d: they return in the order %v", round, nodes)
		c.Start(nodes...)
		c.Ready()
		load.Verify()
		c.EventuallyWhole()
	}
}

// A fourth server joins under load: data moves to it, and clients do not notice.
func TestFourthServerJoinsUnderLoad(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.Fill(filled)
	load := c.Load()
	load.GoesOn()

	name := c.AddServer()
	c.EventuallyState(name, "new")
	load.GoesOn()
	c.Attach()
	c.Eventually("the fourth server holds its share", func() bool {
		st := c.Status()
		for _, n := range st.Nodes {
			if n.Addr == c.Addr(name) {
				return n.State == "up" && n.Replica == st.Partitions.Total*st.Replicas/4 && st.Moves.Pending == 0
			}
		}
		return false
	})
	c.EventuallyWhole()
	load.GoesOn()
	load.Stop()
	load.NoErrors()
	load.Verify()
	c.VerifyFill(filled)
}

// A server that is killed while data moves to it, or from it, goes on where it
// was.
func TestServersKilledWhileDataMoves(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.Fill(filled)
	load := c.Load()
	load.GoesOn()
	name := c.AddServer()
	c.EventuallyState(name, "new")
	c.Attach()
	c.Kill(name)
	c.Start(name)
	c.Kill("server2")
	load.GoesOn()
	c.Start("server2")
	c.EventuallyWhole()
	load.Stop()
	load.NoErrors()
	load.Verify()
	c.VerifyFill(filled)
}

// A gateway that starts while all managers are down finds the ring at a server.
func TestGatewayStartsWithoutManagers(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes(), testenv.Gateways(2))
	for i := range 20 {
		c.Set(fmt.Sprint("key-", i), fmt.Sprint("value-", i))
	}
	c.Kill("manager1", "gateway2")
	c.Start("gateway2")
	m := c.Client(1)
	for i := range 20 {
		if v, err := m.Get(fmt.Sprint("key-", i)); err != nil || v != fmt.Sprint("value-", i) {
			t.Fatalf("key-%d: %q, %v", i, v, err)
		}
	}
	if err := m.Set("key-0", "written without a manager"); err != nil {
		t.Fatal(err)
	}
	c.Start("manager1")
	c.EventuallyState("manager1", "up")
	c.EventuallyWhole()
}

// Status tells each node's state at each step of its life.
func TestStatusFollowsAServer(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.EventuallyWhole()
	c.Eventually("five nodes are up and all is well", func() bool {
		st := c.Status()
		roles := map[subjects.Role]int{}
		for _, n := range st.Nodes {
			if n.State == "up" {
				roles[n.Role]++
			}
		}
		return st.Health == "ok" && len(st.Alarms) == 0 &&
			roles[subjects.RoleManager] == 1 && roles[subjects.RoleServer] == 3 && roles[subjects.RoleGateway] == 1
	})
	c.Set("k", "v")
	primary := c.PrimaryOf("k")
	c.Kill(primary)
	c.Eventually("k is readable", func() bool { return c.Get("k") == "v" })
	c.EventuallyState(primary, "down")
	if next := c.PrimaryOf("k"); next == primary || !slices.Contains(c.Names(subjects.RoleServer), next) {
		t.Errorf("%s leads after %s", next, primary)
	}
	c.Start(primary)
	c.EventuallyState(primary, "up")
	c.EventuallyWhole()
	if v := c.Get("k"); v != "v" {
		t.Errorf("k is %q", v)
	}
}

// A server that hangs is taken for dead, and is one more copy once it goes on.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	c.Pause("server2")
	c.EventuallyState("server2", "down")
	load.GoesOn()
	c.Resume("server2")
	c.EventuallyState("server2", "up")
	c.EventuallyWhole()
	load.GoesOn()
	load.Stop()
	load.NoErrors()
	load.Verify()
}
