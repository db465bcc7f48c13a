package main

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// falsify changes a value in each partition of a server that does not run, in a way
// that no checksum shows, and returns how many those are.
func falsify(t *testing.T, dir string) int {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, "data.db"), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	changed := map[ring.Partition]bool{}
	err = db.Update(func(tx *bbolt.Tx) error {
		data := tx.Bucket([]byte("data"))
		c := data.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			p := ring.Partition(binary.BigEndian.Uint16(k))
			if changed[p] || !strings.HasPrefix(string(k[3:]), "key-") || len(v) < 41 {
				continue
			}
			changed[p] = true
			k, v = append([]byte{}, k...), append([]byte{}, v...)
			v[40] ^= 1 // the value's first byte; the checksum is over key and the rest
			table := crc32.MakeTable(crc32.Castagnoli)
			binary.LittleEndian.PutUint32(v, crc32.Update(crc32.Checksum(k, table), table, v[4:]))
			if err := data.Put(k, v); err != nil {
				return err
			}
			c.Seek(k)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return len(changed)
}

func (c *testCluster) whole() {
	c.t.Helper()
	eventually(c.t, "every copy is in sync, and the servers share the lead", func() bool {
		var st subjects.ClusterStatus
		c.into(&st, "status")
		for _, n := range st.Nodes {
			if n.Role == subjects.RoleServer && (n.State != "up" || n.Primary == 0 || n.Disk.Damaged > 0) {
				return false
			}
		}
		return st.Health == "ok" && st.Moves.Pending+st.Moves.Active == 0 && st.Partitions.Full == st.Partitions.Total
	})
}

// applied waits until all three servers have so many items in their files.
func (c *testCluster) applied(items int) {
	c.t.Helper()
	eventually(c.t, "the servers have all in their files", func() bool {
		var st []nodeStats
		c.into(&st, "stat")
		ready := 0
		for _, n := range st {
			if n.Stats["items"] == float64(items) && n.Stats["unapplied"] == float64(0) {
				ready++
			}
		}
		return ready == 3
	})
}

// A server's copies are other than the others', and no checksum shows it. Repair
// finds each of them under load, those that lead and those that do not, and has them
// made anew; then that server alone has what it should.
func TestRepair(t *testing.T) {
	c := newTestCluster(t, func(o *local.Options) {})
	list := items(1000, int32(time.Now().Unix())+100*24*3600)
	c.set(list...)
	c.whole()
	var done repairDone
	c.into(&done, "repair")
	if done.Partitions != 16 || len(done.Differed) != 0 || done.Records != int64(len(list)) {
		t.Errorf("%+v", done)
	}
	c.applied(len(list))
	if err := c.Stop("server2"); err != nil {
		t.Fatal(err)
	}
	if n := falsify(t, filepath.Join(c.Dir(), "server2")); n != 16 {
		t.Fatalf("values of %d partitions were changed", n)
	}
	if err := c.StartNode("server2"); err != nil {
		t.Fatal(err)
	}
	c.whole()
	load := count(t, c)
	out, errs := c.command(cli.ExitFailed, "repair", "--check")
	if strings.Count(out, "differs") != 16 || !strings.Contains(errs, "16 copies differ") {
		t.Errorf("%s%s", out, errs)
	}
	c.into(&done, "repair")
	l := c.Layout()
	server2 := subjects.NodeName(l.Addrs(subjects.RoleServer)[1])
	for _, d := range done.Differed {
		if d.Node != server2 || !d.Mended || d.Ranges != 1 {
			t.Errorf("%+v", d)
		}
	}
	if len(done.Differed) != 16 {
		t.Errorf("%+v", done)
	}
	c.into(&done, "repair")
	if len(done.Differed) != 0 {
		t.Errorf("again: %+v", done)
	}
	load.end()
	c.into(&done, "repair", "--skip", "1h")
	if done.Skipped+done.Partitions != 16 || done.Skipped == 0 {
		t.Errorf("%+v", done)
	}
	eventually(t, "status tells that the copies are equal", func() bool {
		out, _ := c.command(cli.ExitDone, "status")
		return strings.Contains(out, "all equal")
	})
	c.whole()
	for _, name := range []string{"server1", "server3"} {
		if err := c.Stop(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, it := range list {
		c.has(it)
	}
}

// Two copies are in sync, and differ: nothing is made anew from one of which nobody
// knows whether it is right, until the third is back and shows it.
func TestRepairWaitsForTheThirdCopy(t *testing.T) {
	if testing.Short() {
		t.Skip("one of its kind is enough for the race detector")
	}
	c := newTestCluster(t, func(o *local.Options) {})
	list := items(500, int32(time.Now().Unix())+100*24*3600)
	c.set(list...)
	c.whole()
	c.applied(len(list))
	if err := c.Stop("server2"); err != nil {
		t.Fatal(err)
	}
	falsify(t, filepath.Join(c.Dir(), "server2"))
	if err := c.StartNode("server2"); err != nil {
		t.Fatal(err)
	}
	c.whole()
	if err := c.Stop("server3"); err != nil {
		t.Fatal(err)
	}
	out, errs := c.command(cli.ExitFailed, "repair")
	if strings.Count(out, "not made anew") != 16 || !strings.Contains(errs, "16 copies differ") {
		t.Errorf("%s%s", out, errs)
	}
	if err := c.StartNode("server3"); err != nil {
		t.Fatal(err)
	}
	c.whole()
	c.command(cli.ExitDone, "repair")
	for _, it := range list {
		c.has(it)
	}
}

// Servers compare their copies without being asked, and mend them.
func TestCopiesAreComparedByThemselves(t *testing.T) {
	if testing.Short() {
		t.Skip("one of its kind is enough for the race detector")
	}
	c := newTestCluster(t, func(o *local.Options) {
		o.Partitions = 4
		o.Args = map[subjects.Role][]string{subjects.RoleServer: {"--scrub-every", "0.02", "--scrub-rate", "100000"}}
	})
	c.set(items(100, int32(time.Now().Unix())+100*24*3600)...)
	c.whole()
	equal := func() bool {
		out, _ := c.command(cli.ExitDone, "status")
		return strings.Contains(out, "all equal")
	}
	eventually(t, "all copies were compared", equal)
	if err := c.Stop("server2"); err != nil {
		t.Fatal(err)
	}
	n := falsify(t, filepath.Join(c.Dir(), "server2"))
	if err := c.StartNode("server2"); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatal("nothing was changed")
	}
	c.whole()
	eventually(t, "the copies were mended", func() bool {
		l := c.Layout()
		root := newRoot()
		root.SetOut(io.Discard)
		args := []string{"-m", l.Addrs(subjects.RoleManager)[0], "repair", "--check"}
		return cli.Execute(t.Context(), root, args, io.Discard) == cli.ExitDone && equal()
	})
}
