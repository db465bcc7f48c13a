package store

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

var updateFormat = flag.Bool("update", false, "write testdata/format-2.tar.gz, the folder that every version that reads format 2 must be able to open")

const formatPath = "testdata/format-2.tar.gz"

// A folder that an earlier version left, by its death, is read: every kind of record
// of its log, its data file, and the notes. It is made once for a format; where the
// format gets more, another folder is added.
func TestFormat(t *testing.T) {
	o := small(t.TempDir())
	o.RetainBytes, o.SegmentBytes = 1<<30, 64<<10
	if *updateFormat {
		packFolder(t, makeFormat(t, o), formatPath)
	}
	unpackFolder(t, formatPath, o.Dir)
	if kinds := logKinds(t, o.Dir); kinds != 1<<(recAdopt+1)-2 {
		t.Errorf("the log has the kinds %b: a kind of record is missing; make the folder of a new format", kinds)
	}
	s := open(t, o)
	if list := s.Damaged(); len(list) > 0 {
		t.Fatal(list)
	}
	for p, tail := range map[ring.Partition]uint64{1: 40, 2: 2, 3: 12, 4: 0, 6: 3} {
		st := s.State(p)
		if st.Tail.Seq != tail || st.Promised == 0 || st.Unclean != (p == 6) || st.Incomplete {
			t.Errorf("partition %d: %+v", p, st)
		}
		s.Commit(p, tail)
	}
	if st := s.State(5); !st.Incomplete || len(st.Outline) > 0 {
		t.Errorf("the lost copy: %+v", st)
	}
	for i := range 30 {
		v := fmt.Sprint("value of ", i)
		if i == 7 {
			v = "" // deleted
		}
		want(t, s, 1, keyOf(i), v)
	}
	want(t, s, 2, "before the flush", "")
	want(t, s, 3, "streamed", "by a range")
	want(t, s, 3, "appended", "after it")
	if got, past := s.Session(1, subjects.OpID{Boot: 9, N: 3, Lowest: 3}); past != subjects.PastDone || got.Token != aToken {
		t.Errorf("session: %+v, %v", got, past)
	}
}

// makeFormat fills a store with everything that there is, and leaves it as the death
// of its process would.
func makeFormat(t *testing.T, o Options) string {
	o.Dir = t.TempDir()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	logs := map[ring.Partition]*maker{}
	for p := ring.Partition(1); p < 7; p++ {
		s.Promise(p, 1)
		logs[p] = &maker{p: p, e: 1}
	}
	for i := range 30 {
		e := logs[1].entry(subjects.EntryPut, keyOf(i), fmt.Sprint("value of ", i))
		e.Op, e.Raw = subjects.OpID{Boot: 9, N: uint64(i + 1), Lowest: 1}, nil
		must(s.Append(encoded(e)))
	}
	must(s.Append(logs[1].entry(subjects.EntryDelete, keyOf(7), "")))
	for range 9 {
		must(s.Append(logs[1].entry(subjects.EntryNoop, "", "")))
	}
	logs[2].put(t, s, "before the flush", "v")
	must(s.Append(logs[2].entry(subjects.EntryFlush, "", "")))
	logs[2].put(t, s, "cut off", "v")
	must(s.Cut(2, 2, subjects.Version{Epoch: 1, Seq: 2}))
	base := subjects.Version{Epoch: 1, Seq: 11}
	must(s.Reset(3, 3, base))
	must(s.Range(3, &subjects.Range{
		Header: subjects.Header{Partition: 3, Epoch: 3}, From: []byte{}, Last: true, Through: base.Seq,
		Records: []subjects.Record{{Key: []byte("streamed"), Value: []byte("by a range"), Version: base, Token: aToken}},
	}))
	logs[3].e, logs[3].tail = 3, base
	logs[3].put(t, s, "appended", "after it")
	logs[4].put(t, s, "dropped", "v")
	must(s.Drop(4))
	s.part(5).lose()
	must(s.recordLocked(s.part(5), recLost))
	for range 3 {
		logs[6].put(t, s, "doubtful", "v")
	}
	must(s.recordLocked(s.part(1), recUnclean))
	must(s.Clean(1))
	must(s.recordLocked(s.part(2), recUnclean))
	must(s.Adopt(2))
	must(s.recordLocked(s.part(6), recUnclean))
	flush(t, s)
	for p, m := range logs {
		s.Commit(p, m.tail.Seq)
	}
	eventually(t, "applied", applied(s))
	logs[1].tail.Seq = 40
	s.recordCommits()
	flush(t, s)
	s.CloseHard()
	return o.Dir
}

// logKinds are the kinds of records in a store's log, a bit each.
func logKinds(t *testing.T, dir string) (kinds uint) {
	numbers, err := listSegments(filepath.Join(dir, logDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range numbers {
		b, _, err := readSegment(segmentPath(filepath.Join(dir, logDir), n))
		if err != nil {
			t.Fatal(err)
		}
		for at := segmentHead; at < len(b); {
			kind, _, size, err := readRecord(b[at:])
			if err != nil {
				break
			}
			kinds |= 1 << kind
			at += size
		}
	}
	return kinds
}

// packFolder keeps a store's folder, without what is empty of preallocated files.
func packFolder(t *testing.T, dir, path string) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), z.Close(), os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, buf.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func unpackFolder(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(to, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, b, 0o600))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
