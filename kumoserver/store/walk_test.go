package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

var walks = flag.Int("walks", 8, "files that TestWalkTakesWhatBboltWrites writes")

// bolts is a file that bbolt writes, and the keys of which there are some.
type bolts struct {
	*bbolt.DB
	rnd  *rand.Rand
	keys [][]byte // in order
	seen looked   // in a transaction
}

// openBolts makes a file with pages of a size, padded as the store's if pads says so.
func openBolts(t *testing.T, rnd *rand.Rand, page int, pads bool) *bolts {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "b"), 0o600, &bbolt.Options{PageSize: page, NoSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if pads {
		_, _, _, err = loadBolt(db)
	} else { // as before there were pads
		err = db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket(bucketData)
			_, err2 := tx.CreateBucket(bucketMeta)
			return errors.Join(err, err2)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return &bolts{DB: db, rnd: rnd}
}

func (b *bolts) key() []byte {
	k := make([]byte, 1+b.rnd.IntN(3))
	for i := range k {
		k[i] = byte(b.rnd.IntN(20)) * 13
	}
	if b.rnd.IntN(10) == 0 {
		k = append(k, make([]byte, b.rnd.IntN(250))...)
	}
	return appendUserKey(nil, ring.Partition(b.rnd.IntN(3)), k)
}

func (b *bolts) put(t *testing.T, data *bbolt.Bucket, k []byte) {
	t.Helper()
	i, had := slices.BinarySearchFunc(b.keys, k, bytes.Compare)
	if !had {
		b.keys = slices.Insert(b.keys, i, k)
	}
	size := b.rnd.IntN(40)
	switch b.rnd.IntN(30) {
	case 0:
		size = b.rnd.IntN(3 * b.Info().PageSize)
	case 1: // just as large as some pages
		size = max(0, (1+b.rnd.IntN(3))*b.Info().PageSize-boltPageHead-boltElement-len(k)-valueHead)
	}
	if got, err := sound(data, k, b.seen); err != nil || got != had {
		t.Fatalf("before %x is put: %v, %v", k, got, err)
	}
	if err := data.Put(k, appendValue(nil, k, &value{data: make([]byte, size)})); err != nil {
		t.Fatal(err)
	}
}

// remove removes keys that follow each other: often so many that pages become empty.
func (b *bolts) remove(t *testing.T, data *bbolt.Bucket) {
	t.Helper()
	if len(b.keys) == 0 {
		return
	}
	i := b.rnd.IntN(len(b.keys))
	j := min(i+1+b.rnd.IntN(1+b.rnd.IntN(60)), len(b.keys))
	for _, k := range b.keys[i:j] {
		if had, err := sound(data, k, b.seen); err != nil || !had {
			t.Fatalf("before %x is removed: %v, %v", k, had, err)
		}
		if err := data.Delete(k); err != nil {
			t.Fatal(err)
		}
	}
	b.keys = slices.Delete(b.keys, i, j)
}

// turn is one transaction, which may be given up.
func (b *bolts) turn(t *testing.T) {
	t.Helper()
	was := slices.Clone(b.keys)
	giveUp := errors.New("given up")
	err := b.Update(func(tx *bbolt.Tx) error {
		b.seen = looked{}
		data := tx.Bucket(bucketData)
		shrinks := len(b.keys) > 1500 || b.rnd.IntN(8) == 0
		for range b.rnd.IntN(60) {
			switch {
			case b.rnd.IntN(20) == 0, shrinks && b.rnd.IntN(4) == 0:
				b.remove(t, data)
			default:
				b.put(t, data, b.key())
			}
		}
		if b.rnd.IntN(10) == 0 {
			return giveUp
		}
		return nil
	})
	if errors.Is(err, giveUp) {
		b.keys, err = was, nil
	}
	if err != nil {
		t.Fatal(err)
	}
}

// look asks all that asks pages, of a file in which nothing is wrong.
func (b *bolts) look(t *testing.T) {
	t.Helper()
	if err := account(b.DB, false); err != nil {
		t.Fatal(err)
	}
	err := b.View(func(tx *bbolt.Tx) error {
		tr, ok := treeOf(tx.Bucket(bucketData))
		if !ok {
			return nil
		}
		if err := tr.span(nil, nil); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			k := b.key()
			i, there := slices.BinarySearchFunc(b.keys, k, bytes.Compare)
			if err := tr.absent(k); errors.Is(err, ErrDamaged) != there {
				t.Fatalf("%x is there: %v; absent says %v", k, there, err)
			}
			n, _, err := tr.leafOf(k, true)
			if err = errors.Join(err, tr.writable(&n, k, there)); err != nil {
				t.Fatalf("%x: %v", k, err)
			}
			if _, found, err := tr.find(k); found != there || err != nil {
				t.Fatalf("%x is there: %v; it is found: %v, %v", k, there, found, err)
			}
			to := min(i+b.rnd.IntN(50), len(b.keys))
			if err := tr.span(k, append(slices.Clone(k), 255)); err != nil {
				t.Fatalf("from %x: %v", k, err)
			}
			if to < len(b.keys) {
				if err := tr.span(k, b.keys[to]); err != nil {
					t.Fatalf("from %x to %x: %v", k, b.keys[to], err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever bbolt writes has the form that is asked of pages: of any size, with values
// over many pages, whose first keys come and go, and that become empty.
func TestWalkTakesWhatBboltWrites(t *testing.T) {
	for n := range *walks {
		rnd := rand.New(rand.NewPCG(uint64(n), 7))
		b := openBolts(t, rnd, []int{1024, 4096, 16384, 65536}[n%4], n%8 < 5)
		for range fewer(200) {
			b.turn(t)
			b.look(t)
		}
	}
}

// A pointer that leads back to its own page ends neither the process nor in nothing:
// whoever goes there is told.
func TestRotOfAPointerThatLeadsBack(t *testing.T) {
	for name, use := range map[string]func(r *rotten) error{
		"get":  func(r *rotten) error { _, _, err := r.Get(2, []byte(keyOf(0))); return err },
		"miss": func(r *rotten) error { _, _, err := r.Get(2, []byte("!")); return err },
		"many": func(r *rotten) (err error) {
			r.GetMany(1, func(int) (ring.Partition, []byte) { return 2, []byte(keyOf(0)) }, func() {},
				func(_ int, _ subjects.Record, _ bool, e error) { err = e })
			return err
		},
		"scan": func(r *rotten) error { _, _, _, err := r.Scan(2, nil, 1<<20); return err },
		"frozen": func(r *rotten) error {
			f, err := r.Freeze(t.Context(), 2, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Thaw()
			_, _, _, err = f.Read(nil, 1<<20)
			return err
		},
		"scrub": func(r *rotten) error {
			if err := r.scrubber.partition(2); err != nil {
				t.Fatal(err)
			}
			return r.Broken()
		},
		"compaction": func(r *rotten) error { return r.compactor.compact() },
		"write": func(r *rotten) error {
			m := &maker{p: 2, e: 1, tail: r.State(2).Tail}
			m.put(t, r.Store, keyOf(0), "new")
			flush(t, r.Store)
			r.Commit(2, m.tail.Seq)
			eventually(t, "found", func() bool { return r.Broken() != nil })
			return r.Broken()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRotten(t)
			at, b := r.root()
			pointer := binary.NativeEndian.AppendUint64(nil, uint64(at)/uint64(len(b)))
			write(t, r.data(), at+boltPageHead+8, pointer)
			if err := use(r); err == nil {
				t.Error("nothing was noticed")
			}
		})
	}
}

// hostile changes what pages hold.
func hostile(rnd *rand.Rand, b []byte, page int) {
	for range 1 + rnd.IntN(6) {
		at := rnd.IntN(len(b))
		if rnd.IntN(4) > 0 { // where structure is
			at = at/page*page + rnd.IntN(min(page, 300))
		}
		switch rnd.IntN(4) {
		case 0:
			b[at] ^= 1 << rnd.IntN(8)
		case 1:
			b[at] = byte(rnd.Uint32())
		case 2: // a page in the place of another
			copy(b[rnd.IntN(len(b)/page)*page:][:page], b[rnd.IntN(len(b)/page)*page:])
		default: // a number that may well be a page's or a place in it
			at &^= 3
			binary.NativeEndian.PutUint32(b[at:], uint32(rnd.IntN(2*len(b)/page)))
		}
	}
}

// Pages of any bytes end no look at them but with an error.
func TestWalkOfHostilePages(t *testing.T) {
	rnd := rand.New(rand.NewPCG(*flipSeed, 9))
	for range *walks {
		f := openBolts(t, rnd, 1024, true)
		for range 20 {
			f.turn(t)
		}
		whole, err := os.ReadFile(f.Path())
		if err != nil {
			t.Fatal(err)
		}
		tr, tx := tree{size: 1024}, 0
		if err := f.View(func(x *bbolt.Tx) error {
			tr.root, tx = uint64(x.Bucket(bucketData).Root()), x.ID()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for range fewer(400) {
			tr.db = slices.Clone(whole)
			hostile(rnd, tr.db, tr.size)
			for _, look := range []func() error{
				func() error { _, _, err := tr.find(f.key()); return err },
				func() error { return tr.absent(f.key()) },
				func() error { _, _, err := tr.leafOf(f.key(), true); return err },
				func() error { return tr.span(f.key(), nil) },
				func() error { return tr.span(f.key(), f.key()) },
				func() error { return (&accounts{tree: tr}).check(tx, true) },
				func() error {
					c := &cursor{t: tr}
					last := f.key()
					for k, _ := c.Seek(last); k != nil; k, _ = c.Next() {
						if err := ascends(&last, k); err != nil {
							return err
						}
					}
					return c.err
				},
			} {
				if err := guard(look); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
			}
		}
	}
}
