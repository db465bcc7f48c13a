package testenv_test

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// The only manager is replaced by two others while clients work: it is killed, and
// then a server is, which the new ones fail over. Those that run need not be told
// of them; who starts does.
func TestManagersAreReplaced(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes(), testenv.Partitions(8))
	load := c.Load()
	load.GoesOn()
	old := c.Addr("manager1")
	host, _, err := net.SplitHostPort(old)
	if err != nil {
		t.Fatal(err)
	}
	change := func(req subjects.ManagerRequest) {
		t.Helper()
		var last error
		c.Eventually("the managers have changed", func() bool {
			last = c.Admin().Do(t.Context(), subjects.AdminManager, req, nil)
			return last == nil
		})
	}
	var fresh, addrs []string
	for _, port := range []string{"19680", "19690"} {
		addr := net.JoinHostPort(host, port)
		join(t, addr, old)
		change(subjects.ManagerRequest{Add: addr})
		fresh, addrs = append(fresh, subjects.NodeName(addr)), append(addrs, addr)
	}
	load.GoesOn()
	c.Kill("manager1")
	c.Eventually("a new manager leads", func() bool { return slices.Contains(fresh, c.Status().Leader) })
	change(subjects.ManagerRequest{Remove: old})
	c.Kill("server2")
	c.EventuallyState("server2", "down")
	load.GoesOn()
	c.SetArgs(subjects.RoleServer, "-m", strings.Join(addrs, ","))
	c.Start("server2")
	c.EventuallyWhole()
	// The old one comes back, and is told that it was removed.
	c.Start("manager1")
	select {
	case <-c.Ended("manager1"):
	case <-time.After(testenv.Patience):
		t.Fatal("the manager that was removed goes on")
	}
	if log := c.LogOf("manager1"); !strings.Contains(log, "this manager was removed") {
		t.Errorf("it does not say why:\n%s", log)
	}
	c.Forget("manager1")
	load.GoesOn()
	load.Stop()
	load.NoErrors()
	load.Verify()
	st := c.Status()
	for _, v := range st.Voters {
		if v == subjects.NodeName(old) {
			t.Errorf("the voters are %v", st.Voters)
		}
	}
}

// join starts a manager that waits for its vote.
func join(t *testing.T, addr, partner string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := exec.Command(self, "daemon", "manager", "-l", addr, "-p", partner, "-s", t.TempDir(), "--join")
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = m.Process.Kill()
		_ = m.Wait()
	})
}
