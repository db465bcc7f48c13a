package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// copyStore copies a store's folder, as a crash would leave it.
func copyStore(t testing.TB, from string) string {
	t.Helper()
	for {
		to := t.TempDir()
		err := os.CopyFS(to, os.DirFS(from))
		if err == nil {
			return to
		}
		if !errors.Is(err, fs.ErrNotExist) || t.Context().Err() != nil { // a segment of the log was removed meanwhile
			t.Fatal(err)
		}
	}
}

// Every byte of the last records damaged, and the file cut there: what is
// before the damage stays, what is behind it goes, and nothing else happens.
func TestTailDamage(t *testing.T) {
	src := t.TempDir()
	o := small(src)
	s := open(t, o)
	m := &maker{p: 2, e: 1}
	for i := range 5 {
		m.put(t, s, keyOf(i), "some value")
	}
	flush(t, s)
	seg, from := s.wal.pos()
	var ends []int64
	for i := 5; i < 8; i++ {
		m.put(t, s, keyOf(i), "some value")
		_, off := s.wal.pos()
		ends = append(ends, off)
	}
	flush(t, s)
	name := filepath.Base(seg.path)
	dir := copyStore(t, src)
	s.CloseHard()
	path := filepath.Join(dir, logDir, name)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := from; at < ends[2]; at++ {
		for _, how := range []string{"flip", "zero", "cut"} {
			b := append([]byte{}, good...)
			switch how {
			case "flip":
				b[at] ^= 0x40
			case "zero":
				clear(b[at:])
			case "cut":
				b = b[:at]
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			whole := uint64(5)
			for _, end := range ends {
				if at >= end {
					whole++
				}
			}
			got, damaged := reopenAt(t, dir, numberOf(t, name))
			if how == "zero" && allZero(good[at:ends[2]]) || how != "flip" && whole == 5 && at == from {
				damaged = true // nothing to be seen
			}
			if got != whole && !(how == "zero" && got == whole+1) || !damaged && !isBoundary(at, from, ends) {
				t.Fatalf("%s byte %d: %d entries, want %d; damage reported: %v", how, at, got, whole, damaged)
			}
		}
	}
}

func isBoundary(at, from int64, ends []int64) bool {
	for _, e := range ends {
		if at == e {
			return true
		}
	}
	return at == from
}

func numberOf(t testing.TB, name string) uint64 {
	var n uint64
	if _, err := fmt.Sscanf(name, "%d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// reopenAt opens the store, crashes it and leaves the log as it was, segments
// behind number aside.
func reopenAt(t testing.TB, dir string, number uint64) (tail uint64, damaged bool) {
	t.Helper()
	s, err := Open(small(dir))
	if err != nil {
		t.Fatal(err)
	}
	tail, damaged = s.State(2).Tail.Seq, len(s.Damaged()) > 0
	s.CloseHard()
	numbers, _ := listSegments(filepath.Join(dir, logDir))
	for _, n := range numbers {
		if n > number {
			os.Remove(segmentPath(filepath.Join(dir, logDir), n))
		}
	}
	return tail, damaged
}

// A log that is gone was all that knew of a copy that bbolt had nothing of: none
// may then pass for one that never held anything.
func TestLogIsMissing(t *testing.T) {
	for _, what := range []string{"every segment", "all that was begun"} {
		o := small(t.TempDir())
		o.ApplyAfter = 1 << 40
		s := open(t, o)
		m := &maker{p: 2, e: 1}
		s.Promise(2, 1)
		m.put(t, s, "k", "v")
		flush(t, s)
		// The segment that comes next is there when a process is killed.
		eventually(t, "the next segment is made", s.prep.hasMore)
		begun, _ := s.wal.pos()
		s.CloseHard()
		if what == "every segment" {
			if err := os.RemoveAll(filepath.Join(o.Dir, logDir)); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Remove(begun.path); err != nil {
			t.Fatal(err)
		}
		for range 2 { // what is found is not forgotten
			s = open(t, o)
			if got := s.Doubtful(); !slices.Contains(got, 2) {
				t.Errorf("without %s: %d partitions are in doubt, and not this one", what, len(got))
			}
			if st := s.State(2); !st.Incomplete {
				t.Errorf("without %s the copy is %+v", what, st)
			}
			s.CloseHard()
		}
	}
}

func TestHoleInLog(t *testing.T) {
	o := small(t.TempDir())
	o.ApplyAfter = 1 << 40
	s := open(t, o)
	m := &maker{p: 2, e: 1}
	for i := range 200 {
		m.put(t, s, keyOf(i), strings.Repeat("v", 500))
		flush(t, s)
	}
	second := segmentPath(filepath.Join(o.Dir, logDir), 2)
	s.CloseHard()
	f, err := os.OpenFile(second, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("rubbish"), 9000)
	f.Close()
	s = open(t, o)
	st := s.State(2)
	if !isUnclean(s) || st.Tail.Seq >= 60 || st.Tail.Seq < 30 {
		t.Fatalf("%+v", st)
	}
	m = &maker{p: 2, e: 1, tail: st.Tail}
	m.put(t, s, "more", "v")
	flush(t, s)
	s.CloseHard()
	s = open(t, o)
	if got := s.State(2).Tail.Seq; got != st.Tail.Seq+1 || !isUnclean(s) {
		t.Fatalf("tail %d, unclean %v", got, s.Unclean())
	}
}

// isUnclean reports whether partition 2, which the tests write to, is.
func isUnclean(s *Store) bool { return slices.Contains(s.Unclean(), 2) && s.State(2).Unclean }

func TestUnclean(t *testing.T) {
	for _, c := range []struct {
		mode  SyncMode
		boot  string
		clean bool
		want  bool
	}{
		{SyncInterval, "boot-1", false, false},
		{SyncInterval, "boot-2", true, false},
		{SyncInterval, "boot-2", false, true},
		{SyncNone, "boot-2", false, true},
		{SyncAlways, "boot-2", false, false},
	} {
		o := small(t.TempDir())
		o.Sync = c.mode
		s := open(t, o)
		m := &maker{p: 2, e: 1}
		m.put(t, s, "a", "b")
		flush(t, s)
		if c.clean {
			s.Close()
		} else {
			s.CloseHard()
		}
		o.OSBoot = c.boot
		for range 2 { // it stays
			s = open(t, o)
			if isUnclean(s) != c.want || s.State(3).Unclean {
				t.Errorf("%+v: unclean %v", c, s.Unclean())
			}
			s.Close()
		}
	}
}

// An unclean copy becomes clean by itself alone, for good, and is so in the
// file as well as in the log.
func TestUncleanEnds(t *testing.T) {
	for name, end := range map[string]func(*Store) error{
		"clean": func(s *Store) error { return s.Clean(2) },
		"adopt": func(s *Store) error { return s.Adopt(2) },
		"reset": func(s *Store) error { return s.Reset(2, 9, subjects.Version{Epoch: 8, Seq: 80}) },
		"drop":  func(s *Store) error { return s.Drop(2) },
	} {
		for _, how := range []string{"log", "file"} {
			t.Run(name+" in the "+how, func(t *testing.T) {
				o := small(t.TempDir())
				if how == "log" {
					o.ApplyAfter = time.Hour
				}
				s := open(t, o)
				for p := ring.Partition(2); p < 4; p++ {
					m := &maker{p: p, e: 1}
					m.put(t, s, "a", "b")
				}
				flush(t, s)
				s.CloseHard()
				o.OSBoot = "boot-2"
				s = open(t, o)
				if got := s.Unclean(); !slices.Equal(got, []ring.Partition{2, 3}) {
					t.Fatalf("unclean: %v", got)
				}
				if how == "file" {
					p := s.part(2)
					eventually(t, "applied", func() bool {
						p.mu.RLock()
						defer p.mu.RUnlock()
						return p.stored.unclean
					})
				}
				if err := end(s); err != nil {
					t.Fatal(err)
				}
				flush(t, s)
				for range 2 {
					if got := s.Unclean(); !slices.Equal(got, []ring.Partition{3}) {
						t.Fatalf("unclean: %v", got)
					}
					s.CloseHard()
					s = open(t, o)
				}
			})
		}
	}
}

// A copy that is lost, or not complete, is made the truth: what there is, stays,
// and it can be written to.
func TestAdopt(t *testing.T) {
	for _, lost := range []bool{true, false} {
		o := small(t.TempDir())
		s := open(t, o)
		m := &maker{p: 2, e: 1}
		if lost {
			m.put(t, s, "a", "b")
			flush(t, s)
			s.Close()
			os.Remove(filepath.Join(o.Dir, dataName))
			s = open(t, o)
			m.tail = subjects.Version{}
		} else {
			m.tail = subjects.Version{Epoch: 1, Seq: 7}
			if err := s.Reset(2, 1, m.tail); err != nil {
				t.Fatal(err)
			}
			r := &subjects.Range{Header: subjects.Header{Partition: 2}, To: []byte("m"), Through: 7, Records: []subjects.Record{{Key: []byte("kept"), Value: []byte("v"), Token: aToken}}}
			if err := s.Range(2, r); err != nil {
				t.Fatal(err)
			}
			m.put(t, s, "not reached", "v")
			s.Commit(2, 8)
		}
		if st := s.State(2); !st.Incomplete {
			t.Fatalf("%+v", st)
		}
		if err := s.Adopt(2); err != nil {
			t.Fatal(err)
		}
		m.e = 5
		m.put(t, s, "z", "new")
		flush(t, s)
		s.Commit(2, m.tail.Seq)
		for _, hard := range []bool{true, false, true} {
			st := s.State(2)
			if st.Incomplete || st.Unclean || st.Tail != m.tail || len(s.Unclean()) > 0 {
				t.Fatalf("%+v", st)
			}
			want(t, s, 2, "a", "")
			want(t, s, 2, "not reached", "")
			want(t, s, 2, "z", "new")
			if !lost {
				want(t, s, 2, "kept", "v")
			}
			if hard {
				s.CloseHard()
			} else {
				s.Close()
			}
			s = open(t, o)
			s.Commit(2, m.tail.Seq)
		}
	}
}

func TestDamagedData(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"rubbish": func(t *testing.T, path string) {
			os.WriteFile(path, []byte(strings.Repeat("rubbish", 10000)), 0o600)
		},
		"short":   func(t *testing.T, path string) { os.Truncate(path, 100) },
		"cut":     func(t *testing.T, path string) { os.Truncate(path, 3*4096) },
		"empty":   func(t *testing.T, path string) { os.Truncate(path, 0) },
		"missing": func(t *testing.T, path string) { os.Remove(path) },
		"pages": func(t *testing.T, path string) {
			f, _ := os.OpenFile(path, os.O_RDWR, 0)
			defer f.Close()
			fi, _ := f.Stat()
			for off := int64(2 * 4096); off < fi.Size(); off += 4096 {
				f.WriteAt([]byte(strings.Repeat("\xff", 64)), off)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := small(t.TempDir())
			s := open(t, o)
			m := &maker{p: 2, e: 1}
			s.Promise(2, 5)
			for i := range 400 {
				m.put(t, s, keyOf(i), strings.Repeat("v", 100))
			}
			flush(t, s)
			s.Commit(2, 400)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			damage(t, filepath.Join(o.Dir, dataName))
			for range 2 {
				s = open(t, o)
				st := s.State(2)
				if st.Promised != 5 || st.Tail.Seq != 0 || len(st.Outline) > 0 || !st.Incomplete || st.Commit != 0 {
					t.Fatalf("%+v", st)
				}
				if other := s.State(9); !other.Incomplete || len(other.Outline) > 0 {
					t.Fatalf("%+v", other)
				}
				want(t, s, 2, keyOf(1), "")
				bad := &maker{p: 2, e: 1}
				if err := s.Append(bad.entry(subjects.EntryPut, "a", "b")); err == nil {
					t.Fatal("a lost copy took an entry")
				}
				s.Close()
			}
			s = open(t, o)
			if len(s.Damaged()) > 0 {
				t.Fatal(s.Damaged())
			}
			giveBack(t, s)
			for _, end := range []func(*Store){(*Store).CloseHard, func(s *Store) { s.Close() }} {
				end(s)
				s = open(t, o)
				want(t, s, 2, "a", "b")
				if st := s.State(2); st.Incomplete || st.Promised != 6 {
					t.Fatalf("%+v", st)
				}
			}
		})
	}
}

// giveBack completes the lost copy as a stream does.
func giveBack(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Reset(2, 6, subjects.Version{Epoch: 1, Seq: 400}); err != nil {
		t.Fatal(err)
	}
	r := &subjects.Range{Header: subjects.Header{Partition: 2}, Last: true, Through: 400, Records: []subjects.Record{{Key: []byte("a"), Value: []byte("b"), Token: aToken}}}
	if err := s.Range(2, r); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
}

// A value whose bytes changed on the disk is an error, not another value.
func TestDamagedValue(t *testing.T) {
	o := small(t.TempDir())
	s := open(t, o)
	m := &maker{p: 2, e: 1}
	m.put(t, s, "a", "the value to be found")
	m.put(t, s, "b", "another")
	flush(t, s)
	s.Commit(2, 2)
	eventually(t, "applied", applied(s))
	s.Close()
	path := filepath.Join(o.Dir, dataName)
	b, _ := os.ReadFile(path)
	b = []byte(strings.ReplaceAll(string(b), "the value to be found", "the value to be fount"))
	os.WriteFile(path, b, 0o600)
	s = open(t, o)
	if _, found, err := s.Get(2, []byte("a")); found || !isCorrupt(err) {
		t.Fatal(found, err)
	}
	want(t, s, 2, "b", "another")
	if _, _, _, err := s.Scan(2, nil, 1000); !isCorrupt(err) {
		t.Fatal(err)
	}
}

func TestFullDisk(t *testing.T) {
	full := false
	o := small(t.TempDir())
	ch := make(chan bool, 1)
	ch <- false
	o.disk = &disk{allocate: func(f *os.File, n int64) error {
		full = <-ch
		ch <- full
		if full {
			return syscall.ENOSPC
		}
		return preallocate(f, n)
	}}
	s := open(t, o)
	m := &maker{p: 2, e: 1}
	<-ch
	ch <- true
	for i := 0; s.Admit() == Roomy; i++ {
		e := m.entry(subjects.EntryPut, keyOf(i), strings.Repeat("v", 500))
		if err := s.Append(e); err != nil {
			m.tail = e.Prev
			break
		}
		flush(t, s)
		if i > 1000 {
			t.Fatal("never full")
		}
	}
	eventually(t, "full", s.Full)
	e := m.entry(subjects.EntryPut, "x", "y")
	if room := s.Admit(); room != Full {
		t.Fatal(room)
	}
	if err := s.Append(e); err != ErrNoSpace {
		t.Fatal(err)
	}
	m.tail = e.Prev
	for i := range 100 {
		if err := s.Append(m.entry(subjects.EntryDelete, keyOf(i), "")); err != nil {
			t.Fatal(err)
		}
		s.Promise(2, ring.Epoch(i+2))
	}
	flush(t, s)
	<-ch
	ch <- false
	eventually(t, "room again", func() bool { return s.Admit() == Roomy })
	m.put(t, s, "x", "y")
	flush(t, s)
	s.Commit(2, m.tail.Seq)
	s.CloseHard()
	s = open(t, small(o.Dir))
	if st := s.State(2); st.Tail != m.tail || st.Promised != 101 {
		t.Fatalf("%+v, want %s", st, m.tail)
	}
}

func TestFailedSync(t *testing.T) {
	o := small(t.TempDir())
	o.Sync = SyncAlways
	bad := make(chan struct{})
	o.disk = &disk{sync: func(f *os.File) error {
		select {
		case <-bad:
			return syscall.EIO
		default:
			return datasync(f)
		}
	}}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	m := &maker{p: 2, e: 1}
	m.put(t, s, "a", "b")
	close(bad)
	done := make(chan error, 1)
	if s.Flush(func(err error) { done <- err }) != Written {
		t.Fatal("durable at once")
	}
	if err := <-done; err == nil {
		t.Fatal("no error")
	}
	if err := <-s.Failed(); err == nil {
		t.Fatal("no failure")
	}
	if err := s.Close(); err == nil {
		t.Fatal("closed cleanly")
	}
	path := segmentPath(filepath.Join(o.Dir, logDir), 1)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s = open(t, small(o.Dir)); !isUnclean(s) || s.State(2).Tail.Seq != 1 {
		t.Fatalf("%+v after a failed sync", s.State(2))
	}
	// What the kernel shows of the file need not be on the disk: it was written
	// once more.
	if after, err := os.Stat(path); err != nil || os.SameFile(before, after) {
		t.Fatalf("the log was not written again: %v", err)
	}
}

func TestFailedWrite(t *testing.T) {
	o := small(t.TempDir())
	bad := false
	o.disk = &disk{write: func(f *os.File, b []byte, off int64) (int, error) {
		if bad && strings.HasSuffix(f.Name(), segmentExt) {
			n, _ := f.WriteAt(b[:len(b)/2], off)
			return n, io.ErrShortWrite
		}
		return f.WriteAt(b, off)
	}}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	m := &maker{p: 2, e: 1}
	m.put(t, s, "a", "b")
	flush(t, s)
	bad = true
	m.put(t, s, "c", "d")
	done := make(chan error, 1)
	if s.Flush(func(err error) { done <- err }) != Failed || <-done == nil {
		t.Fatal("no error")
	}
	if err := s.Append(m.entry(subjects.EntryPut, "e", "f")); err == nil {
		t.Fatal("took an entry after a failed write")
	}
	if err := s.Close(); err == nil {
		t.Fatal("closed cleanly")
	}
	s = open(t, small(o.Dir))
	if st := s.State(2); st.Tail.Seq != 1 || !st.Unclean {
		t.Fatalf("%+v", st)
	}
}

func isCorrupt(err error) bool { return errors.Is(err, ErrCorrupt) }
