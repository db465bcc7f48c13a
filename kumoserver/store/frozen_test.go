package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/etolabo/kumofs/subjects"
)

func freeze(t testing.TB, s *Store, m *maker) *Frozen {
	t.Helper()
	f, err := s.Freeze(t.Context(), m.p, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Thaw)
	if f.At() != m.tail {
		t.Fatalf("frozen at %s, want %s", f.At(), m.tail)
	}
	return f
}

// contents reads all of a frozen copy, a little at a time.
func contents(f *Frozen, bytes int, pass bool) (map[string]string, error) {
	got := map[string]string{}
	var from []byte
	prev := ""
	for {
		recs, next, last, err := f.Read(from, bytes)
		if err != nil {
			return nil, err
		}
		for _, r := range recs {
			if len(got) > 0 && string(r.Key) <= prev {
				return nil, fmt.Errorf("%q comes after %q", r.Key, prev)
			}
			prev = string(r.Key)
			got[prev] = string(r.Value)
		}
		if last {
			return got, nil
		}
		if from = next; pass {
			f.Pass(from)
		}
	}
}

// Whatever is written, removed, emptied and brought to bbolt meanwhile: a frozen
// copy shows what had committed when it was frozen, and no more and no less.
func TestFrozenCopies(t *testing.T) {
	o := small(t.TempDir())
	o.ApplyAfter, o.batch = time.Millisecond, 16
	s := open(t, o)
	m := &maker{p: 3, e: 1}
	model := map[string]string{}
	rnd := rand.New(rand.NewPCG(1, 2))
	var readers sync.WaitGroup
	for round := range 250 {
		for range 20 {
			k := keyOf(rnd.IntN(200))
			kind, v := subjects.EntryPut, fmt.Sprint(round, strings.Repeat("x", rnd.IntN(300)))
			switch n := rnd.IntN(400); {
			case n == 0:
				kind, k, v = subjects.EntryFlush, "", ""
				clear(model)
			case n < 120:
				kind, v = subjects.EntryDelete, ""
				delete(model, k)
			default:
				model[k] = v
			}
			if err := s.Append(m.entry(kind, k, v)); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, s)
		s.Commit(m.p, m.tail.Seq)
		if round%5 > 0 {
			continue
		}
		f, want := freeze(t, s, m), maps.Clone(model)
		readers.Go(func() {
			for _, pass := range []bool{false, true} {
				got, err := contents(f, 200+round*4, pass)
				if err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("round %d: %s", round, diff)
				}
			}
			f.Thaw()
		})
	}
	readers.Wait()
	if len(s.part(m.p).frozenNow()) != 0 {
		t.Error("something is frozen still")
	}
}

// What was written, removed and written again in bbolt before anybody reads.
func TestFrozenCopyOutlivesItsFile(t *testing.T) {
	s := open(t, small(t.TempDir()))
	m := &maker{p: 1, e: 1}
	want := map[string]string{}
	fill := func(value string) {
		for i := range 300 {
			m.put(t, s, keyOf(i), value+keyOf(i))
		}
		flush(t, s)
		s.Commit(m.p, m.tail.Seq)
		eventually(t, "all is applied", applied(s))
	}
	fill("old ")
	for i := range 300 {
		want[keyOf(i)] = "old " + keyOf(i)
	}
	f := freeze(t, s, m)
	fill("new ")
	if err := s.Append(m.entry(subjects.EntryFlush, "", "")); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	s.Commit(m.p, m.tail.Seq)
	eventually(t, "all is removed", func() bool { return s.Items(m.p) == 0 && applied(s)() })
	for _, pass := range []bool{false, true} {
		got, err := contents(f, 500, pass)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		fill("newer ")
	}
	f.Thaw()
	if _, err := contents(f, 500, false); !errors.Is(err, ErrClosed) {
		t.Errorf("after Thaw: %v", err)
	}
}

func TestFreezeAtAnEntry(t *testing.T) {
	s := open(t, small(t.TempDir()))
	m := &maker{p: 1, e: 1}
	commit := func(n int) {
		for range n {
			m.put(t, s, "k", fmt.Sprint(m.tail.Seq+1))
		}
		flush(t, s)
		s.Commit(m.p, m.tail.Seq)
	}
	commit(10)
	if _, err := s.Freeze(t.Context(), m.p, 9); !errors.Is(err, ErrPassed) {
		t.Errorf("at an entry that was passed: %v", err)
	}
	if _, err := s.Freeze(t.Context(), 2, 0); !errors.Is(err, ErrNotWhole) {
		t.Errorf("a copy that is not there: %v", err)
	}
	frozen := make(chan *Frozen)
	for _, seq := range []uint64{25, 15} {
		go func() {
			f, err := s.Freeze(t.Context(), m.p, seq)
			if err != nil {
				t.Error(err)
			}
			frozen <- f
		}()
	}
	p := s.part(m.p)
	waits := func(n int) func() bool {
		return func() bool { p.mu.RLock(); defer p.mu.RUnlock(); return len(p.traps) == n }
	}
	eventually(t, "two wait", waits(2))
	commit(30) // all at once
	for range 2 {
		f := <-frozen
		if f == nil {
			t.Fatal("not frozen")
		}
		got, err := contents(f, 100, false)
		if err != nil || got["k"] != fmt.Sprint(f.At().Seq) || f.At().Seq != 15 && f.At().Seq != 25 {
			t.Errorf("at %s: %v, %v", f.At(), got, err)
		}
		f.Thaw()
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := s.Freeze(ctx, m.p, 1000)
		gone <- err
	}()
	eventually(t, "one waits", waits(1))
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	eventually(t, "nobody waits", waits(0))
}

// More than is put aside ends the reading, and says so.
func TestFrozenCopyThatChangesTooMuch(t *testing.T) {
	o := small(t.TempDir())
	o.MemtableBytes = 16 << 20
	s := open(t, o)
	m := &maker{p: 1, e: 1}
	large := strings.Repeat("x", 1<<20)
	for _, round := range []string{"a", "b"} {
		var f *Frozen
		if round == "b" {
			f = freeze(t, s, m)
		}
		for i := range frozenBytes>>20 + 1 {
			m.put(t, s, keyOf(i), round+large)
			flush(t, s)
			s.Commit(m.p, m.tail.Seq)
			if i%8 == 0 {
				eventually(t, "all is applied", applied(s))
			}
		}
		eventually(t, "all is applied", applied(s))
		if f == nil {
			continue
		}
		if _, err := contents(f, 1000, false); !errors.Is(err, ErrChangedTooMuch) {
			t.Errorf("%v", err)
		}
		f.mu.Lock()
		if f.size != 0 || f.before != nil {
			t.Errorf("%d bytes are kept for nobody", f.size)
		}
		f.mu.Unlock()
	}
}

// Small keys take more than their bytes, and one that comes and goes is noted once.
func TestFrozenCopyOfSmallKeys(t *testing.T) {
	s := open(t, small(t.TempDir()))
	m := &maker{p: 1, e: 1}
	m.put(t, s, "some", "value")
	flush(t, s)
	s.Commit(m.p, m.tail.Seq)
	f := freeze(t, s, m)
	for range 1000 {
		f.keep([]byte("key"), []byte("value"), true)
		f.keep([]byte("key"), nil, false)
	}
	if len(f.gone) != 1 {
		t.Errorf("a key that was removed again and again is noted %d times", len(f.gone))
	}
	n := 0
	for ; f.err == nil && n < frozenBytes; n++ {
		f.keep(fmt.Append(nil, n), nil, false)
	}
	if n > frozenBytes/keptSize || !errors.Is(f.err, ErrChangedTooMuch) {
		t.Errorf("%d keys were put aside: %v", n, f.err)
	}
}

// Two copies with the same log have the same digests, wherever their records are;
// another value is another digest of one range.
func TestDigests(t *testing.T) {
	digests := func(f *Frozen, each int64) (list []subjects.KeyRange) {
		var from []byte
		rests := 0
		for {
			some, next, last, err := f.Digests(from, nil, each, func(int) error { rests++; return nil })
			if err != nil {
				t.Fatal(err)
			}
			if list, from = append(list, some...), next; last {
				if rests == 0 {
					t.Error("never rested")
				}
				return list
			}
		}
	}
	copyOf := func(apply bool, change int) *Frozen {
		o := small(t.TempDir())
		if !apply {
			o.ApplyAfter = time.Hour
		}
		o.MemtableBytes = 64 << 20
		s := open(t, o)
		m := &maker{p: 5, e: 1}
		for i := range 5000 {
			v := "value of " + keyOf(i)
			if i == change {
				v = "another"
			}
			m.put(t, s, keyOf(i), v)
		}
		flush(t, s)
		s.Commit(m.p, m.tail.Seq)
		if apply {
			eventually(t, "all is applied", applied(s))
		}
		return freeze(t, s, m)
	}
	a, b, c := copyOf(true, -1), copyOf(false, -1), copyOf(true, 2500)
	want := digests(a, 1<<30)
	if diff := cmp.Diff(want, digests(b, 1)); diff != "" || len(want) < 2 {
		t.Errorf("%d ranges: %s", len(want), diff)
	}
	n := 0
	for _, r := range digests(c, 1<<20) {
		if !slices.ContainsFunc(want, func(w subjects.KeyRange) bool { return w.Same(&r) }) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("one value differs, and %d ranges do", n)
	}
}

// A damaged record is no part of a digest or a backup: it is told of.
func TestFrozenDamage(t *testing.T) {
	r := newRotten(t)
	f, err := r.Freeze(t.Context(), 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Thaw)
	if _, err := contents(f, 1000, false); err != nil {
		t.Fatal(err)
	}
	replace(t, r.data(), valueOf(3), "X"+valueOf(3)[1:])
	if _, _, _, err := f.Digests(nil, nil, 1<<30, func(int) error { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if d := r.one(); string(d.Key) != keyOf(3) {
		t.Errorf("%+v", d)
	}
}
