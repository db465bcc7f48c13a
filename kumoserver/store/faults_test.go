package store

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

var (
	faultEvery = flag.Int("faultevery", 97, "of how many deeds TestEveryDeedFails lets one fail")
	faultSeed  = flag.Uint64("faultseed", 0, "seed of TestEveryDeedFails; 0 draws one")
)

// fault is a way to fail.
type fault struct {
	name string
	err  func(d deed) error
	last int // so many deeds fail that need room, or one whatever it is
}

var faults = []fault{
	{"EIO", func(deed) error { return syscall.EIO }, 1},
	{"short write", func(d deed) error {
		if d.what != deedWrite {
			return nil
		}
		return shortWrite(len(d.data) / 2)
	}, 1},
	{"ENOSPC", func(d deed) error {
		switch d.what {
		case deedWrite, deedSize, deedCreate, deedMakeFolder:
			return syscall.ENOSPC
		}
		return nil
	}, 30},
}

// faulty is a store on a disk of which one thing fails.
type faulty struct {
	t     *testing.T
	where string
	disk  *platter
	o     Options
	s     *Store
	log   trioLog
	hit   deed // that failed; 0: none did
}

// run writes, deletes, clears and closes, and starts again, as far as it can. The
// script is always the same; what happens in the background meanwhile is not.
func (f *faulty) run(rnd *rand.Rand) {
	for round := range 3 {
		var err error
		if f.s, err = Open(f.o); err != nil {
			return
		}
		if round == 0 {
			f.s.Promise(0, 1)
		}
		for n := range 12 {
			if !f.write(rnd, n) {
				f.s.CloseHard()
				return
			}
		}
		if round == 1 {
			f.s.CloseHard()
			continue
		}
		if err := f.s.Close(); err != nil {
			return
		}
	}
}

// write puts a few entries into the log. It reports whether the store goes on.
func (f *faulty) write(rnd *rand.Rand, n int) bool {
	l := &f.log
	room := f.s.Admit()
	for range 6 {
		kind, value := subjects.EntryPut, fmt.Sprint(l.tail.Seq, strings.Repeat("v", rnd.IntN(900)))
		switch {
		case n == 7:
			kind, value = subjects.EntryFlush, ""
		case rnd.IntN(4) == 0 || room != Roomy:
			kind, value = subjects.EntryDelete, ""
		}
		before := l.tail
		e := l.entry(kind, keyOf(rnd.IntN(40)), value)
		if err := f.s.Append(e); err != nil {
			l.tail = before
			if errors.Is(err, ErrNoSpace) {
				break
			}
			return false
		}
		l.entries = append(l.entries, e)
	}
	done := make(chan error, 1)
	if f.s.Flush(func(err error) { done <- err }) != Durable {
		if err := <-done; err != nil {
			return false
		}
	}
	l.acked = len(l.entries)
	f.s.Commit(0, uint64(l.acked))
	if n%3 == 0 {
		// Until bbolt has it, or cannot.
		is := applied(f.s)
		for range 40 {
			if is() || f.s.failedWith() != nil || f.s.Full() {
				break
			}
			<-time.After(time.Millisecond)
		}
	}
	return f.s.failedWith() == nil
}

// check opens what is left, on a disk that works.
func (f *faulty) check() {
	f.t.Helper()
	o := f.o
	o.disk = newPlatter(f.t, o.Dir).disk()
	s, err := Open(o)
	if err != nil {
		f.t.Fatalf("%s: open: %v", f.where, err)
	}
	defer s.CloseHard()
	l, tail := &f.log, s.State(0).Tail
	if slices.Contains(s.Doubtful(), 0) {
		return // it is made anew from others
	}
	if tail.Seq < uint64(l.acked) || tail.Seq > uint64(len(l.entries)) {
		f.t.Fatalf("%s: the log ends at %s; acknowledged are %d of %d: %v", f.where, tail, l.acked, len(l.entries), s.Damaged())
	}
	s.Commit(0, tail.Seq)
	want := fold(l.entries[:tail.Seq])
	for k := range 40 {
		rec, found, err := s.Get(0, []byte(keyOf(k)))
		v, there := want[keyOf(k)]
		if err != nil || found != there || string(rec.Value) != v {
			f.t.Fatalf("%s: get %s: %.20q, %v, %v; want %.20q, %v", f.where, keyOf(k), rec.Value, found, err, v, there)
		}
	}
	if err := s.Close(); err != nil {
		f.t.Fatalf("%s: close: %v", f.where, err)
	}
	checkFile(f.t, o.Dir)
}

// fold is what entries leave.
func fold(entries []*subjects.Entry) map[string]string {
	m := map[string]string{}
	for _, e := range entries {
		switch e.Kind {
		case subjects.EntryPut:
			m[string(e.Key)] = string(e.Value)
		case subjects.EntryDelete:
			delete(m, string(e.Key))
		case subjects.EntryFlush:
			clear(m)
		}
	}
	return m
}

// Each thing that a store does to its folder fails once, in each way: what was
// acknowledged is there at the next start or known to be in doubt, and nothing else
// is. After a sync that failed what was to be synced is lost, or some of it.
func TestEveryDeedFails(t *testing.T) {
	seed := *faultSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	tried, met, every := 0, map[string]int{}, *faultEvery
	if testing.Short() {
		every *= 4
	}
	for _, how := range faults {
		for _, mode := range []SyncMode{SyncAlways, SyncInterval} {
			for k := int(seed % uint64(every)); ; k += every {
				rnd := rand.New(rand.NewPCG(seed, uint64(k)))
				f := newFaulty(t, mode, how, k)
				f.where = fmt.Sprintf("-faultseed %d, %s, sync %s, deed %d", seed, how.name, mode, k)
				f.run(rnd)
				if f.hit.what == 0 && f.disk.done <= k {
					break
				}
				f.where += fmt.Sprintf(", a %s of %s", f.hit.what, f.hit.path)
				tried++
				met[f.hit.what.String()]++
				if f.hit.what == deedSync {
					f.disk.forget(rnd)
				}
				f.check()
			}
		}
	}
	t.Logf("seed %d: %d faults: %v", seed, tried, met)
}

func newFaulty(t *testing.T, mode SyncMode, how fault, k int) *faulty {
	f := &faulty{t: t, o: small(t.TempDir()), log: trioLog{maker: maker{p: ring.Partition(0), e: 1}}}
	f.disk = newPlatter(t, f.o.Dir)
	f.disk.fail = func(n int, d deed) error {
		if n < k || n >= k+how.last {
			return nil
		}
		err := how.err(d)
		if err != nil && f.hit.what == 0 {
			f.hit = deed{what: d.what, path: d.path}
		}
		return err
	}
	f.o.Sync, f.o.ApplyAfter, f.o.batch, f.o.ScrubRate = mode, time.Millisecond, 5, -1
	f.o.compact = compactOptions{every: 10 * time.Millisecond, floor: 1, share: 0.3}
	f.o.disk = f.disk.disk()
	f.o.disk.free = func(string) int64 { return 1 << 40 }
	return f
}
