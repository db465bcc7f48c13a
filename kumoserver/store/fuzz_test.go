package store

import (
	"bytes"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// FuzzRecord: the decoder never reads past its input, and what it takes is what
// the encoder writes.
func FuzzRecord(f *testing.F) {
	for _, body := range []string{"", "x", "some longer body"} {
		b := append(beginRecord(nil, recCut), body...)
		endRecord(b, 0)
		f.Add(b)
	}
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, body, size, err := readRecord(b)
		if err != nil {
			return
		}
		again := append(beginRecord(nil, kind), body...)
		endRecord(again, 0)
		if !bytes.Equal(again, b[:size]) {
			t.Fatalf("%x became %x", b[:size], again)
		}
	})
}

// FuzzRecords lets recovery do records of any content, valid checksums
// included.
func FuzzRecords(f *testing.F) {
	m := &maker{p: 1, e: 1}
	f.Add(byte(recEntry), m.entry(subjects.EntryPut, "a", "b").Raw)
	f.Add(byte(recCut), []byte{1, 2, 1, 1})
	f.Add(byte(recReset), []byte{1, 2, 1, 1})
	f.Add(byte(recRange), (&subjects.Range{Last: true, Records: []subjects.Record{{Key: []byte("k")}}}).Append(nil))
	f.Add(byte(recCommits), []byte{1, 200})
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		s := &Store{parts: make([]atomic.Pointer[part], ring.MaxPartitions)}
		s.opts, _ = Options{Dir: "unused"}.withDefaults()
		r := &recovery{s: s, logs: map[ring.Partition]*logState{}}
		g := &segment{start: 100, path: "none"}
		for _, k := range []recordKind{recordKind(kind), recEntry, recordKind(kind), recDrop, recordKind(kind)} {
			if err := r.record(g, 0, k, body); err != nil && k == recordKind(kind) {
				return
			}
		}
		for _, p := range s.all {
			r.finish(p)
		}
	})
}

// FuzzMeta: states from bbolt.
func FuzzMeta(f *testing.F) {
	m := partMeta{promised: 3, outline: subjects.Outline{{}, {Epoch: 1, Seq: 2}}, cursor: []byte("x")}
	f.Add(m.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		var m partMeta
		if m.decode(sealed(b)) == nil {
			var again partMeta
			if err := again.decode(m.encode()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzStoreMeta: what bbolt says of the whole store.
func FuzzStoreMeta(f *testing.F) {
	f.Add((&storeMeta{lost: true, from: 7, lsn: 9}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again storeMeta
		if m.decode(sealed(b)) == nil && (again.decode(m.encode()) != nil || again != m) {
			t.Fatalf("%+v became %+v", m, again)
		}
	})
}

// FuzzFolder opens a folder of data whose log was changed in two places, and cut or
// filled up at its end. The store opens, and holds a beginning of what was written,
// or it says that the folder is damaged; it never invents a value, nor loses one
// before the first byte that changed.
func FuzzFolder(f *testing.F) {
	dir := f.TempDir()
	values := []string{"one", "two", "three", "four", "five"}
	o := small(dir)
	o.ApplyAfter = time.Hour // nothing is in bbolt
	s, err := Open(o)
	if err != nil {
		f.Fatal(err)
	}
	m := &maker{p: 2, e: 1}
	for _, v := range values {
		m.put(f, s, "a", v)
		m.put(f, s, v, v)
	}
	flush(f, s)
	end := s.wal.end.Load() - s.wal.last.start
	s.CloseHard()
	if got := valuesOf(f, dir, values); len(got) != len(values) {
		f.Fatalf("of the log as it was there are %q", got)
	}
	f.Add(uint16(60), byte(1), uint16(200), byte(0x80), uint16(1000), []byte(nil))
	f.Add(uint16(end-5), byte(1), uint16(end), byte(0), uint16(end), []byte("\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, at1 uint16, flip1 byte, at2 uint16, flip2 byte, cut uint16, tail []byte) {
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		logs, err := filepath.Glob(filepath.Join(copied, logDir, "*"+segmentExt))
		if err != nil || len(logs) == 0 {
			t.Fatal(logs, err)
		}
		b, err := os.ReadFile(logs[0])
		if err != nil {
			t.Fatal(err)
		}
		same := uint64(cut)
		for at, flip := range map[uint16]byte{at1: flip1, at2: flip2} {
			if i := int(at) % len(b); flip != 0 {
				b[i] ^= flip
				same = min(same, uint64(i))
			}
		}
		b = append(b[:min(int(cut), len(b))], tail[:min(len(tail), 8<<10)]...)
		if err := os.WriteFile(logs[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := valuesOf(t, copied, values); same >= end && len(got) != len(values) {
			t.Fatalf("changes behind the log's end left %q", got)
		}
	})
}

// valuesOf opens a folder and tells which of the values, each under a key of its own,
// are there: the first ones. The key a has the last of them, or the next.
func valuesOf(t testing.TB, dir string, values []string) (there []string) {
	t.Helper()
	o := small(dir)
	o.ApplyAfter = time.Hour
	s, err := Open(o)
	if err != nil {
		return nil
	}
	defer s.CloseHard()
	s.Commit(2, 1<<40)
	for _, v := range values {
		rec, ok, err := s.Get(2, []byte(v))
		if err != nil || !ok {
			break
		}
		if string(rec.Value) != v {
			t.Fatalf("%s is %q", v, rec.Value)
		}
		there = append(there, v)
	}
	a, ok, err := s.Get(2, []byte("a"))
	n := len(there)
	switch {
	case err != nil:
	case !ok && n == 0:
	case ok && n > 0 && string(a.Value) == values[n-1], ok && n < len(values) && string(a.Value) == values[n]:
	default:
		t.Fatalf("a is %q, %v, beside %q", a.Value, ok, there)
	}
	return there
}

// FuzzSegment: a log of any bytes opens.
func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	s, err := Open(small(dir))
	if err != nil {
		f.Fatal(err)
	}
	m := &maker{p: 2, e: 1}
	m.put(f, s, "a", "b")
	flush(f, s)
	name := filepath.Base(s.wal.last.path)
	id := s.ID()
	s.CloseHard()
	b, err := os.ReadFile(filepath.Join(dir, logDir, name))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:400])
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Store{parts: make([]atomic.Pointer[part], ring.MaxPartitions)}
		s.opts, _ = Options{Dir: "unused"}.withDefaults()
		r := &recovery{s: s, logs: map[ring.Partition]*logState{}}
		start, _, err := readHead(b, 1, id)
		if err != nil {
			return
		}
		used, _ := r.records(&segment{start: start, path: "none"}, b, int64(len(b)))
		if used > int64(len(b)) {
			t.Fatal(used)
		}
	})
}
