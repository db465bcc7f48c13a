package testenv_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

// own gives a server's folder a file system of its own, or skips the test where
// that is not allowed. The returned function runs a command on it.
func own(t *testing.T, folder, kind string, megabytes int) (do func(words ...string)) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	do = func(words ...string) {
		t.Helper()
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", strings.Join(words, " "), err, out)
		}
	}
	try := func(words ...string) {
		t.Helper()
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Skipf("needs to mount a file system: %s: %v: %s", strings.Join(words, " "), err, out)
		}
	}
	if kind == "tmpfs" {
		try("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", megabytes), "none", folder)
		t.Cleanup(func() { do("umount", folder) })
	} else {
		image := filepath.Join(t.TempDir(), "image")
		try("truncate", "-s", fmt.Sprintf("%dM", megabytes), image)
		try("mkfs.ext4", "-q", image)
		try("mount", "-o", "loop", image, folder)
		t.Cleanup(func() { do("umount", folder) })
		try("fsfreeze", "-f", folder)
		do("fsfreeze", "-u", folder)
		if err := os.Remove(filepath.Join(folder, "lost+found")); err != nil {
			t.Fatal(err)
		}
	}
	return do
}

// diskOf is what the status knows of a server's disk.
func diskOf(c *testenv.Cluster, name string) subjects.Disk {
	for _, n := range c.Status().Nodes {
		if n.Addr == c.Addr(name) {
			return n.Disk
		}
	}
	return subjects.Disk{}
}

// leads counts the partitions that a server leads.
func leads(c *testenv.Cluster, name string) (n int) {
	t := c.Table()
	for p := range t.Partitions {
		if node, ok := t.Primary(ring.Partition(p)); ok && node.Addr == c.Addr(name) {
			n++
		}
	}
	return n
}

// The disk of one server fills up under load: it hands over what it leads, the
// others go on, what it has stays readable, and it is whole again when there is
// room.
func TestFullDisk(t *testing.T) {
	variation(t)
	t.Parallel()
	dir := t.TempDir()
	do := own(t, filepath.Join(dir, "server2"), "tmpfs", 200)
	c := testenv.New(t, testenv.Processes(), testenv.Folder(dir))
	c.Fill(300)
	load := c.Load()
	load.GoesOn()
	big, n := strings.Repeat("x", 500_000), 0
	for !diskOf(c, "server2").Full {
		if n++; n > 1000 {
			t.Fatal("the disk does not fill up")
		}
		c.Set(fmt.Sprint("big", n), big)
	}
	t.Logf("full after %d values", n)
	c.Eventually("it leads nothing", func() bool { return leads(c, "server2") == 0 })
	load.GoesOn()
	for i := range 10 {
		c.Set(fmt.Sprint("more", i), big)
	}
	c.VerifyFill(300)
	do("mount", "-o", "remount,size=1500m", filepath.Join(dir, "server2"))
	c.Eventually("there is room again", func() bool { return !diskOf(c, "server2").Full })
	c.EventuallyWhole()
	load.GoesOn()
	load.Stop()
	load.NoErrors()
	load.Verify()
	c.Kill("server1", "server3")
	c.VerifyFill(300)
	for i := range 10 {
		if c.Get(fmt.Sprint("more", i)) != big {
			t.Errorf("more%d is not what was stored", i)
		}
	}
}

// The disk of one server hangs under load: others take over within seconds, and
// nothing is lost when it works again.
func TestHungDisk(t *testing.T) {
	variation(t)
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "server2")
	do := own(t, folder, "ext4", 600)
	c := testenv.New(t, testenv.Processes(), testenv.Folder(dir))
	c.Fill(300)
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	frozen := true
	do("fsfreeze", "-f", folder)
	thaw := func() {
		if frozen {
			frozen = false
			do("fsfreeze", "-u", folder)
		}
	}
	t.Cleanup(thaw)
	c.Eventually("it leads nothing", func() bool { return leads(c, "server2") == 0 })
	c.Eventually("status says so", func() bool { return diskOf(c, "server2").Stuck })
	load.GoesOn()
	c.VerifyFill(300)
	thaw()
	c.Eventually("it works again", func() bool { return !diskOf(c, "server2").Stuck })
	c.EventuallyWhole()
	load.GoesOn()
	load.Stop()
	load.NoErrors()
	load.Verify()
	c.Kill("server1", "server3")
	c.VerifyFill(300)
}

// The disks of all servers hang together, as on one machine: nothing rests on the
// one that was noticed last, and the first that works again serves what it has in
// sync.
func TestAllDisksHangTogether(t *testing.T) {
	variation(t)
	t.Parallel()
	dir := t.TempDir()
	servers := []string{"server1", "server2", "server3"}
	var do func(...string)
	folder := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range servers {
		do = own(t, folder(name), "ext4", 600)
	}
	frozen := map[string]bool{}
	thaw := func(name string) {
		if frozen[name] {
			frozen[name] = false
			do("fsfreeze", "-u", folder(name))
		}
	}
	c := testenv.New(t, testenv.Processes(), testenv.Folder(dir))
	t.Cleanup(func() {
		for _, name := range servers {
			thaw(name)
		}
	})
	c.Fill(300)
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	for _, name := range servers {
		do("fsfreeze", "-f", folder(name))
		frozen[name] = true
	}
	for _, name := range servers {
		c.Eventually(name+" says so", func() bool { return diskOf(c, name).Stuck })
	}
	for _, p := range c.Table().Partitions {
		if len(p.ISR) < 2 {
			t.Fatalf("a partition rests on one server: %+v", p)
		}
	}
	last := servers[0]
	for _, name := range servers {
		if leads(c, name) > leads(c, last) {
			last = name
		}
	}
	for _, name := range servers {
		if name != last {
			thaw(name)
		}
	}
	load.GoesOn()
	thaw(last)
	c.EventuallyWhole()
	load.Stop()
	load.NoErrors()
	load.Verify()
	c.Kill("server1", "server3")
	c.VerifyFill(300)
}

// All servers are on one disk, which hangs for a second, again and again: clients
// wait for it, and that is all that they notice. The log tells how many partitions
// changed: leads may move to a server that had nothing to write and could not tell.
func TestSharedDiskHangs(t *testing.T) {
	variation(t)
	t.Parallel()
	dir := t.TempDir()
	shared := filepath.Join(dir, "shared")
	do := own(t, shared, "ext4", 1200)
	servers := []string{"server1", "server2", "server3"}
	for _, name := range servers {
		if err := os.Mkdir(filepath.Join(shared, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(shared, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	frozen := false
	thaw := func() {
		if frozen {
			frozen = false
			do("fsfreeze", "-u", shared)
		}
	}
	c := testenv.New(t, testenv.Processes(), testenv.Folder(dir))
	t.Cleanup(thaw)
	c.Fill(300)
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	for range 2 {
		before, changed := c.Table(), 0
		do("fsfreeze", "-f", shared)
		frozen = true
		for _, name := range servers {
			c.Eventually(name+" says so", func() bool { return diskOf(c, name).Stuck })
		}
		thaw()
		for _, name := range servers {
			c.Eventually(name+" works again", func() bool { return !diskOf(c, name).Stuck })
		}
		load.GoesOn()
		for p, now := range c.Table().Partitions {
			if now.Epoch != before.Partitions[p].Epoch {
				changed++
			}
		}
		t.Logf("%d of %d partitions changed", changed, len(before.Partitions))
	}
	c.EventuallyWhole()
	load.Stop()
	load.NoErrors()
	load.Verify()
	c.VerifyFill(300)
}
