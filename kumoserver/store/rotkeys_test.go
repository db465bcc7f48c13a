package store

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects"
)

// A key of which the partition or the kind is another, wherever on its page it is,
// ends no reading of its partition as if nothing came behind it.
func TestRotOfAKeysBeginning(t *testing.T) {
	r := newRotten(t)
	b, err := os.ReadFile(r.data())
	if err != nil {
		t.Fatal(err)
	}
	frozen, err := r.Freeze(t.Context(), 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Thaw()
	read := func(f func(from []byte, maxBytes int) ([]subjects.Record, []byte, bool, error)) (n int, err error) {
		for from, last := []byte(nil), false; !last && err == nil; {
			var recs []subjects.Record
			recs, from, last, err = f(from, 4000)
			n += len(recs)
		}
		return n, err
	}
	flip := func(at int, bit int) {
		t.Helper()
		write(t, r.data(), int64(at), []byte{b[at] ^ 1<<bit})
		for name, f := range map[string]func([]byte, int) ([]subjects.Record, []byte, bool, error){
			"scan": func(from []byte, size int) ([]subjects.Record, []byte, bool, error) {
				return r.Scan(2, from, size)
			},
			"frozen": frozen.Read,
		} {
			if n, err := read(f); err == nil && n != rotKeys {
				t.Errorf("bit %d of byte %d (%d of a page): %s: %d records of %d, and no error", bit, at, at%os.Getpagesize(), name, n, rotKeys)
			}
		}
		write(t, r.data(), int64(at), b[at:at+1])
	}
	var keys []int // the first, the last and another of each leaf
	if err := r.viewTx(func(tx *bbolt.Tx) error {
		tr, _ := treeOf(tx.Bucket(bucketData))
		root, err := tr.node(tr.root)
		if err != nil {
			return err
		}
		for c := range root.n {
			n, err := tr.enter(&root, c)
			if err != nil {
				return err
			}
			for _, i := range []int{0, n.n / 2, n.n - 1} {
				keys = append(keys, int(n.id)*tr.size+keyAt(&n, i))
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, at := range keys {
		for bit := range 24 {
			flip(at+bit/8, bit%8)
		}
	}
}

// keyAt is where on its page a key of a leaf is.
func keyAt(n *node, i int) int {
	at := boltPageHead + i*boltElement
	return at + int(binary.NativeEndian.Uint32(n.b[at+4:]))
}

// A copy's state whose key has become another's, or nobody's, is not taken for the
// absence of a copy, nor for another's state.
func TestRotOfAStatesKey(t *testing.T) {
	o := small(t.TempDir())
	o.RetainBytes = -1
	s := open(t, o)
	logs := []*maker{{p: 2, e: 1}, {p: 3, e: 1}}
	for round := range 60 { // so that the log's beginning is gone, and all of partition 2
		for _, m := range logs[min(round/10, 1):] {
			m.put(t, s, keyOf(round), strings.Repeat("v", 3000))
		}
		flush(t, s)
		for _, m := range logs {
			s.Commit(m.p, m.tail.Seq)
		}
		s.applier.kickNow()
		eventually(t, "applied", applied(s))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.Dir, dataName)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 24 {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(o.Dir)); err != nil {
			t.Fatal(err)
		}
		rotten := slices.Clone(b)
		for at := 0; ; at++ { // in old pages, too
			i := bytes.Index(rotten[at:], append(metaKey(2), metaVersion))
			if i < 0 {
				break
			}
			at += i
			rotten[at+bit/8] ^= 1 << (bit % 8)
		}
		if bytes.Equal(rotten, b) {
			t.Fatal("there is no state of partition 2")
		}
		if err := os.WriteFile(filepath.Join(dir, dataName), rotten, 0o600); err != nil {
			t.Fatal(err)
		}
		o := o
		o.Dir = dir
		s, err := Open(o)
		if err != nil {
			t.Errorf("bit %d: %v", bit, err)
			continue
		}
		for _, m := range logs {
			if slices.Contains(s.Doubtful(), m.p) {
				continue
			}
			if tail := s.State(m.p).Tail; tail != m.tail {
				t.Errorf("bit %d: partition %d ends at %s, not %s, and is not in doubt: %v", bit, m.p, tail, m.tail, s.Damaged())
				continue
			}
			s.Commit(m.p, m.tail.Seq)
			if recs, _, last, err := s.Scan(m.p, nil, 1<<30); err == nil && (!last || len(recs) != int(m.tail.Seq)) {
				t.Errorf("bit %d: partition %d has %d records of %d", bit, m.p, len(recs), m.tail.Seq)
			}
		}
		s.CloseHard()
	}
}

// The page that names the buckets says that it has many more: they are not freed.
func TestRotOfThePageThatNamesBuckets(t *testing.T) {
	r := newRotten(t)
	var id int64
	if err := r.viewTx(func(tx *bbolt.Tx) error { id = int64(tx.Cursor().Bucket().Root()); return nil }); err != nil {
		t.Fatal(err)
	}
	write(t, r.data(), id*int64(os.Getpagesize())+15, []byte{0x40})
	m := &maker{p: 2, e: 1, tail: r.State(2).Tail}
	m.put(t, r.Store, keyOf(0), "new")
	flush(t, r.Store)
	r.Commit(2, m.tail.Seq)
	eventually(t, "found", func() bool { return r.Broken() != nil })
}
