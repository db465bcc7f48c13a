package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

func TestWriteReadReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, small(dir))
	id := s.ID()
	m := &maker{p: 3, e: 1}
	s.Promise(3, 1)
	for i := range 100 {
		m.put(t, s, keyOf(i), fmt.Sprint("v", i))
	}
	want(t, s, 3, keyOf(5), "")
	flush(t, s)
	s.Commit(3, 90)
	want(t, s, 3, keyOf(5), "v5")
	want(t, s, 3, keyOf(89), "v89")
	want(t, s, 3, keyOf(90), "")
	eventually(t, "applied", func() bool { return s.Stats().Items == 90 && s.Stats().Waiting == 0 })
	want(t, s, 3, keyOf(5), "v5")
	wantState := State{
		Promised: 1, Outline: subjects.Outline{{}, {Epoch: 1, Seq: 100}}, Tail: subjects.Version{Epoch: 1, Seq: 100},
		Commit: 90, Cursor: []byte{},
	}
	check := func() {
		t.Helper()
		got := s.State(3)
		got.Cursor = append([]byte{}, got.Cursor...)
		if d := cmp.Diff(wantState, got); d != "" {
			t.Fatal(d)
		}
		want(t, s, 3, keyOf(5), "v5")
		want(t, s, 3, keyOf(90), "")
		list, ok := s.Entries(3, 1, 1<<20)
		if !ok || list[0].Version.Seq != 1 {
			t.Fatalf("entries from 1: %d, %v", len(list), ok)
		}
		list, ok = s.Entries(3, 95, 1<<20)
		if !ok || len(list) != 6 || string(list[5].Key) != keyOf(99) {
			t.Fatalf("entries from 95: %d, %v", len(list), ok)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, small(dir))
	check()
	if s.ID() != id || len(s.Unclean()) > 0 || len(s.Damaged()) > 0 {
		t.Fatalf("id %v, unclean %v, damaged %v", s.ID(), s.Unclean(), s.Damaged())
	}
	s.CloseHard()
	s = open(t, small(dir))
	check()
	s.Commit(3, 100)
	want(t, s, 3, keyOf(99), "v99")
}

func TestVersionsAndAttributes(t *testing.T) {
	s := open(t, small(t.TempDir()))
	m := &maker{p: 1, e: 5}
	m.put(t, s, "a", "x")
	flush(t, s)
	s.Commit(1, 1)
	check := func() {
		t.Helper()
		got, _, err := s.Get(1, []byte("a"))
		w := subjects.Record{Key: []byte("a"), Value: []byte("x"), Flags: 7, Expiry: 11, Bits: subjects.MarkStale, Token: 12, Version: subjects.Version{Epoch: 5, Seq: 1}}
		if d := cmp.Diff(w, got); d != "" || err != nil {
			t.Fatal(d, err)
		}
	}
	check()
	eventually(t, "applied", applied(s))
	check()
}

func TestFolders(t *testing.T) {
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "kumodb.tch")
		os.WriteFile(path, []byte("x"), 0o600)
		_, err := Open(small(path))
		if err == nil || !strings.Contains(err.Error(), "is a file; -s names a folder here") {
			t.Fatal(err)
		}
	})
	t.Run("somebody's", func(t *testing.T) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, "letter.txt"), []byte("x"), 0o600)
		if _, err := Open(small(dir)); !errors.Is(err, ErrNotStore) {
			t.Fatal(err)
		}
		list, _ := os.ReadDir(dir)
		if len(list) != 1 {
			t.Fatalf("left something: %v", list)
		}
	})
	t.Run("in use", func(t *testing.T) {
		o := small(t.TempDir())
		open(t, o)
		_, err := Open(o)
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
			t.Fatal(err)
		}
	})
	t.Run("other format", func(t *testing.T) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, identityName), []byte(`{"format":9,"id":"0000000000000001"}`), 0o600)
		if _, err := Open(small(dir)); !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
	})
	t.Run("other cluster", func(t *testing.T) {
		o := small(t.TempDir())
		s := open(t, o)
		for _, c := range []ring.ClusterID{7, 7} {
			if err := s.SetClusterID(c); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		s = open(t, o)
		if err := s.SetClusterID(8); !errors.Is(err, ErrOtherCluster) || s.ClusterID() != 7 {
			t.Fatal(err, s.ClusterID())
		}
	})
}

func TestGapAndCut(t *testing.T) {
	o := small(t.TempDir())
	s := open(t, o)
	m := &maker{p: 2, e: 1}
	for i := range 10 {
		m.put(t, s, keyOf(i), "old")
	}
	flush(t, s)
	s.Commit(2, 4)
	bad := &maker{p: 2, e: 1, tail: subjects.Version{Epoch: 1, Seq: 12}}
	if err := s.Append(bad.entry(subjects.EntryPut, "x", "y")); !errors.Is(err, ErrGap) {
		t.Fatal(err)
	}
	if err := s.Cut(2, 2, subjects.Version{Epoch: 1, Seq: 3}); !errors.Is(err, ErrBelowCommit) || s.State(2).Promised != 0 {
		t.Fatal(err)
	}
	if err := s.Cut(2, 2, subjects.Version{Epoch: 1, Seq: 11}); !errors.Is(err, ErrNotShared) {
		t.Fatal(err)
	}
	if err := s.Cut(2, 2, subjects.Version{Epoch: 1, Seq: 6}); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	m = &maker{p: 2, e: 3, tail: subjects.Version{Epoch: 1, Seq: 6}}
	for i := 6; i < 9; i++ {
		m.put(t, s, keyOf(i), "new")
	}
	flush(t, s)
	s.Commit(2, 9)
	for range 2 {
		st := s.State(2)
		if d := cmp.Diff(subjects.Outline{{}, {Epoch: 1, Seq: 6}, {Epoch: 3, Seq: 9}}, st.Outline); d != "" {
			t.Fatal(d)
		}
		if st.Promised != 2 {
			t.Fatal(st)
		}
		s.Commit(2, 9)
		want(t, s, 2, keyOf(5), "old")
		want(t, s, 2, keyOf(8), "new")
		want(t, s, 2, keyOf(9), "")
		list, ok := s.Entries(2, 1, 1<<20)
		for len(list) < 9 && ok {
			var more []subjects.Entry
			more, ok = s.Entries(2, uint64(len(list)+1), 1<<20)
			list = append(list, more...)
		}
		if !ok || list[6].Version != (subjects.Version{Epoch: 3, Seq: 7}) {
			t.Fatal(ok, list)
		}
		s.CloseHard()
		s = open(t, o)
	}
}

func TestStream(t *testing.T) {
	o := small(t.TempDir())
	s := open(t, o)
	m := &maker{p: 2, e: 1}
	for i := range 10 {
		m.put(t, s, keyOf(i), "stale")
	}
	flush(t, s)
	s.Commit(2, 10)
	eventually(t, "applied", applied(s))
	base := subjects.Version{Epoch: 4, Seq: 50}
	if err := s.Reset(2, 4, base); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	reopen := func() {
		t.Helper()
		s.CloseHard()
		s = open(t, o)
	}
	reopen()
	want(t, s, 2, keyOf(1), "")
	if st := s.State(2); !st.Incomplete || len(st.Cursor) != 0 || st.Base != base || st.Commit != 50 || st.Promised != 4 {
		t.Fatalf("%+v", st)
	}
	m = &maker{p: 2, e: 4, tail: base}
	m.put(t, s, "k5", "later") // before the range that has not seen it
	flush(t, s)
	s.Commit(2, 51)
	want(t, s, 2, "k5", "")
	rec := func(k, v string) subjects.Record {
		return subjects.Record{Key: []byte(k), Value: []byte(v), Version: subjects.Version{Epoch: 3, Seq: 7}, Token: aToken}
	}
	first := &subjects.Range{Header: subjects.Header{Partition: 2, Epoch: 4}, To: []byte("k6"), Through: 50, Records: []subjects.Record{rec("k1", "a"), rec("k5", "b")}}
	bad := *first
	bad.To = []byte("k5")
	if err := s.Range(2, &bad); !errors.Is(err, ErrOutOfRange) {
		t.Fatal(err)
	}
	if err := s.Range(2, first); err != nil {
		t.Fatal(err)
	}
	m.put(t, s, "k0", "between")
	m.put(t, s, "k9", "unseen")
	s.Commit(2, 53)
	flush(t, s)
	reopen()
	s.Commit(2, 53)
	want(t, s, 2, "k1", "a")
	want(t, s, 2, "k5", "later")
	want(t, s, 2, "k0", "between")
	want(t, s, 2, "k9", "")
	if st := s.State(2); string(st.Cursor) != "k6" || !st.Incomplete {
		t.Fatalf("%+v", st)
	}
	gap := &subjects.Range{Header: subjects.Header{Partition: 2}, From: []byte("k7"), Last: true, Through: 53}
	if err := s.Range(2, gap); !errors.Is(err, ErrGap) {
		t.Fatal(err)
	}
	last := &subjects.Range{Header: subjects.Header{Partition: 2}, From: []byte("k6"), Last: true, Through: 53, Records: []subjects.Record{rec("k9", "unseen")}}
	if err := s.Range(2, last); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	for range 2 {
		want(t, s, 2, "k9", "unseen")
		want(t, s, 2, keyOf(1), "")
		if st := s.State(2); st.Incomplete {
			t.Fatalf("%+v", st)
		}
		eventually(t, "applied", applied(s))
		recs, _, end, err := s.Scan(2, nil, 1<<20)
		if err != nil || !end || len(recs) != 4 || s.Items(2) != 4 {
			t.Fatal(recs, end, err, s.Items(2))
		}
		reopen()
	}
	if err := s.Drop(2); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	for range 2 {
		want(t, s, 2, "k9", "")
		if st := s.State(2); st.Promised != 4 || st.Tail.Seq != 0 || st.Incomplete {
			t.Fatalf("%+v", st)
		}
		eventually(t, "applied", func() bool { return s.Items(2) == 0 })
		reopen()
	}
}

// What a copy had leaves the data file although nothing commits any more, as on a server that was detached.
func TestDroppedLeavesTheFile(t *testing.T) {
	s := open(t, small(t.TempDir()))
	m := &maker{p: 2, e: 1}
	for i := range 700 {
		m.put(t, s, keyOf(i), "v")
	}
	flush(t, s)
	s.Commit(2, 700)
	stored := func() (keys int) {
		err := s.db.Load().View(func(tx *bbolt.Tx) error {
			keys = tx.Bucket(bucketData).Stats().KeyN
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	eventually(t, "applied", func() bool { return applied(s)() && stored() >= 700 })
	if err := s.Drop(2); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	eventually(t, "gone", func() bool { return stored() <= 1 }) // a mark of the file itself
}

func TestFlushEntry(t *testing.T) {
	o := small(t.TempDir())
	s := open(t, o)
	m := &maker{p: 2, e: 1}
	for i := range 700 {
		m.put(t, s, keyOf(i), "v")
	}
	flush(t, s)
	s.Commit(2, 700)
	eventually(t, "applied", applied(s))
	if err := s.Append(m.entry(subjects.EntryFlush, "", "")); err != nil {
		t.Fatal(err)
	}
	m.put(t, s, keyOf(3), "after")
	flush(t, s)
	s.Commit(2, 702)
	for range 2 {
		want(t, s, 2, keyOf(2), "")
		want(t, s, 2, keyOf(3), "after")
		recs, _, last, err := s.Scan(2, nil, 1<<20)
		if err != nil || len(recs) != 1 || !last {
			t.Fatal(recs, err)
		}
		eventually(t, "applied", applied(s))
		if s.Items(2) != 1 {
			t.Fatal(s.Items(2))
		}
	}
}

func TestLogIsRetainedAndRemoved(t *testing.T) {
	o := small(t.TempDir())
	s := open(t, o)
	m := &maker{p: 2, e: 1}
	value := strings.Repeat("v", 500)
	for i := range 2000 {
		m.put(t, s, keyOf(i%10), value)
		if i%20 == 19 {
			flush(t, s)
			s.Commit(2, uint64(i+1))
		}
	}
	flush(t, s)
	eventually(t, "old segments go", func() bool { return s.Stats().Log < 3*o.RetainBytes && s.Stats().Backlog == 0 })
	if _, ok := s.Entries(2, 1, 1); ok {
		t.Fatal("entry 1 is still there")
	}
	from := uint64(2000 - o.RetainBytes/600)
	for n := from; n <= 2000; {
		list, ok := s.Entries(2, n, 10<<10)
		if !ok {
			t.Fatalf("entry %d is gone", n)
		}
		for _, e := range list {
			if e.Version.Seq != n {
				t.Fatalf("entry %d for %d", e.Version.Seq, n)
			}
			n++
		}
	}
	s.CloseHard()
	s = open(t, o)
	if st := s.State(2); st.Tail.Seq != 2000 || st.Commit < 1900 {
		t.Fatalf("%+v", st)
	}
	want(t, s, 2, keyOf(1), value)
}

// Entries that cannot commit do not keep the rest of the log.
func TestStuckEntriesAreCarried(t *testing.T) {
	o := small(t.TempDir())
	s := open(t, o)
	stuck, busy := &maker{p: 1, e: 1}, &maker{p: 2, e: 1}
	for i := range 5 {
		stuck.put(t, s, keyOf(i), "stuck")
	}
	s.Commit(1, 2)
	value := strings.Repeat("v", 1000)
	for round := range 6 {
		for i := range 200 {
			busy.put(t, s, keyOf(i%10), value)
			if i%10 == 9 {
				flush(t, s)
				s.Commit(2, busy.tail.Seq)
			}
		}
		eventually(t, "the log is short", func() bool {
			flush(t, s)
			s.applier.kickNow()
			return s.Stats().Log < o.RetainBytes+5*o.SegmentBytes
		})
		list, ok := s.Entries(1, 3, 1<<20)
		if !ok || len(list) != 3 || list[2].Version.Seq != 5 {
			t.Fatal(list, ok)
		}
		if round%2 == 0 {
			s.CloseHard()
		} else {
			s.Close()
		}
		s = open(t, o)
		if st := s.State(1); st.Tail.Seq != 5 || st.Commit != 2 || len(s.Damaged()) > 0 {
			t.Fatalf("%+v %v", st, s.Damaged())
		}
	}
	s.Commit(1, 5)
	want(t, s, 1, keyOf(4), "stuck")
	eventually(t, "applied", applied(s))
	s.Close()
	s = open(t, o)
	if st := s.State(1); st.Tail.Seq != 5 || len(s.Damaged()) > 0 {
		t.Fatalf("%+v %v", st, s.Damaged())
	}
}

// The processes of a store are counted, whether they end well or not.
func TestStartsAreCounted(t *testing.T) {
	o := small(t.TempDir())
	for n := uint64(1); n <= 3; n++ {
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Starts(); got != n {
			t.Errorf("start %d counts as %d", n, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
