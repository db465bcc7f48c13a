package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
)

// testCluster is a cluster in this process, and how to ask it.
type testCluster struct {
	*local.Cluster
	t *testing.T
	m *memcache.Client
}

func newTestCluster(t *testing.T, tune func(*local.Options)) *testCluster {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs many loopback addresses")
	}
	o := local.Defaults()
	o.Dir, o.Partitions, o.MemcachedPort = t.TempDir(), 16, 0
	o.Host = fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(253), rand.IntN(256), 1+rand.IntN(254))
	tune(&o)
	c := &testCluster{t: t}
	var err error
	if c.Cluster, err = local.Open(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := c.Layout()
	if gateways := l.Addrs(subjects.RoleGateway); len(gateways) > 0 {
		c.m = memcache.New(gateways[0])
		c.m.Timeout = time.Minute
		t.Cleanup(func() { c.m.Close() })
	}
	return c
}

// command runs kumoctl against the cluster.
func (c *testCluster) command(code int, args ...string) (stdout, stderr string) {
	c.t.Helper()
	l := c.Layout()
	return run(c.t, code, append([]string{"-m", l.Addrs(subjects.RoleManager)[0]}, args...)...)
}

// into decodes what a command prints with -o json.
func (c *testCluster) into(to any, args ...string) {
	c.t.Helper()
	out, _ := c.command(cli.ExitDone, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), to); err != nil {
		c.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

func (c *testCluster) set(items ...*memcache.Item) {
	c.t.Helper()
	for _, i := range items {
		if err := c.m.Set(i); err != nil {
			c.t.Fatalf("set %s: %v", i.Key, err)
		}
	}
}

// has checks that an item is there, with its flags and time of expiry.
func (c *testCluster) has(want *memcache.Item) {
	c.t.Helper()
	got, err := c.m.Get(want.Key)
	if err != nil {
		c.t.Errorf("get %s: %v", want.Key, err)
		return
	}
	if !bytes.Equal(got.Value, want.Value) || got.Flags != want.Flags {
		c.t.Errorf("%s: %d bytes with flags %d, want %d with %d", want.Key, len(got.Value), got.Flags, len(want.Value), want.Flags)
	}
	l := c.Layout()
	line := say(c.t, l.Addrs(subjects.RoleGateway)[0], "mg "+want.Key+" t")
	var left int64
	if _, err := fmt.Sscanf(line, "HD t%d", &left); err != nil && want.Expiration != 0 {
		c.t.Errorf("%s: %q", want.Key, line)
	}
	if want.Expiration == 0 && !strings.HasPrefix(line, "HD t-1") {
		c.t.Errorf("%s ends: %q", want.Key, line)
	}
	if at := time.Now().Unix() + left; want.Expiration != 0 && (at < int64(want.Expiration)-5 || at > int64(want.Expiration)+5) {
		c.t.Errorf("%s ends at %d, not at %d", want.Key, at, want.Expiration)
	}
}

func (c *testCluster) hasNot(key string) {
	c.t.Helper()
	if _, err := c.m.Get(key); !errors.Is(err, memcache.ErrCacheMiss) {
		c.t.Errorf("get %s: %v", key, err)
	}
}

// counters write ever larger numbers under keys of their own.
type counters struct {
	tried, acked [4]atomic.Int64
	stop         chan struct{}
	wg           sync.WaitGroup
}

func count(t *testing.T, c *testCluster) *counters {
	n := &counters{stop: make(chan struct{})}
	for i := range n.acked {
		n.wg.Go(func() {
			for {
				select {
				case <-n.stop:
					return
				default:
				}
				v := n.tried[i].Add(1)
				if err := c.m.Set(&memcache.Item{Key: fmt.Sprintf("counter-%d", i), Value: fmt.Append(nil, v)}); err != nil {
					t.Errorf("counter %d: %v", i, err)
					return
				}
				n.acked[i].Store(v)
			}
		})
	}
	eventually(t, "every counter counts", func() bool {
		for i := range n.acked {
			if n.acked[i].Load() == 0 {
				return false
			}
		}
		return true
	})
	return n
}

func (n *counters) end() {
	close(n.stop)
	n.wg.Wait()
}

func items(n int, expiry int32) (list []*memcache.Item) {
	for i := range n {
		it := &memcache.Item{Key: fmt.Sprintf("key-%d", i), Value: bytes.Repeat([]byte{byte(i)}, i%300), Flags: uint32(i) * 7919}
		if i%3 == 0 {
			it.Expiration = expiry + int32(i)
		}
		list = append(list, it)
	}
	return append(list, &memcache.Item{Key: "large", Value: bytes.Repeat([]byte("large"), 180<<10), Flags: 1})
}

// A backup of three servers under load, an incremental one on top of it, everything
// gone, and both restored into five servers with more partitions: what was
// acknowledged before each backup began is there.
func TestBackupAndRestore(t *testing.T) {
	old := newTestCluster(t, func(o *local.Options) {})
	list := items(1500, int32(time.Now().Unix())+100*24*3600)
	old.set(list...)
	soon := &memcache.Item{Key: "soon-over", Value: []byte("x"), Expiration: 3}
	old.set(soon)
	over := time.Now().Add(5 * time.Second)
	load := count(t, old)
	dir := filepath.Join(t.TempDir(), "full")
	var full, inc backupDone
	old.into(&full, "backup", dir)
	if full.Records < int64(len(list)) || full.Base != "" || full.Dir != dir {
		t.Errorf("%+v", full)
	}
	if _, errs := old.command(cli.ExitFailed, "backup", dir); !strings.Contains(errs, "is there already") {
		t.Error(errs)
	}
	list[10].Value, list[11].Flags = []byte("changed"), 5
	fresh := &memcache.Item{Key: "fresh", Value: []byte("made later"), Flags: 9}
	old.set(list[10], list[11], fresh)
	gone := list[20:25]
	for _, it := range gone {
		if err := old.m.Delete(it.Key); err != nil {
			t.Fatal(err)
		}
	}
	var acked [4]int64
	for i := range acked {
		acked[i] = load.acked[i].Load()
	}
	second := dir + "-2"
	old.into(&inc, "backup", second, "--base", dir)
	if inc.Base != full.ID || inc.Records < int64(len(list)-5) || inc.Stored == 0 || inc.Stored >= full.Stored {
		t.Errorf("%+v", inc)
	}
	load.end()
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}

	run(t, cli.ExitDone, "backup-verify", dir, second)
	run(t, cli.ExitDone, "backup", "--verify", dir)
	t.Run("damage", func(t *testing.T) { damagedBackups(t, dir) })
	merged := dir + "-merged"
	run(t, cli.ExitDone, "merge", merged, second, dir)
	run(t, cli.ExitDone, "backup-verify", merged)

	cluster := newTestCluster(t, func(o *local.Options) { o.Servers, o.Partitions = 5, 32 })
	if _, errs := cluster.command(cli.ExitFailed, "restore", second); !strings.Contains(errs, full.ID) {
		t.Error(errs)
	}
	eventually(t, "a key's time is over", func() bool { return time.Now().After(over) })
	for _, from := range [][]string{{second, dir}, {merged}} {
		var done loadDone
		cluster.into(&done, append([]string{"restore", "--yes"}, from...)...)
		if done.Stored+done.Over != inc.Records {
			t.Errorf("%+v of %d", done, inc.Records)
		}
		cluster.has(fresh)
		for i, it := range list {
			if i >= 20 && i < 25 {
				cluster.hasNot(it.Key)
			} else {
				cluster.has(it)
			}
		}
		for i := range acked {
			it, err := cluster.m.Get(fmt.Sprintf("counter-%d", i))
			if err != nil {
				t.Fatal(err)
			}
			var n int64
			if fmt.Sscan(string(it.Value), &n); n < acked[i] || n > load.tried[i].Load() {
				t.Errorf("counter %d is %s, acknowledged before were %d, tried %d", i, it.Value, acked[i], load.tried[i].Load())
			}
		}
		cluster.hasNot(soon.Key)
	}
	eventually(t, "a restore into a cluster with keys is refused", func() bool {
		var st subjects.ClusterStatus
		cluster.into(&st, "status")
		n := uint64(0)
		for _, node := range st.Nodes {
			n += node.Load.Items
		}
		return n > 0
	})
	if _, errs := cluster.command(cli.ExitFailed, "restore", merged); !strings.Contains(errs, "--yes") {
		t.Error(errs)
	}
}

// A server leaves while a backup is taken, and reads are confirmed by the replicas:
// the backup goes on with those that lead then.
// Large values among small ones wait for the same servers, in frames that these take.
func TestLargeValuesAreLoaded(t *testing.T) {
	var lines bytes.Buffer
	var keys []string
	for i := range 200 {
		size := []int{100, 100_000, 1 << 20, 300_000, 1000}[i%5]
		keys = append(keys, fmt.Sprintf("load-%d-%d", size, i))
		fmt.Fprintf(&lines, "{\"key\":%q,\"value\":%q}\n", keys[i], strings.Repeat("x", size))
	}
	dir := t.TempDir()
	file, backup := filepath.Join(dir, "records"), filepath.Join(dir, "backup")
	if err := os.WriteFile(file, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	from := newTestCluster(t, func(*local.Options) {})
	from.command(cli.ExitDone, "import", file)
	from.command(cli.ExitDone, "backup", backup)
	if err := from.Close(); err != nil {
		t.Fatal(err)
	}
	to := newTestCluster(t, func(*local.Options) {})
	to.command(cli.ExitDone, "restore", "--yes", backup)
	for i, key := range keys {
		if it, err := to.m.Get(key); err != nil || !strings.HasPrefix(key, fmt.Sprintf("load-%d-", len(it.Value))) {
			t.Errorf("key %d, %s: %v", i, key, err)
		}
	}
}

func TestBackupGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("one of its kind is enough for the race detector")
	}
	c := newTestCluster(t, func(o *local.Options) {
		o.Args = map[subjects.Role][]string{subjects.RoleServer: {"--read", "confirm"}}
	})
	list := items(300, 0)
	for i := range list {
		list[i].Expiration = 0
		list[i].Value = bytes.Repeat([]byte{byte(i)}, 3000)
	}
	c.set(list...)
	dir := filepath.Join(t.TempDir(), "b")
	parts := func() int {
		files, _ := filepath.Glob(filepath.Join(dir+".partial", "*"))
		return len(files)
	}
	// One that is interrupted is no backup, and no hindrance.
	first := c.start("backup", dir, "--rate", "300K")
	eventually(t, "the backup is under way", func() bool { return parts() > 5 })
	if code := first.interrupt(); code != cli.ExitFailed {
		t.Errorf("exit code %d: %s", code, &first.errs)
	}
	run(t, cli.ExitFailed, "backup-verify", dir)
	if _, errs := run(t, cli.ExitFailed, "backup-verify", dir+".partial"); !strings.Contains(errs, "no complete backup") {
		t.Error(errs)
	}
	c.command(cli.ExitDone, "backup", dir)
	run(t, cli.ExitDone, "backup-verify", dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	second := c.start("backup", dir, "--rate", "300K", "-o", "json")
	eventually(t, "the backup is under way", func() bool { return parts() > 5 })
	if len(second.exit) > 0 {
		t.Error("the backup was faster than the test")
	}
	if err := c.Stop("server2"); err != nil {
		t.Error(err)
	}
	if code := <-second.exit; code != cli.ExitDone {
		t.Fatalf("exit code %d: %s", code, &second.errs)
	}
	var done backupDone
	if err := json.Unmarshal(second.out.Bytes(), &done); err != nil {
		t.Fatal(err)
	}
	if done.Records != int64(len(list)) {
		t.Errorf("%+v, want %d keys", done, len(list))
	}
	run(t, cli.ExitDone, "backup-verify", dir)

	for _, it := range list {
		if err := c.m.Delete(it.Key); err != nil {
			t.Fatal(err)
		}
	}
	half := c.start("restore", dir, "--yes", "--rate", "300K")
	eventually(t, "some keys are restored", func() bool {
		got, err := c.m.GetMulti(keysOf(list))
		return err == nil && len(got) > 20
	})
	if code := half.interrupt(); code != cli.ExitFailed || !strings.Contains(half.errs.String(), "run again") {
		t.Errorf("exit code %d: %s", code, &half.errs)
	}
	c.command(cli.ExitDone, "restore", dir, "--yes")
	for _, it := range list {
		c.has(it)
	}
}

func keysOf(list []*memcache.Item) (keys []string) {
	for _, it := range list {
		keys = append(keys, it.Key)
	}
	return keys
}

// started is a command that runs.
type started struct {
	out, errs bytes.Buffer
	cancel    context.CancelFunc
	exit      chan int
}

func (c *testCluster) start(args ...string) *started {
	s := &started{exit: make(chan int, 1)}
	ctx, cancel := context.WithCancel(c.t.Context())
	s.cancel = cancel
	c.t.Cleanup(cancel)
	root := newRoot()
	root.SetOut(&s.out)
	l := c.Layout()
	go func() {
		s.exit <- cli.Execute(ctx, root, append([]string{"-m", l.Addrs(subjects.RoleManager)[0]}, args...), &s.errs)
	}()
	return s
}

// interrupt ends the command as Ctrl-C does.
func (s *started) interrupt() int {
	s.cancel()
	return <-s.exit
}

// damagedBackups damages a copy of a backup in each of its files.
func damagedBackups(t *testing.T, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 18 {
		t.Fatalf("%v, %v", files, err)
	}
	for i, path := range files {
		name := filepath.Base(path)
		dst := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dst, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		switch at := rand.IntN(len(b)); i % 3 {
		case 0:
			b[at] ^= 1 << rand.IntN(8)
		case 1:
			b = b[:at]
		case 2:
			b = append(b, 'x')
		}
		if err := os.WriteFile(filepath.Join(dst, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "SHA256SUMS" {
			name = "" // it may name the file whose sum it has not right
		}
		if _, errs := run(t, cli.ExitFailed, "backup-verify", dst); !strings.Contains(errs, filepath.Join(dst, name)) {
			t.Errorf("%s: %s", name, errs)
		}
		if _, errs := run(t, cli.ExitFailed, "-m", "127.0.0.1:1", "restore", dst); !strings.Contains(errs, filepath.Join(dst, name)) {
			t.Errorf("%s: %s", name, errs)
		}
		if err := os.Remove(filepath.Join(dst, filepath.Base(path))); err != nil {
			t.Fatal(err)
		}
		if _, errs := run(t, cli.ExitFailed, "backup-verify", dst); !strings.Contains(errs, filepath.Base(path)) {
			t.Errorf("%s is missing: %s", name, errs)
		}
	}
}

func TestBackupDir(t *testing.T) {
	now := time.Date(2009, 3, 4, 5, 6, 7, 0, time.UTC)
	for arg, want := range map[string]string{"": "kumo-20090304", "monday": "kumo-monday", "./monday": "./monday", "/var/b": "/var/b", "a/b": "a/b"} {
		var args []string
		if arg != "" {
			args = []string{arg}
		}
		if got := backupDir("kumo", args, now); got != want {
			t.Errorf("backup %s: %s, want %s", arg, got, want)
		}
	}
}
