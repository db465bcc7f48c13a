package testenv_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// Whatever is lost of a stopped server's folder, the server comes back by itself
// and in the end holds everything: it alone serves then.
func TestLostFolderIsGivenBack(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.New(t, testenv.Processes(), testenv.Partitions(8))
	c.Fill(filled / 6)
	c.EventuallyWhole()
	folder := c.Folder("server1")
	remove := func(names ...string) {
		for _, name := range names {
			if err := os.RemoveAll(filepath.Join(folder, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	backup := filepath.Join(t.TempDir(), "backup")
	for _, loss := range []struct {
		what   string
		happen func()
	}{
		{"nothing", func() {}},
		{"the data file", func() { remove("data.db") }},
		{"the log", func() { remove("log") }},
		{"the newest segment that was begun", func() {
			for _, path := range slices.Backward(c.LogSegments("server1")) {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if len(strings.TrimRight(string(b), "\x00")) > 0 {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
					return
				}
			}
		}},
		{"the note of the run", func() { remove("run.json") }},
		{"data file and log", func() { remove("data.db", "log") }},
		{"data file and note", func() { remove("data.db", "run.json") }},
		{"log and note", func() { remove("log", "run.json") }},
		{"all but the identity", func() { remove("data.db", "log", "run.json", "LOCK", "witness") }},
		{"an old state of the folder was put back", func() {
			remove("")
			if err := os.CopyFS(folder, os.DirFS(backup)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		for _, how := range []string{"killed", "stopped"} {
			t.Logf("%s, %s", loss.what, how)
			load := c.Load()
			load.GoesOn()
			if how == "killed" {
				c.Kill("server1")
			} else {
				c.Stop("server1")
			}
			c.EventuallyState("server1", "down")
			if loss.what == "nothing" && how == "stopped" {
				if err := os.CopyFS(backup, os.DirFS(folder)); err != nil {
					t.Fatal(err)
				}
			}
			loss.happen()
			c.Start("server1")
			c.EventuallyState("server1", "up")
			c.EventuallyWhole()
			load.GoesOn()
			load.Stop()
			c.Kill("server2", "server3")
			c.EventuallyState("server2", "down")
			c.EventuallyState("server3", "down")
			load.Verify()
			c.VerifyFill(filled / 6)
			c.Start("server2", "server3")
			c.EventuallyState("server2", "up")
			c.EventuallyState("server3", "up")
			c.EventuallyWhole()
		}
	}
}

// One server's folder is an older state of itself when all start again, and so
// counts as in sync: it gives its leads up instead of making what it holds the
// truth.
func TestOldFolderIsNotTheTruth(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Processes(), testenv.Partitions(8))
	c.EventuallyWhole()
	for i := range 50 {
		c.Set(fmt.Sprint("k", i), "old")
	}
	c.Stop("server1")
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(c.Folder("server1"))); err != nil {
		t.Fatal(err)
	}
	c.Start("server1")
	c.EventuallyState("server1", "up")
	c.EventuallyWhole()
	for i := range 50 {
		c.Set(fmt.Sprint("k", i), "new")
	}
	c.Eventually("server1 leads something", func() bool { return leads(c, "server1") > 0 })
	c.Eventually("all is in the data files", func() bool {
		for _, s := range c.Names(subjects.RoleServer) {
			if n := unapplied(c, s); n > 0 {
				return false
			}
		}
		return true
	})
	servers := c.Names(subjects.RoleServer)
	c.Kill(append(servers, "manager1")...)
	if err := os.RemoveAll(c.Folder("server1")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(c.Folder("server1"), os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	c.Start(append(servers, "manager1")...)
	c.Ready()
	c.EventuallyWhole()
	for i := range 50 {
		if v := c.Get(fmt.Sprint("k", i)); v != "new" {
			t.Errorf("k%d is %q", i, v)
		}
	}
}

// unapplied is how many entries of a server's log its data file lacks.
func unapplied(c *testenv.Cluster, name string) uint64 {
	for _, n := range c.Status().Nodes {
		if n.Addr == c.Addr(name) {
			return n.Load.Unapplied
		}
	}
	return 1
}
