package testenv_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumomanager"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

// A server whose files were damaged says so, comes back without being asked,
// and in the end holds everything: it alone serves then.
func TestDamagedFilesAreGivenBack(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.Fill(filled / 6)
	c.EventuallyWhole()
	for _, damage := range []struct {
		name, says string
		do         func(dir string) error
		running    bool
	}{
		{"the log's tail is damaged", "is cut at byte", flipLogTail, false},
		{"the data file is cut", "was set aside as data.db.damaged-1", cutData, false},
		{"the data file is overwritten under a server that runs", "was set aside as data.db.damaged-2", overwriteData, true},
	} {
		t.Log(damage.name)
		load := c.Load()
		load.GoesOn()
		pid, boot := c.PID("server1"), bootOf(c, "server1")
		c.Eventually("the data file holds what was filled in", func() bool {
			return nodeOf(c, "server1").Load.Items >= filled/6
		})
		if !damage.running {
			c.Kill("server1")
			c.EventuallyState("server1", "down")
		}
		if err := damage.do(filepath.Join(c.Dir(), "server1")); err != nil {
			t.Fatal(err)
		}
		if !damage.running {
			c.Start("server1")
		}
		c.Eventually("the log says "+damage.says, func() bool {
			text, _ := os.ReadFile(filepath.Join(c.Dir(), "server1.log"))
			return bytes.Contains(text, []byte(damage.says))
		})
		c.Eventually("server1 has begun anew", func() bool { return bootOf(c, "server1") != boot })
		c.EventuallyState("server1", "up")
		c.EventuallyWhole()
		load.GoesOn()
		load.Stop()
		if damage.running && c.PID("server1") != pid {
			t.Errorf("process %d is now %d", pid, c.PID("server1"))
		}
		c.Kill("server2")
		c.EventuallyState("server2", "down")
		c.Kill("server3")
		c.EventuallyState("server3", "down")
		load.Verify()
		c.VerifyFill(filled / 6)
		c.Start("server2", "server3")
		c.EventuallyState("server3", "up")
		c.EventuallyWhole()
	}
}

// nodeOf is what the status knows of a node.
func nodeOf(c *testenv.Cluster, name string) subjects.NodeStatus {
	for _, n := range c.Status().Nodes {
		if n.Addr == c.Addr(name) {
			return n
		}
	}
	return subjects.NodeStatus{}
}

func bootOf(c *testenv.Cluster, name string) ring.BootID { return nodeOf(c, name).Boot }

// flipLogTail changes one byte near the end of what the newest segment holds.
func flipLogTail(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "log", "*.wal"))
	if err != nil {
		return err
	}
	slices.Sort(paths)
	slices.Reverse(paths)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		used := len(bytes.TrimRight(b, "\x00"))
		if used < 1000 {
			continue // made in advance
		}
		b[used-300] ^= 0x10
		return os.WriteFile(path, b, 0o600)
	}
	return os.ErrNotExist
}

// cutData leaves the first pages. (Most of a small file is room to grow into.)
func cutData(dir string) error { return os.Truncate(filepath.Join(dir, "data.db"), 64<<10) }

// overwriteData leaves nothing of the data file but its first two pages.
func overwriteData(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "data.db"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = f.WriteAt(bytes.Repeat([]byte("rubbish"), int(fi.Size()-8192)/7), 8192)
	return err
}

// A server whose vote among two managers was damaged holds its data as before, and
// says that it does not vote; one voter of the five may be lost besides. A manager
// whose log was damaged does not start, says so, and comes back with an empty folder.
func TestDamagedVotes(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.New(t, testenv.Processes(), testenv.Managers(2), testenv.Servers(4))
	c.Eventually("three servers vote beside the managers", func() bool { return len(c.Status().Voters) == 5 })
	node := func(name string) subjects.NodeStatus {
		nodes := c.Status().Nodes
		i := slices.IndexFunc(nodes, func(n subjects.NodeStatus) bool { return n.Role == subjects.RoleServer && n.Addr == c.Addr(name) })
		if i < 0 {
			t.Fatalf("no %s in %+v", name, nodes)
		}
		return nodes[i]
	}
	votes := func(name string) bool {
		return slices.Contains(c.Status().Voters, kumomanager.WitnessID(node(name).ID))
	}
	damaged := "server1"
	if !votes(damaged) {
		damaged = "server2"
	}
	c.Fill(filled / 60)
	c.EventuallyWhole()
	damage := func(path string) { // whichever of its pages are in use
		b, err := os.ReadFile(path)
		for i := 2 * os.Getpagesize(); i < len(b); i += 97 {
			b[i] ^= 1 << (i % 8)
		}
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.Kill(damaged)
	c.EventuallyState(damaged, "down")
	damage(filepath.Join(c.Folder(damaged), "witness", "raft.db"))
	c.Start(damaged)
	c.EventuallyState(damaged, "up")
	c.EventuallyWhole()
	if !strings.Contains(c.LogOf(damaged), "this server does not vote among the managers") {
		t.Error("it does not say that it has no vote")
	}
	c.Eventually("the managers know, and have another vote", func() bool {
		return node(damaged).Disk.NoVote && !votes(damaged) && len(c.Status().Voters) == 5
	})
	load := c.Load()
	load.GoesOn()
	c.Kill("manager1")
	load.GoesOn()
	c.Eventually("the other manager leads", func() bool {
		return slices.ContainsFunc(c.Status().Nodes, func(n subjects.NodeStatus) bool { return n.Leader && n.Addr == c.Addr("manager2") })
	})
	c.Start("manager1")
	c.EventuallyState("manager1", "up")

	c.Kill("manager2")
	damage(filepath.Join(c.Folder("manager2"), "raft.db"))
	c.Start("manager2")
	select {
	case <-c.Ended("manager2"):
		c.Forget("manager2")
	case <-time.After(testenv.Patience):
		t.Fatal("a manager has begun with half a log")
	}
	if !strings.Contains(c.LogOf("manager2"), "log is damaged") {
		t.Error("it does not say why it ended")
	}
	if err := os.RemoveAll(c.Folder("manager2")); err != nil {
		t.Fatal(err)
	}
	c.Start("manager2")
	c.EventuallyState("manager2", "up")
	load.GoesOn()
	load.Stop()
	c.EventuallyWhole()
	c.VerifyFill(filled / 60)
}
