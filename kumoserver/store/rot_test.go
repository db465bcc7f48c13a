package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// rotten is a store of which a test spoils the files while it is open.
type rotten struct {
	*Store
	t     *testing.T
	o     Options
	mu    sync.Mutex
	found []Damage // guarded by mu
}

const (
	rotKeys  = 400
	rotValue = 100 // bytes
)

// newRotten opens a store in which partition 2 has rotKeys keys in bbolt, and
// partition 3 one.
func newRotten(t *testing.T, tune ...func(*Options)) *rotten {
	r := &rotten{t: t, o: small(t.TempDir())}
	r.o.ScrubRate = 1 << 40
	r.o.OnDamage = func(d Damage) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.found = append(r.found, d)
	}
	for _, f := range tune {
		f(&r.o)
	}
	var err error
	if r.Store, err = Open(r.o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.CloseHard) // the file is not checked: it is damaged
	r.Promise(2, 1)
	m := &maker{p: 2, e: 1}
	for i := range rotKeys {
		m.put(t, r.Store, keyOf(i), valueOf(i))
	}
	other := &maker{p: 3, e: 1}
	other.put(t, r.Store, "other", "value of the other")
	flush(t, r.Store)
	r.Commit(2, rotKeys)
	r.Commit(3, 1)
	eventually(t, "applied", applied(r.Store))
	return r
}

func valueOf(i int) string { return strings.Repeat(keyOf(i)+".", rotValue)[:rotValue] }

func (r *rotten) damage() []Damage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.found)
}

// one is the only damage that was told of.
func (r *rotten) one() Damage {
	r.t.Helper()
	list := r.damage()
	if len(list) != 1 {
		r.t.Fatalf("told of %d: %+v", len(list), list)
	}
	return list[0]
}

// replace changes what a file holds, in place.
func replace(t *testing.T, path, old, new string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for at := 0; ; n++ {
		i := bytes.Index(b[at:], []byte(old))
		if i < 0 {
			break
		}
		at += i
		write(t, path, int64(at), []byte(new))
		at += len(old)
	}
	if n == 0 {
		t.Fatalf("%s does not hold %q", path, old)
	}
}

func write(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func (r *rotten) data() string { return filepath.Join(r.o.Dir, dataName) }

// page reads a page of the file, and returns where it is.
func (r *rotten) page(id uint64) (at int64, b []byte) {
	size := os.Getpagesize()
	f, err := os.Open(r.data())
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	b = make([]byte, size)
	at = int64(id) * int64(size)
	if _, err := f.ReadAt(b, at); err != nil {
		r.t.Fatal(err)
	}
	return at, b
}

// root is the data's root page, which is a branch.
func (r *rotten) root() (at int64, b []byte) {
	var id uint64
	if err := r.db.Load().View(func(tx *bbolt.Tx) error { id = uint64(tx.Bucket(bucketData).Root()); return nil }); err != nil {
		r.t.Fatal(err)
	}
	at, b = r.page(id)
	if binary.LittleEndian.Uint16(b[8:]) != 1 || binary.LittleEndian.Uint16(b[10:]) < 3 {
		r.t.Fatal("not enough data for branches")
	}
	return at, b
}

// A page's head has 16 bytes, of a branch's elements each as many: where its key
// is (4), how long (4), and the child (8).
func branch(b []byte, i int) (key int64, size int64, child uint64) {
	e := 16 + 16*i
	return int64(e) + int64(binary.LittleEndian.Uint32(b[e:])), int64(binary.LittleEndian.Uint32(b[e+4:])), binary.LittleEndian.Uint64(b[e+8:])
}

// Damage to a record is told once, concerns that record alone, and ends when it
// is written again.
func TestRotOfAValue(t *testing.T) {
	r := newRotten(t)
	replace(t, r.data(), valueOf(7), strings.Replace(valueOf(7), "key", "kez", 1))
	for range 3 {
		if _, found, err := r.Get(2, []byte(keyOf(7))); found || !isCorrupt(err) {
			t.Fatal(found, err)
		}
	}
	r.GetMany(3, func(i int) (ring.Partition, []byte) { return 2, []byte(keyOf(6 + i)) }, func() {}, func(i int, rec subjects.Record, found bool, err error) {
		if isCorrupt(err) != (i == 1) || found == (i == 1) {
			t.Errorf("%s: %v, %v", keyOf(6+i), found, err)
		}
	})
	if _, _, _, err := r.Scan(2, nil, 1<<20); !isCorrupt(err) {
		t.Fatal(err)
	}
	if d := r.one(); d.Partition != 2 || string(d.Key) != keyOf(7) || d.File {
		t.Fatalf("%+v", d)
	}
	if n, list := r.BadKeys(9); n != 1 || len(list) != 1 || list[0] != (BadKey{2, keyOf(7)}) || r.Bad(2) != 1 {
		t.Fatalf("%d %+v", n, list)
	}
	m := &maker{p: 2, e: 1, tail: r.State(2).Tail}
	m.put(t, r.Store, keyOf(7), "new")
	flush(t, r.Store)
	r.Commit(2, m.tail.Seq)
	want(t, r.Store, 2, keyOf(7), "new")
	eventually(t, "mended", func() bool { n, _ := r.BadKeys(0); return n == 0 })
	want(t, r.Store, 2, keyOf(7), "new")
}

// Damage to a key must not look like the key's absence.
func TestRotOfAKey(t *testing.T) {
	r := newRotten(t)
	replace(t, r.data(), keyOf(7), strings.Replace(keyOf(7), "0007", "000z", 1))
	if _, found, err := r.Get(2, []byte(keyOf(7))); found || !isCorrupt(err) {
		t.Fatal(found, err)
	}
	if d := r.damage(); len(d) == 0 {
		t.Fatal("not told")
	}
}

// A record whose key has become another's is not written over as if it were that
// one's: nobody would know any more that its own is missing.
func TestRotOfAKeyThatIsWritten(t *testing.T) {
	for _, key := range []string{"key-0007", "key-0006-"} { // the same, and one beside it
		r := newRotten(t)
		m := &maker{p: 2, e: 1, tail: r.State(2).Tail}
		for _, gone := range []string{keyOf(6), keyOf(7)} {
			if err := r.Append(m.entry(subjects.EntryDelete, gone, "")); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, r.Store)
		r.Commit(2, m.tail.Seq)
		eventually(t, "applied", applied(r.Store))
		prefix := string(appendUserKey(nil, 2, nil)) // as in no value
		replace(t, r.data(), prefix+keyOf(5), prefix+keyOf(7))
		m.put(t, r.Store, key, "new")
		flush(t, r.Store)
		r.Commit(2, m.tail.Seq)
		done := applied(r.Store)
		eventually(t, "noticed", func() bool { return done() || r.Broken() != nil })
		if _, found, err := r.Get(2, []byte(keyOf(5))); found || !isCorrupt(err) {
			t.Fatalf("%s was written, then: %v, %v", key, found, err)
		}
		want(t, r.Store, 2, key, "new")
	}
}

// Nobody minds damage to what only fills a page, and would have it made good for ever.
func TestRotOfThePad(t *testing.T) {
	r := newRotten(t)
	sum := string(appendValue(nil, padKey, &value{data: make([]byte, os.Getpagesize()/4)})[:4])
	replace(t, r.data(), string(padKey)+sum, string(padKey)+"oops")
	if err := r.scrubber.pass(); err != nil {
		t.Fatal(err)
	}
	want(t, r.Store, 3, "zzz", "")
	if list := r.damage(); len(list) > 0 {
		t.Fatalf("%+v", list)
	}
}

// What nobody reads is found by looking at everything now and then.
func TestScrub(t *testing.T) {
	for name, c := range map[string]struct {
		rot  func(r *rotten)
		want func(d Damage) bool
	}{
		"value": {
			func(r *rotten) { replace(r.t, r.data(), valueOf(99), strings.ToUpper(valueOf(99))) },
			func(d Damage) bool { return string(d.Key) == keyOf(99) && d.Partition == 2 },
		},
		"key": {
			func(r *rotten) { replace(r.t, r.data(), keyOf(99), "kEy"+keyOf(99)[3:]) },
			func(d Damage) bool { return !d.File && d.Partition == 2 || d.File },
		},
		"way to a leaf": {
			func(r *rotten) {
				at, b := r.root()
				key, size, _ := branch(b, 1)
				write(r.t, r.data(), at+key+size-1, []byte{b[key+size-1] + 3})
			},
			func(d Damage) bool { return d.File },
		},
		"number of keys in a leaf": {
			func(r *rotten) {
				_, b := r.root()
				_, _, child := branch(b, 1)
				at, leaf := r.page(child)
				write(r.t, r.data(), at+10, binary.LittleEndian.AppendUint16(nil, binary.LittleEndian.Uint16(leaf[10:])-1))
			},
			func(d Damage) bool { return d.File },
		},
		"page": {
			func(r *rotten) {
				_, b := r.root()
				_, _, child := branch(b, 1)
				at, _ := r.page(child)
				write(r.t, r.data(), at+8, bytes.Repeat([]byte{0xff}, 64))
			},
			func(d Damage) bool { return d.File },
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRotten(t)
			if err := r.scrubber.pass(); err != nil {
				t.Fatal(err)
			}
			if s, _ := r.ScrubState(); s.Damaged != 0 || s.Records < rotKeys || s.Bytes < rotKeys*rotValue || s.Ended.IsZero() {
				t.Fatalf("%+v", s)
			}
			c.rot(r)
			for range 2 {
				if err := r.scrubber.pass(); err != nil {
					t.Fatal(err)
				}
			}
			if list := r.damage(); len(list) == 0 || !c.want(list[0]) {
				t.Fatalf("%+v", list)
			}
			want(t, r.Store, 3, "other", "value of the other")
		})
	}
}

// Where the structure is damaged, what can be read still is, until the file is
// given up: the next start sets it aside.
func TestBrokenFile(t *testing.T) {
	r := newRotten(t)
	_, b := r.root()
	_, _, child := branch(b, 1)
	at, _ := r.page(child)
	write(t, r.data(), at+8, bytes.Repeat([]byte{0xff}, 64))
	readable, bad := 0, 0
	for i := range rotKeys {
		switch rec, found, err := r.Get(2, []byte(keyOf(i))); {
		case isCorrupt(err):
			bad++
		case found && string(rec.Value) == valueOf(i):
			readable++
		default:
			t.Fatalf("%s: %v, %v", keyOf(i), found, err)
		}
	}
	if readable == 0 || bad == 0 {
		t.Fatalf("%d readable, %d bad", readable, bad)
	}
	if r.Broken() == nil || r.failedWith() != nil {
		t.Fatalf("broken %v, failed %v", r.Broken(), r.failedWith())
	}
	r.Discard()
	if err := <-r.Failed(); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	if err := r.Close(); err == nil {
		t.Fatal("closed cleanly")
	}
	s := open(t, small(r.o.Dir))
	if st := s.State(2); !st.Incomplete || len(st.Outline) > 0 || !slices.Contains(s.Unclean(), 2) {
		t.Fatalf("%+v", st)
	}
}
