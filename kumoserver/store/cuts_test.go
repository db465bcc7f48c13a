package store

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

var (
	cuts    = flag.Int("cuts", 12, "how often TestPowerCuts takes the power away")
	cutSeed = flag.Uint64("cutseed", 0, "seed of TestPowerCuts; 0 draws one")
)

// trio is three stores that hold the same partitions, as servers in sync do: what
// is acknowledged is on the disks of all three.
type trio struct {
	t     *testing.T
	rnd   *rand.Rand
	where string
	dirs  [3]string
	disks [3]*platter
	all   [3]*Store
	epoch ring.Epoch
	logs  [trioParts]trioLog
	acked int // in all
}

const trioParts = 3

// trioLog is a partition's entries, from the first on.
type trioLog struct {
	maker
	entries []*subjects.Entry
	acked   int // so many of them
}

// start opens all stores, on disks whose power fails after so many deeds. ok is
// false if it failed meanwhile.
func (c *trio) start(boot, deeds int) (ok bool) {
	power := &power{}
	power.left.Store(int64(deeds))
	for i, dir := range c.dirs {
		c.disks[i] = newPlatter(c.t, dir)
		c.disks[i].power = power
	}
	for i, dir := range c.dirs {
		o := small(dir)
		o.Sync, o.OSBoot, o.disk = SyncAlways, fmt.Sprint("boot-", boot), c.disks[i].disk()
		o.ApplyAfter, o.batch, o.ScrubRate = time.Millisecond, 5, -1
		o.compact = compactOptions{every: 20 * time.Millisecond, floor: 1, share: 0.3}
		o.disk.free = func(string) int64 { return 1 << 40 }
		var err error
		if c.all[i], err = Open(o); err != nil {
			if !errors.Is(err, errPower) {
				c.t.Fatalf("%s: open: %v", c.where, err)
			}
			return false
		}
	}
	return true
}

// agree looks at what the stores hold and has them go on from what one of them has,
// as a new primary does. It returns false when the power fails.
func (c *trio) agree() bool {
	c.epoch++
	logs := c.logs // which go on as they were if the power fails
	for p := range logs {
		l, id := &logs[p], ring.Partition(p)
		leader := c.rnd.IntN(len(c.all))
		c.look(p)
		l.e, l.tail = c.epoch, c.all[leader].State(id).Tail
		l.entries = l.entries[:l.tail.Seq:l.tail.Seq]
		l.acked = len(l.entries)
		for i, s := range c.all {
			if s.State(id).Tail.Seq > l.tail.Seq {
				if err := s.Cut(id, c.epoch, l.tail); err != nil {
					return c.dark(fmt.Sprintf("cut store %d", i), err)
				}
			}
			s.Promise(id, c.epoch)
			for _, e := range l.entries[s.State(id).Tail.Seq:] {
				if err := s.Append(e); err != nil {
					return c.dark("append", err)
				}
			}
		}
	}
	if !c.flush() {
		return false
	}
	c.logs = logs
	for p := range c.logs {
		for _, s := range c.all {
			s.Commit(ring.Partition(p), uint64(c.logs[p].acked))
		}
		c.verify(p)
	}
	return true
}

// look expects that each store has what was acknowledged, and nothing that was not
// written.
func (c *trio) look(p int) {
	c.t.Helper()
	l, id := &c.logs[p], ring.Partition(p)
	for i, s := range c.all {
		if d := s.Doubtful(); len(d) > 0 {
			c.t.Fatalf("%s: store %d says that it may lack what it acknowledged: %v", c.where, i, s.Damaged())
		}
		tail := s.State(id).Tail
		if tail.Seq < uint64(l.acked) || tail.Seq > uint64(len(l.entries)) || tail.Seq > 0 && tail != l.entries[tail.Seq-1].Version {
			c.t.Fatalf("%s: store %d, partition %d ends at %s; acknowledged are %d of %d: %v", c.where, i, p, tail, l.acked, len(l.entries), s.Damaged())
		}
	}
}

// dark expects that an error comes from there being no power.
func (c *trio) dark(what string, err error) bool {
	c.t.Helper()
	if !errors.Is(err, errPower) {
		c.t.Fatalf("%s: %s: %v", c.where, what, err)
	}
	return false
}

// flush reports whether everything is on the disks of all.
func (c *trio) flush() bool {
	results := make(chan error, len(c.all))
	for _, s := range c.all {
		if s.Flush(func(err error) { results <- err }) == Durable {
			results <- nil
		}
	}
	ok := true
	for range c.all {
		if err := <-results; err != nil {
			ok = c.dark("flush", err)
		}
	}
	return ok
}

// verify reads a partition from every store.
func (c *trio) verify(p int) {
	c.t.Helper()
	want := map[string]string{}
	for _, e := range c.logs[p].entries {
		if e.Kind == subjects.EntryPut {
			want[string(e.Key)] = string(e.Value)
		} else {
			delete(want, string(e.Key))
		}
	}
	for i, s := range c.all {
		for k := range cutKeys {
			rec, found, err := s.Get(ring.Partition(p), []byte(keyOf(k)))
			v, there := want[keyOf(k)]
			if err != nil || found != there || string(rec.Value) != v {
				c.t.Fatalf("%s: store %d: get %d/%s: %.20q, %v, %v; want %.20q, %v", c.where, i, p, keyOf(k), rec.Value, found, err, v, there)
			}
		}
	}
}

const cutKeys = 80 // of a partition

// write goes on until the power fails.
func (c *trio) write() {
	for {
		began := c.logs
		for range 1 + c.rnd.IntN(8) {
			l := &c.logs[c.rnd.IntN(len(c.logs))]
			key := keyOf(c.rnd.IntN(cutKeys))
			e := l.entry(subjects.EntryDelete, key, "")
			if c.rnd.IntN(4) > 0 {
				l.tail = e.Prev
				e = l.entry(subjects.EntryPut, key, fmt.Sprint(e.Version.Seq, strings.Repeat("v", c.rnd.IntN(600))))
			}
			l.entries = append(l.entries, e)
			for _, s := range c.all {
				if err := s.Append(e); err != nil {
					c.dark("append", err)
					return
				}
			}
		}
		if !c.flush() {
			return
		}
		for p := range c.logs {
			l := &c.logs[p]
			c.acked += len(l.entries) - began[p].acked
			l.acked = len(l.entries)
			for _, s := range c.all {
				s.Commit(ring.Partition(p), uint64(l.acked))
			}
		}
		if c.rnd.IntN(20) == 0 { // let the background work
			<-time.After(time.Duration(c.rnd.IntN(4)) * time.Millisecond)
		}
	}
}

// The power of three machines fails at once, at any moment: while they write, take
// what was written to their data files, compact these, remove logs, or start again.
// Of what was not synced some is there afterwards and some is not. With --sync=always
// everything that was acknowledged is there.
func TestPowerCuts(t *testing.T) {
	seed := *cutSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	c := &trio{t: t, rnd: rand.New(rand.NewPCG(seed, 0))}
	for i := range c.dirs {
		c.dirs[i] = filepath.Join(t.TempDir(), "store")
	}
	for p := range c.logs {
		c.logs[p].p = ring.Partition(p)
	}
	starting := 0
	for n := range *cuts {
		c.where = fmt.Sprintf("-cutseed %d, cut %d", seed, n)
		deeds := 300 + c.rnd.IntN(3000)
		if c.rnd.IntN(3) == 0 {
			deeds = c.rnd.IntN(300) // most likely during the start
		}
		if c.start(n, deeds) && c.agree() {
			c.write()
		} else {
			starting++
		}
		for i, s := range c.all {
			if s != nil {
				s.CloseHard()
			}
			c.all[i] = nil
			c.disks[i].after(c.rnd)
		}
	}
	c.where = fmt.Sprintf("-cutseed %d, at the end", seed)
	if !c.start(*cuts, 1<<40) || !c.agree() {
		t.Fatal("no power at the end")
	}
	for i, s := range c.all {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		checkFile(t, c.dirs[i])
	}
	t.Logf("seed %d: %d cuts, %d of them while the stores began; %d writes acknowledged, 0 lost", seed, *cuts, starting, c.acked)
}
