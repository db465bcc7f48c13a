package testenv_test

import (
	"fmt"
	"testing"

	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// What kumoctl up does: everything in one process, stopped in good order, and
// started again on the same folder.
func TestClusterInOneProcessKeepsItsData(t *testing.T) {
	dir := t.TempDir()
	in := func(o *local.Options) { o.Dir = dir }
	var before local.Layout
	t.Run("first", func(t *testing.T) {
		c := testenv.New(t, in)
		for i := range 100 {
			c.Set(fmt.Sprint("key-", i), fmt.Sprint("value-", i))
		}
		before = c.Layout()
	})
	t.Run("second", func(t *testing.T) {
		c := testenv.New(t, in)
		for i := range 100 {
			if v := c.Get(fmt.Sprint("key-", i)); v != fmt.Sprint("value-", i) {
				t.Errorf("key-%d is %q", i, v)
			}
		}
		c.EventuallyWhole()
		if st := c.Status(); st.Health != "ok" {
			t.Errorf("health %s: %v", st.Health, st.Alarms)
		}
		for i, n := range c.Layout().Nodes {
			if n.Role != subjects.RoleGateway && n != before.Nodes[i] {
				t.Errorf("%v was %v", n, before.Nodes[i])
			}
		}
	})
}

// One and two servers work, with as many copies; a third fills them up.
func TestSmallClusterGrows(t *testing.T) {
	c := testenv.New(t, testenv.Servers(1))
	for i := range 50 {
		c.Set(fmt.Sprint("key-", i), "one")
	}
	for range 2 {
		name := c.AddServer()
		c.EventuallyState(name, "new")
		c.Attach()
		c.EventuallyState(name, "up")
	}
	c.EventuallyWhole()
	for _, n := range c.Status().Nodes {
		if n.Role == subjects.RoleServer && n.Replica != c.Status().Partitions.Total {
			t.Errorf("%s holds %d partitions", n.Name, n.Replica)
		}
	}
	c.Stop("server1")
	for i := range 50 {
		if v := c.Get(fmt.Sprint("key-", i)); v != "one" {
			t.Errorf("key-%d is %q", i, v)
		}
	}
}
