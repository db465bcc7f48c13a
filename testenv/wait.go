package testenv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const pollEvery = 20 * time.Millisecond

// Eventually waits until what is true.
func (c *Cluster) Eventually(what string, is func() bool) {
	c.t.Helper()
	began := time.Now()
	c.until(what, is)
	c.t.Logf("after %s: %s", time.Since(began).Round(time.Millisecond), what)
}

// until is Eventually without a word.
func (c *Cluster) until(what string, is func() bool) {
	c.t.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	began := time.Now()
	for !is() {
		if time.Since(began) > Patience {
			c.t.Fatalf("not within %s: %s", Patience, what)
		}
		<-tick.C
	}
}

// Status asks the leader.
func (c *Cluster) Status() *subjects.ClusterStatus {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	st, err := c.Admin().Status(ctx)
	c.must(err)
	return st
}

// Table is the partition table.
func (c *Cluster) Table() *ring.Table {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	t, err := c.Admin().Table(ctx)
	c.must(err)
	return t
}

// PrimaryOf names the node that leads the partition of a key.
func (c *Cluster) PrimaryOf(key string) string {
	c.t.Helper()
	t := c.Table()
	n, ok := t.Primary(t.Of([]byte(key)))
	if !ok {
		c.t.Fatalf("partition %d has no primary", t.Of([]byte(key)))
	}
	return c.nameOf(n.Addr)
}

// Leader names the manager that leads.
func (c *Cluster) Leader() string {
	c.t.Helper()
	for _, n := range c.Status().Nodes {
		if n.Role == subjects.RoleManager && n.Leader {
			return c.nameOf(n.Addr)
		}
	}
	c.t.Fatal("no manager leads")
	return ""
}

func (c *Cluster) nameOf(addr string) string {
	for _, n := range c.Layout().Nodes {
		if n.Addr == addr {
			return n.Name
		}
	}
	c.t.Fatalf("no node at %s", addr)
	return ""
}

// State is what the status says of a node: up, down, new, joining, leaving, or
// "" if it is not there.
func (c *Cluster) State(name string) string {
	c.t.Helper()
	return stateOf(c.Status(), c.Addr(name))
}

func stateOf(st *subjects.ClusterStatus, addr string) string {
	for _, n := range st.Nodes {
		if n.Addr == addr {
			return n.State
		}
	}
	return ""
}

// Addr is where a node listens, host:port.
func (c *Cluster) Addr(name string) string {
	c.t.Helper()
	for _, n := range c.Layout().Nodes {
		if n.Name == name {
			return n.Addr
		}
	}
	c.t.Fatalf("no node is called %s", name)
	return ""
}

// EventuallyState waits until the status says so of a node.
func (c *Cluster) EventuallyState(name, state string) {
	c.t.Helper()
	c.Eventually(name+" is "+state, func() bool { return c.State(name) == state })
}

// EventuallyWhole waits until every partition has all its copies in sync and
// nothing is left to move.
func (c *Cluster) EventuallyWhole() {
	c.t.Helper()
	c.Eventually("all copies are in sync", func() bool {
		st := c.Status()
		return st.Partitions.Total > 0 && st.Partitions.Full == st.Partitions.Total && st.Moves.Pending == 0
	})
}

// dump shows the state of a cluster whose test fails.
func (c *Cluster) dump() {
	ctx, cancel := c.context()
	defer cancel()
	if st, err := c.Admin().Status(ctx); err != nil {
		c.t.Logf("status: %v", err)
	} else if text, err := json.MarshalIndent(st, "", " "); err == nil {
		c.t.Logf("status: %s", text)
	}
	for name, err := range c.Failed() {
		c.t.Logf("%s ended: %v", name, err)
	}
	for _, path := range c.logs() {
		c.t.Logf("end of %s:\n%s", filepath.Base(path), tail(path, 40))
	}
}

// checkLogs fails the test for what must not be in a log.
func (c *Cluster) checkLogs() {
	for _, path := range c.logs() {
		data, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.t.Errorf("read the log: %v", err)
		}
		for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if at := bytes.Index(data, []byte(bad)); at >= 0 {
				c.t.Errorf("%s: %s", filepath.Base(path), data[at:min(len(data), at+4000)])
			}
		}
	}
}

// LogOf is what a process has logged so far.
func (c *Cluster) LogOf(name string) string {
	c.t.Helper()
	log, err := os.ReadFile(filepath.Join(c.Dir(), name+".log"))
	c.must(err)
	return string(log)
}

func (c *Cluster) logs() []string {
	paths := []string{c.log.Name()}
	for _, n := range c.Layout().Nodes {
		paths = append(paths, filepath.Join(c.Dir(), n.Name+".log"))
	}
	return paths
}

// tail returns the last lines of a log, without those of debugging.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprint(err)
	}
	all := slices.DeleteFunc(strings.Split(strings.TrimRight(string(data), "\n"), "\n"), func(line string) bool {
		return strings.Contains(line, "level=DEBUG")
	})
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Stat asks a node, by its name in subjects, for what it counts.
func (c *Cluster) Stat(node string, to any) {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	c.must(c.Admin().Node(ctx, node, subjects.NodeStat, nil, to))
}
