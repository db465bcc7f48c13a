package testenv_test

import (
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// However reads and fail-overs are set, a load sees no wrong value and no
// error through the loss of a server and its return.
func TestFailoverSettings(t *testing.T) {
	variation(t)
	t.Parallel()
	for _, args := range []string{"--read confirm", "--failover lease --lease 0.5", "--lease 3"} {
		t.Run(strings.ReplaceAll(args, " ", ""), func(t *testing.T) {
			t.Parallel()
			c := testenv.New(t, testenv.Processes(), testenv.Args(subjects.RoleServer, strings.Fields(args)...))
			c.EventuallyWhole()
			load := c.Load()
			load.GoesOn()
			c.Kill("server1")
			load.GoesOn()
			c.EventuallyState("server1", "down")
			c.Pause("server2")
			load.GoesOn()
			c.Resume("server2")
			c.Start("server1")
			c.EventuallyState("server1", "up")
			c.EventuallyWhole()
			load.GoesOn()
			load.Stop()
			load.NoErrors()
			load.Verify()
		})
	}
}

// Servers that are set differently hold to the shorter lease, and one that is
// set to a shorter one waits for what it granted as the process that it was.
func TestServersWithDifferentLeases(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.Open(t, testenv.Processes(), testenv.Args(subjects.RoleServer, "--lease", "3"))
	c.Start("manager1", "server1", "server2", "server3", "gateway1")
	c.Ready()
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	c.SetArgs(subjects.RoleServer, "--lease", "0.3")
	for _, name := range c.Names(subjects.RoleServer) {
		c.Kill(name)
		load.GoesOn()
		c.Start(name)
		c.EventuallyState(name, "up")
		c.EventuallyWhole()
		load.GoesOn()
	}
	load.Stop()
	load.NoErrors()
	load.Verify()
}
