package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// always compacts again and again, whatever is free.
var always = compactOptions{every: time.Millisecond, floor: 1, share: -1, rate: 1 << 40}

const (
	sparseParts = 3
	sparseKeys  = 1500 // of each partition
	sparseStays = 20   // every so manieth key is kept
)

func sparseValue(p, k, round int) string {
	return fmt.Sprintf("%d/%d/%d/%s", p, k, round, strings.Repeat("v", 200+k%900))
}

// sparse fills a store, and deletes most of it again.
func sparse(t testing.TB, s *Store) (logs [sparseParts]maker) {
	t.Helper()
	settle := func() {
		flush(t, s)
		for p := range logs {
			s.Commit(logs[p].p, logs[p].tail.Seq)
		}
		s.applier.kickNow()
		eventually(t, "applied", applied(s))
	}
	for p := range logs {
		logs[p] = maker{p: ring.Partition(p), e: 1}
		for k := range sparseKeys {
			logs[p].put(t, s, keyOf(k), sparseValue(p, k, 0))
			if k%256 == 0 {
				flush(t, s)
			}
		}
	}
	settle()
	for p := range logs {
		for k := range sparseKeys {
			if k%sparseStays == 0 {
				continue
			}
			if err := s.Append(logs[p].entry(subjects.EntryDelete, keyOf(k), "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	settle()
	return logs
}

// checkSparse wants what sparse left, of a round of values.
func checkSparse(t testing.TB, s *Store, round int) {
	t.Helper()
	checkSound(t, s)
	for p := range sparseParts {
		for k := range sparseKeys {
			value := ""
			if k%sparseStays == 0 {
				value = sparseValue(p, k, round)
			}
			want(t, s, ring.Partition(p), keyOf(k), value)
		}
		n := 0
		for from, last := []byte(nil), false; !last; {
			var recs []subjects.Record
			var err error
			if recs, from, last, err = s.Scan(ring.Partition(p), from, 10_000); err != nil {
				t.Fatal(err)
			}
			n += len(recs)
		}
		if n != sparseKeys/sparseStays || s.Items(ring.Partition(p)) != int64(n) {
			t.Fatalf("partition %d has %d keys and counts %d", p, n, s.Items(ring.Partition(p)))
		}
	}
}

// checkSound wants no damage: a compaction that counts wrongly takes its mistake for
// that.
func checkSound(t testing.TB, s *Store) {
	t.Helper()
	if n, bad := s.BadKeys(9); n > 0 || s.Broken() != nil {
		t.Fatalf("%d records are damaged: %v %v", n, bad, s.Broken())
	}
}

// gate is a compaction that goes on when it is told to.
type gate struct {
	at   chan string
	goOn chan struct{}
	open atomic.Bool
}

// newGate is open, and opens again when the test ends.
func newGate(t testing.TB, o *Options) *gate {
	g := &gate{at: make(chan string), goOn: make(chan struct{})}
	g.open.Store(true)
	ctx := t.Context()
	o.compact.stage = func(stage string) {
		if g.open.Load() {
			return
		}
		select {
		case g.at <- stage:
		case <-ctx.Done():
			return
		}
		select {
		case <-g.goOn:
		case <-ctx.Done():
		}
	}
	return g
}

// until lets the compaction go on to a stage, where it waits.
func (g *gate) until(t testing.TB, stage string) {
	t.Helper()
	g.open.Store(false)
	for {
		select {
		case at := <-g.at:
			if at == stage {
				return
			}
			g.goOn <- struct{}{}
		case <-time.After(20 * time.Second):
			t.Fatalf("no compaction comes to %q", stage)
		}
	}
}

func (g *gate) release() {
	g.open.Store(true)
	g.goOn <- struct{}{}
}

// The file shrinks while it is read and written, and nothing is lost by it.
func TestCompaction(t *testing.T) {
	o := small(t.TempDir())
	o.ApplyAfter, o.batch = time.Millisecond, 16
	o.compact = compactOptions{every: time.Millisecond, floor: 64 << 10, rate: 1 << 40}
	s := open(t, o)
	logs := sparse(t, s)
	eventually(t, "most is free no more", func() bool {
		st := s.Stats()
		return st.Compactions > 0 && 2*st.DataFree <= st.DataFile && st.DataFile < 1<<20
	})
	stop := make(chan struct{})
	var committed [sparseParts]atomic.Int64
	var readers sync.WaitGroup
	for r := range 2 {
		readers.Go(func() { readSparse(t, s, stop, r, committed[:]) })
	}
	before := s.Stats().Compactions
	round := 0
	// What makes the file sparse is written in every other round, and a round is
	// less than MemtableBytes, beyond which compactions are given up: the number of
	// rounds counts, however long they take.
	deadline := time.Now().Add(2 * time.Minute)
	for s.Stats().Compactions < before+3 && time.Now().Before(deadline) && !t.Failed() {
		round++
		for p := range logs {
			for k := 0; k < sparseKeys; k += sparseStays {
				logs[p].put(t, s, keyOf(k), sparseValue(p, k, round))
				other := keyOf(k + 1 + round%(sparseStays-1)) // comes and goes
				logs[p].put(t, s, other, strings.Repeat("w", 3000))
				if err := s.Append(logs[p].entry(subjects.EntryDelete, other, "")); err != nil {
					t.Fatal(err)
				}
			}
		}
		flush(t, s)
		for p := range logs {
			s.Commit(logs[p].p, logs[p].tail.Seq)
			committed[p].Store(int64(round))
		}
		eventually(t, "room in memory", func() bool { return s.Backlog() < s.opts.MemtableBytes/4 })
		if round%2 == 0 { // makes the file sparse again
			for p := range logs {
				bulk(t, s, &logs[p])
			}
		}
	}
	close(stop)
	readers.Wait()
	eventually(t, "applied", applied(s))
	checkSparse(t, s, round)
	if got := s.Stats().Compactions; got < before+3 {
		t.Errorf("%d compactions while it was written to", got-before)
	}
	s.CloseHard()
	s = open(t, small(o.Dir))
	for p := range logs {
		s.Commit(logs[p].p, logs[p].tail.Seq)
	}
	eventually(t, "applied", applied(s))
	checkSparse(t, s, round)
}

// bulk writes much, and takes it away again.
func bulk(t testing.TB, s *Store, m *maker) {
	t.Helper()
	for _, kind := range []subjects.EntryKind{subjects.EntryPut, subjects.EntryDelete} {
		for k := range 200 {
			value := ""
			if kind == subjects.EntryPut {
				value = strings.Repeat("b", 2000)
			}
			if err := s.Append(m.entry(kind, keyOf(5000+k), value)); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, s)
		s.Commit(m.p, m.tail.Seq)
		s.applier.kickNow()
		eventually(t, "applied", applied(s))
	}
}

func readSparse(t *testing.T, s *Store, stop chan struct{}, r int, committed []atomic.Int64) {
	check := func(p, k int, least int64, value []byte, found bool, err error) {
		var gotP, gotK, round int
		if _, e := fmt.Sscanf(string(value), "%d/%d/%d/", &gotP, &gotK, &round); err != nil || !found || e != nil || gotP != p || gotK != k || int64(round) < least {
			t.Errorf("%d/%s: %.20q %v %v, committed %d", p, keyOf(k), value, found, err, least)
		}
	}
	for i := r; !isStopped(stop) && !t.Failed(); i++ {
		p := i % sparseParts
		k := i * 7 % (sparseKeys / sparseStays) * sparseStays
		least := committed[p].Load()
		if i%2 == 0 {
			rec, found, err := s.Get(ring.Partition(p), []byte(keyOf(k)))
			check(p, k, least, rec.Value, found, err)
			continue
		}
		s.GetMany(4, func(int) (ring.Partition, []byte) { return ring.Partition(p), []byte(keyOf(k)) }, func() {},
			func(_ int, rec subjects.Record, found bool, err error) { check(p, k, least, rec.Value, found, err) })
	}
}

// A reader that is in the old file stays there, holds up nobody, and has it closed
// when it leaves.
func TestReaderStaysInTheOldFile(t *testing.T) {
	o := small(t.TempDir())
	o.compact = always
	s := open(t, o)
	sparse(t, s)
	inside, leave := make(chan struct{}), make(chan struct{})
	key := []byte(keyOf(0))
	left := make(chan []byte)
	old := s.db.Load()
	go func() {
		s.GetMany(1, func(int) (ring.Partition, []byte) { return 0, key }, func() {}, func(_ int, rec subjects.Record, _ bool, _ error) {
			close(inside)
			<-leave
			left <- append([]byte(nil), rec.Value...)
		})
	}()
	<-inside
	n := s.Stats().Compactions
	eventually(t, "switched, twice", func() bool { return s.Stats().Compactions > n+2 && s.db.Load() != old })
	checkSparse(t, s, 0)
	close(leave)
	if got := string(<-left); got != sparseValue(0, 0, 0) {
		t.Errorf("read %.20q", got)
	}
	eventually(t, "the old files are closed", func() bool {
		err := old.View(func(*bbolt.Tx) error { return nil })
		return errors.Is(err, berrors.ErrDatabaseNotOpen)
	})
}

// What replaces or voids whole partitions meets a compaction at each of its
// stages.
func TestMasksDuringCompaction(t *testing.T) {
	for _, stage := range []string{"began", "copied"} {
		t.Run(stage, func(t *testing.T) {
			o := small(t.TempDir())
			o.compact = always
			g := newGate(t, &o)
			s := open(t, o)
			logs := sparse(t, s)
			g.until(t, stage)
			if err := s.Drop(0); err != nil {
				t.Fatal(err)
			}
			base := subjects.Version{Epoch: 9, Seq: 9}
			if err := s.Reset(1, 9, base); err != nil {
				t.Fatal(err)
			}
			rec := subjects.Record{Key: []byte("ranged"), Value: []byte("v"), Token: aToken}
			err := s.Range(1, &subjects.Range{Header: subjects.Header{Partition: 1}, Last: true, Through: 9, Records: []subjects.Record{rec}})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Append(logs[2].entry(subjects.EntryFlush, "", "")); err != nil {
				t.Fatal(err)
			}
			logs[2].put(t, s, "after", "the flush")
			flush(t, s)
			s.Commit(2, logs[2].tail.Seq)
			s.applier.kickNow()
			eventually(t, "applied", applied(s))
			old, n := s.db.Load(), s.Stats().Compactions
			g.release()
			eventually(t, "switched", func() bool { return s.Stats().Compactions > n && s.db.Load() != old })
			for range 2 {
				checkSound(t, s)
				for p, keys := range map[ring.Partition]map[string]string{0: {}, 1: {"ranged": "v"}, 2: {"after": "the flush"}} {
					recs, _, last, err := s.Scan(p, nil, 1<<20)
					if err != nil || !last || len(recs) != len(keys) || s.Items(p) != int64(len(keys)) {
						t.Fatalf("partition %d: %d records, %d items, %v", p, len(recs), s.Items(p), err)
					}
					for k, v := range keys {
						want(t, s, p, k, v)
					}
				}
				s.CloseHard()
				checkFile(t, o.Dir)
				s = open(t, small(o.Dir))
			}
		})
	}
}

func TestCloseDuringCompaction(t *testing.T) {
	o := small(t.TempDir())
	o.compact = always
	o.compact.rate = 1 // a step's rest takes for ever
	copied := make(chan struct{}, 1)
	o.compact.stage = func(stage string) {
		if stage == "copied" {
			select {
			case copied <- struct{}{}:
			default:
			}
		}
	}
	s := open(t, o)
	sparse(t, s)
	<-copied
	eventually(t, "copied", func() bool { return s.Stats().Compacting > 0 })
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("closed after %s", d)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, newDataName)); err == nil {
		t.Error("the new file was left")
	}
	s = open(t, small(o.Dir))
	checkSparse(t, s, 0)
}
