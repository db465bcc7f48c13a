package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// A data file that is overwritten while the store is open is found out by
// whoever uses it first, and the store can be closed all the same; the next Open
// sets the file aside.
func TestDataDamagedWhileOpen(t *testing.T) {
	for _, c := range []struct {
		name string
		from int64 // what is overwritten
		use  func(s *Store) error
	}{
		{"get", 8192, func(s *Store) error { _, _, err := s.Get(2, []byte(keyOf(1))); return err }},
		{"get many", 8192, func(s *Store) (err error) {
			s.GetMany(1, func(int) (ring.Partition, []byte) { return 2, []byte(keyOf(1)) }, func() {},
				func(_ int, _ subjects.Record, _ bool, e error) { err = e })
			return err
		}},
		{"scan", 8192, func(s *Store) error { _, _, _, err := s.Scan(2, nil, 1<<20); return err }},
		{"write", 0, func(s *Store) error {
			m := &maker{p: 2, e: 1, tail: s.State(2).Tail}
			m.put(t, s, "more", "v")
			flush(t, s)
			s.Commit(2, m.tail.Seq)
			s.applier.kickNow()
			eventually(t, "it is noticed", func() bool { return s.Broken() != nil })
			return s.Broken()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := small(t.TempDir())
			s := open(t, o)
			m := &maker{p: 2, e: 1}
			for i := range 400 {
				m.put(t, s, keyOf(i), strings.Repeat("v", 100))
			}
			flush(t, s)
			s.Commit(2, 400)
			eventually(t, "applied", applied(s))
			f, err := os.OpenFile(filepath.Join(o.Dir, dataName), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			fi, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte(strings.Repeat("rubbish!", int(fi.Size()-c.from)/8)), c.from); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if err := c.use(s); !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			s.Discard() // which the server decides
			if err := s.failedWith(); !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			if err := s.Close(); !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			s = open(t, o)
			if st := s.State(2); !st.Incomplete || len(s.Damaged()) == 0 {
				t.Fatalf("%+v %v", st, s.Damaged())
			}
		})
	}
}
