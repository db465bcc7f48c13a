package testenv_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

var (
	rotFlips = flag.Int("rot-flips", 30, "bits that TestRot flips")
	rotSeed  = flag.Uint64("rot-seed", 0, "seed of TestRot; 0 draws one")
)

const (
	rotKeys  = 1500
	rotBatch = 15 // bits that are flipped at once
)

func rotKey(i int) string   { return fmt.Sprint("rot-", i) }
func rotValue(i int) string { return strings.Repeat(fmt.Sprint(i, "."), 400)[:50+i%800] }

// rotReaders ask for keys that are there and for keys that are not, all the time.
type rotReaders struct {
	t       *testing.T
	wg      sync.WaitGroup
	cancel  context.CancelFunc
	answers atomic.Int64
	errors  atomic.Int64 // that were answered
	mu      sync.Mutex
	wrong   []string // guarded by mu
}

func readRotten(t *testing.T, c *testenv.Cluster) *rotReaders {
	ctx, cancel := context.WithCancel(context.Background())
	r := &rotReaders{t: t, cancel: cancel}
	for range 4 {
		m := c.Client(0)
		r.wg.Go(func() { r.read(ctx, m) })
	}
	t.Cleanup(r.stop)
	return r
}

func (r *rotReaders) stop() { r.cancel(); r.wg.Wait() }

func (r *rotReaders) read(ctx context.Context, m *testenv.Client) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		i := rand.IntN(rotKeys)
		key, want := rotKey(i), rotValue(i)
		if rand.IntN(4) == 0 {
			key, want = key+"-", ""
		}
		v, err := m.Get(key)
		var answer testenv.ServerError
		switch {
		case errors.As(err, &answer):
			r.errors.Add(1)
		case err != nil && !errors.Is(err, testenv.ErrMiss):
			r.say("the connection ends: %v", err)
			return
		case v != want:
			r.say("%s is %.30q, want %.30q", key, v, want)
		}
		r.answers.Add(1)
	}
}

func (r *rotReaders) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.wrong) < 20 {
		r.wrong = append(r.wrong, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

func (r *rotReaders) verify() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.wrong {
		r.t.Error(s)
	}
}

// rot flips bits of a server's log and data file, where there is something.
func rot(t *testing.T, rnd *rand.Rand, folder string, n int) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "log", "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	var places []func() (string, error)
	for _, path := range append(paths, filepath.Join(folder, "data.db")) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at+4096 <= len(b); at += 4096 {
			if len(bytes.TrimRight(b[at:at+4096], "\x00")) > 0 {
				places = append(places, func() (string, error) { return flipIn(rnd, path, int64(at)) })
			}
		}
	}
	for range n {
		where, err := places[rnd.IntN(len(places))]()
		if err != nil {
			t.Fatal(err)
		}
		t.Log(where)
	}
}

// flipIn flips a bit of a page of a file.
func flipIn(rnd *rand.Rand, path string, page int64) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	at, bit := page+rnd.Int64N(4096), rnd.IntN(8)
	if rnd.IntN(3) == 0 {
		at = page + rnd.Int64N(128) // the page's head, and what it says of its records
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return "", err
	}
	b[0] ^= 1 << bit
	_, err = f.WriteAt(b[:], at)
	return fmt.Sprintf("flipped bit %d of byte %d of %s", bit, at, filepath.Base(path)), err
}

// Bits of one server's files are flipped at random, while it runs and while it does
// not. No client is ever told a wrong value, or that something is not there that is;
// and it is found and mended without anybody's help, within minutes.
func TestRot(t *testing.T) {
	variation(t)
	t.Parallel()
	seed := *rotSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("-rot-seed %d", seed)
	c := testenv.New(t, testenv.Processes(), testenv.Partitions(8),
		testenv.Args(subjects.RoleServer, "--scrub-every", "1s", "--scrub-rate", "1000000", "--memory", "24"))
	for i := range rotKeys {
		c.Set(rotKey(i), rotValue(i))
	}
	c.EventuallyWhole()
	c.Eventually("all is in the data file", func() bool { return unapplied(c, "server1") == 0 })
	readers, load := readRotten(t, c), c.Load()
	longest := time.Duration(0)
	for done := 0; done < *rotFlips; done += rotBatch {
		n := min(rotBatch, *rotFlips-done)
		folder, began := c.Folder("server1"), time.Now()
		if live := done/rotBatch%2 == 0; live {
			rot(t, rnd, folder, n)
		} else {
			stop := c.Stop
			if rnd.IntN(2) == 0 {
				stop = func(names ...string) { c.Kill(names...) }
			}
			stop("server1")
			rot(t, rnd, folder, n)
			c.EventuallyState("server1", "down")
			began = time.Now()
			c.Start("server1")
		}
		eventuallyMended(c, began)
		longest = max(longest, time.Since(began))
	}
	c.Stop("server1") // what is left of the log is read by the next start
	c.Start("server1")
	c.EventuallyState("server1", "up")
	eventuallyMended(c, time.Now())
	load.GoesOn()
	load.Stop()
	readers.stop()
	readers.verify()
	load.Verify()
	compared := agreeing(c)
	t.Logf("seed %d: %d bits, %d answers to readers and %d errors, mended within %s, %d records compared in all copies",
		seed, *rotFlips, readers.answers.Load(), readers.errors.Load(), longest.Round(100*time.Millisecond), compared)
	c.Kill("server2", "server3")
	m := c.Client(0)
	for i := range rotKeys {
		if v, err := m.Get(rotKey(i)); err != nil || v != rotValue(i) {
			t.Fatalf("%s of server1 alone is %.30q, %v", rotKey(i), v, err)
		}
	}
}

// eventuallyMended waits until server1 has looked at all that it holds since, and
// found it well, and every copy is in sync.
func eventuallyMended(c *testenv.Cluster, since time.Time) {
	passes := map[int64]bool{}
	c.Eventually("server1 holds nothing damaged", func() bool {
		select {
		case <-c.Ended("server1"): // a second damaged file within a minute is too much for it
			c.Start("server1")
		default:
		}
		d := diskOf(c, "server1")
		if d.Damaged > 0 || d.Broken || d.Found > 0 || d.Checked <= since.UnixMilli() {
			clear(passes)
			return false
		}
		passes[d.Checked] = true
		return len(passes) > 1 // the first may have begun before
	})
	c.EventuallyState("server1", "up")
	c.EventuallyWhole()
}

// agreeing has the copies of every partition compared, and counts the records.
func agreeing(c *testenv.Cluster) (records int64) {
	for p := range c.Table().Partitions {
		start := true
		c.Eventually(fmt.Sprintf("the copies of partition %d are alike", p), func() bool {
			t := c.Table()
			node, ok := t.Primary(ring.Partition(p))
			if !ok {
				return false
			}
			var rep subjects.CompareReport
			ctx, cancel := context.WithTimeout(context.Background(), testenv.Patience)
			defer cancel()
			req := subjects.CompareRequest{Partition: ring.Partition(p), Start: start}
			if err := c.Admin().NodeOnce(ctx, node.Name, subjects.NodeCompare, req, &rep); err != nil {
				return false
			}
			start = !rep.Running
			if rep.Running || rep.Ended == 0 || rep.Error != nil || rep.Absent > 0 || rep.Differing() > 0 {
				return false
			}
			records += rep.Records
			return true
		})
	}
	return records
}
