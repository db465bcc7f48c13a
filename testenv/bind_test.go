package testenv_test

import (
	"net"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// Servers whose ports are forwarded from the address that others see cannot be
// proved gone; a fail-over then waits for leases, and nothing is lost.
func TestServersBehindForwardedPorts(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.Open(t, testenv.Processes())
	// The same address, written otherwise, stands for one that is forwarded to.
	host, _, _ := net.SplitHostPort(c.Layout().Nodes[0].Addr)
	c.SetArgs(subjects.RoleServer, "--bind", "::ffff:"+host)
	c.Start("manager1", "server1", "server2", "server3", "gateway1")
	c.Ready()
	c.EventuallyWhole()
	for _, n := range c.Table().Nodes {
		if n.Proof != "" {
			t.Errorf("%s can be proved gone at %s", n.Name, n.Proof)
		}
		if _, port, err := net.SplitHostPort(n.Addr); err != nil || port == "0" {
			t.Errorf("%s is seen at %s", n.Name, n.Addr)
		}
	}
	load := c.Load()
	load.GoesOn()
	c.Kill("server1")
	load.GoesOn()
	c.Start("server1")
	c.EventuallyState("server1", "up")
	c.EventuallyWhole()
	load.Stop()
	load.NoErrors()
	load.Verify()
}

// An address of another machine is a clear error that says what helps.
func TestAddressOfAnotherMachine(t *testing.T) {
	t.Parallel()
	c := testenv.Open(t, testenv.Processes())
	c.SetArgs(subjects.RoleServer, "-l", "192.0.2.1:19801")
	c.Start("server1")
	<-c.Ended("server1")
	log := c.LogOf("server1")
	if !strings.Contains(log, "192.0.2.1") || !strings.Contains(log, "--bind") {
		t.Errorf("the log does not say what helps:\n%s", log)
	}
	c.SetArgs(subjects.RoleServer)
	c.Start("manager1", "server1")
}
