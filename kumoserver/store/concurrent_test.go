package store

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Readers never see a key missing, or older than what had committed before
// they asked, while values move from memory to bbolt.
func TestReadersDuringApply(t *testing.T) {
	o := small(t.TempDir())
	o.ApplyAfter, o.batch = time.Millisecond, 16
	s := open(t, o)
	const keys, parts = 50, 3
	var committed [parts]atomic.Uint64 // every key of the partition is at least here
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() { readWhile(t, s, stop, r, keys, committed[:]) })
	}
	var logs [parts]maker
	for round := range uint64(150) {
		for p := range logs {
			logs[p].p, logs[p].e = ring.Partition(p), 1
			for k := range keys {
				logs[p].put(t, s, keyOf(k), fmt.Sprint(round+1))
			}
		}
		flush(t, s)
		for p := range logs {
			s.Commit(logs[p].p, logs[p].tail.Seq)
			committed[p].Store(round + 1)
		}
	}
	close(stop)
	readers.Wait()
	if err := s.failedWith(); err != nil {
		t.Fatal(err)
	}
}

func readWhile(t *testing.T, s *Store, stop chan struct{}, r, keys int, committed []atomic.Uint64) {
	check := func(what string, least uint64, value []byte, found bool, err error) {
		n, _ := strconv.ParseUint(string(value), 10, 64)
		if err != nil || least > 0 && !found || n < least {
			t.Errorf("%s: %q %v %v, committed %d", what, value, found, err, least)
		}
	}
	for i := r; !isStopped(stop) && !t.Failed(); i++ {
		p := i % len(committed)
		least := committed[p].Load()
		key := []byte(keyOf(i * 7 % keys))
		switch i % 4 {
		case 0, 1:
			rec, found, err := s.Get(ring.Partition(p), key)
			check("get", least, rec.Value, found, err)
		case 2:
			s.GetMany(8, func(j int) (ring.Partition, []byte) {
				return ring.Partition(p), []byte(keyOf((i + j) % keys))
			}, func() {}, func(_ int, rec subjects.Record, found bool, err error) {
				check("get many", least, rec.Value, found, err)
			})
		case 3:
			recs, _, _, err := s.Scan(ring.Partition(p), nil, 1<<20)
			if err != nil || least > 0 && len(recs) != keys {
				t.Errorf("scan: %d records, %v", len(recs), err)
			}
			for _, rec := range recs {
				check("scan", least, rec.Value, true, nil)
			}
			s.Entries(ring.Partition(p), uint64(i%100), 1000)
			s.State(ring.Partition(p))
			s.Stats()
		}
	}
}

// With SyncAlways reports come in the order of the flushes, and one fdatasync
// serves many of them.
func TestGroupCommit(t *testing.T) {
	o := small(t.TempDir())
	o.Sync = SyncAlways
	gate, began := make(chan struct{}), make(chan struct{}, 100)
	var syncs atomic.Int64
	var held atomic.Bool
	o.disk = &disk{sync: func(f *os.File) error {
		if held.Load() {
			began <- struct{}{}
			<-gate
		}
		syncs.Add(1)
		return datasync(f)
	}}
	s := open(t, o)
	held.Store(true)
	m := &maker{p: 1, e: 1}
	var order []int
	done := make(chan int, 20)
	for i := range 20 {
		m.put(t, s, keyOf(i), "v")
		if s.Flush(func(err error) {
			if err != nil {
				t.Error(err)
			}
			done <- i
		}) != Written {
			t.Fatal("durable at once")
		}
		if i == 0 {
			<-began
		}
	}
	select {
	case n := <-done:
		t.Fatalf("flush %d reported before its sync", n)
	default:
	}
	before := syncs.Load()
	close(gate)
	for range 20 {
		order = append(order, <-done)
	}
	for i, n := range order {
		if i != n {
			t.Fatalf("order %v", order)
		}
	}
	if n := syncs.Load() - before; n > 3 {
		t.Errorf("%d syncs for 20 flushes", n)
	}
}

func TestPromiseIsSyncedInEveryMode(t *testing.T) {
	for _, mode := range []SyncMode{SyncInterval, SyncAlways, SyncNone} {
		o := small(t.TempDir())
		o.Sync = mode
		s := open(t, o)
		s.Promise(1, 3)
		done := make(chan error, 1)
		if s.Flush(func(err error) { done <- err }) != Written {
			t.Fatalf("%v: a promise counted before it was on disk", mode)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		m := &maker{p: 1, e: 3}
		m.put(t, s, "a", "b")
		now := s.Flush(func(err error) { done <- err })
		if (now == Durable) != (mode != SyncAlways) {
			t.Fatalf("%v: now %v", mode, now)
		}
		if now != Durable {
			<-done
		}
	}
}

func TestAfterClose(t *testing.T) {
	s := open(t, small(t.TempDir()))
	m := &maker{p: 1, e: 1}
	m.put(t, s, "a", "b")
	flush(t, s)
	s.Commit(1, 1)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.Get(1, []byte("a")); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if _, _, _, err := s.Scan(1, nil, 10); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// The store's identity may be asked for while it joins its cluster.
func TestIDWhileJoining(t *testing.T) {
	s := open(t, small(t.TempDir()))
	want := s.ID()
	var asking sync.WaitGroup
	asking.Go(func() {
		for range 10_000 {
			if got := s.ID(); got != want {
				t.Errorf("ID %s, want %s", got, want)
				return
			}
		}
	})
	if err := s.SetClusterID(7); err != nil {
		t.Error(err)
	}
	asking.Wait()
}

// Who reads old entries while their segment is removed finds that they are gone, and
// nothing damaged.
func TestEntriesWhileSegmentsGo(t *testing.T) {
	o := small(t.TempDir())
	o.ApplyAfter = time.Millisecond
	var damage atomic.Int32
	o.OnDamage = func(d Damage) { damage.Add(1); t.Errorf("damage: %+v", d) }
	s := open(t, o)
	m := maker{p: 1, e: 1}
	var tail, read atomic.Uint64
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for from := uint64(1); !isStopped(stop); {
				list, ok := s.Entries(1, from, 1<<10)
				switch {
				case !ok || len(list) == 0: // what is kept begins later
					if from++; from > tail.Load() {
						from = 1
					}
				case list[0].Version.Seq != from:
					t.Errorf("entry %d in the place of %d", list[0].Version.Seq, from)
					return
				default:
					read.Add(uint64(len(list)))
				}
			}
		})
	}
	for range 150 {
		for k := range 20 {
			m.put(t, s, keyOf(k), strings.Repeat("x", 200))
		}
		flush(t, s)
		s.Commit(1, m.tail.Seq)
		tail.Store(m.tail.Seq)
	}
	eventually(t, "the first segments are gone", func() bool { _, ok := s.Entries(1, 1, 1); return !ok })
	close(stop)
	readers.Wait()
	if read.Load() == 0 {
		t.Error("nothing was read")
	}
	if s.Bad(1) > 0 || damage.Load() > 0 {
		t.Errorf("%d records are called damaged", s.Bad(1))
	}
}
