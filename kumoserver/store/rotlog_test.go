package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A log record that is bad costs no more than the segment: bbolt has the rest.
func TestRotOfTheLog(t *testing.T) {
	for _, how := range []string{"scrub", "read"} {
		t.Run(how, func(t *testing.T) {
			r := newRotten(t)
			first := r.wal.segs[0]
			g, off, ok := r.part(2).index.find(5)
			if !ok || g != first || len(r.wal.segs) < 3 {
				t.Fatal("entry 5 is not in the first of several segments")
			}
			write(t, g.path, off+recordHead+20, []byte{0xee})
			if how == "scrub" {
				if err := r.scrubber.pass(); err != nil {
					t.Fatal(err)
				}
				if d := r.one(); !d.Log {
					t.Fatalf("%+v", d)
				}
			} else {
				if list, ok := r.Entries(2, 5, 1000); ok {
					t.Fatalf("read %d entries", len(list))
				}
				list := r.damage()
				if len(list) != 2 || !list[0].Log || list[1].Partition != 2 || list[1].Key != nil {
					t.Fatalf("%+v", list)
				}
			}
			eventually(t, "the segment is gone", func() bool { _, err := os.Stat(first.path); return errors.Is(err, os.ErrNotExist) })
			r.CloseHard()
			s := open(t, small(r.o.Dir))
			if len(s.Damaged()) > 0 || len(s.Unclean()) > 0 || s.State(2).Tail.Seq != rotKeys {
				t.Fatalf("%v %v %+v", s.Damaged(), s.Unclean(), s.State(2))
			}
			for i := range rotKeys {
				want(t, s, 2, keyOf(i), valueOf(i))
			}
		})
	}
}

// An older state of the file whose log has gone on is no whole copy.
func TestGapBetweenFileAndLog(t *testing.T) {
	o := small(t.TempDir())
	o.RetainBytes, o.ApplyAfter = -1, 1<<40
	s := open(t, o)
	m := &maker{p: 2, e: 1}
	more := func(n int) {
		for range n {
			m.put(t, s, keyOf(int(m.tail.Seq)), strings.Repeat("v", 500))
			flush(t, s)
		}
		s.Commit(2, m.tail.Seq)
		s.applier.kickNow()
		eventually(t, "applied", applied(s))
	}
	more(50)
	s.CloseHard()
	old, err := os.ReadFile(filepath.Join(o.Dir, dataName))
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	more(200)
	m.put(t, s, "last", "not committed")
	flush(t, s)
	s.CloseHard()
	if err := os.WriteFile(filepath.Join(o.Dir, dataName), old, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	if !isUnclean(s) {
		t.Fatalf("%+v %v", s.State(2), s.Damaged())
	}
}
