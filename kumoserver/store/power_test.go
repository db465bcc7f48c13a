package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// powerCut ends the store as the death of the machine would at its worst: of
// the log only what was synced stays.
func powerCut(t *testing.T, s *Store) {
	t.Helper()
	s.CloseHard()
	for _, g := range s.wal.segs {
		keep := max(int64(s.wal.synced)-int64(g.start), 0)
		fi, err := os.Stat(g.path)
		if err != nil {
			t.Fatal(err)
		}
		if keep < fi.Size() {
			if err := os.Truncate(g.path, keep); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(g.path, fi.Size()); err != nil { // zeros
				t.Fatal(err)
			}
		}
	}
}

// After a machine's death the log holds all that bbolt reflects, what was
// reported durable is there, and the values are those of a prefix of the log.
func TestPowerCut(t *testing.T) {
	for _, mode := range []SyncMode{SyncInterval, SyncAlways, SyncNone} {
		t.Run(mode.String(), func(t *testing.T) {
			o := small(t.TempDir())
			o.Sync, o.SyncEvery, o.ApplyAfter, o.batch = mode, time.Hour, time.Millisecond, 3
			for round := range 12 {
				o.OSBoot = fmt.Sprint("boot-", round)
				powerRound(t, o, mode, round)
			}
		})
	}
}

func powerRound(t *testing.T, o Options, mode SyncMode, round int) {
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.CloseHard()
	if unclean := s.Unclean(); len(unclean) > 0 != (round > 0 && mode != SyncAlways) {
		t.Fatalf("unclean: %v", unclean)
	}
	for _, p := range s.Unclean() {
		if err := s.Clean(p); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range s.Damaged() {
		if strings.Contains(d, "had reached") || strings.Contains(d, "gone") {
			t.Fatal(d)
		}
	}
	var logs [3]maker
	for p := range logs {
		st := s.State(ring.Partition(p))
		logs[p] = maker{p: ring.Partition(p), e: ring.Epoch(round + 1), tail: st.Tail}
		if st.Promised < ring.Epoch(round) || st.Incomplete {
			t.Fatalf("%+v in round %d", st, round)
		}
		checkPrefix(t, s, logs[p].p)
		s.Promise(logs[p].p, ring.Epoch(round+1))
	}
	flush(t, s)
	var durable [3]subjects.Version
	for range 20 + rand.IntN(60) {
		m := &logs[rand.IntN(3)]
		for range 1 + rand.IntN(10) {
			n := m.tail.Seq + 1
			m.put(t, s, fmt.Sprint("key", n%31), fmt.Sprint(n))
		}
		if mode == SyncAlways {
			flush(t, s)
			durable[m.p] = m.tail
		} else {
			s.Flush(func(error) {})
		}
		s.Commit(m.p, m.tail.Seq)
		if rand.IntN(10) == 0 {
			<-time.After(time.Duration(rand.IntN(4)) * time.Millisecond) // let the background work
		}
	}
	powerCut(t, s)
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	for p, v := range durable {
		if st := s.State(ring.Partition(p)); st.Tail.Less(v) {
			t.Fatalf("partition %d ends at %s, %s was durable", p, st.Tail, v)
		}
	}
	s.CloseHard()
	checkFile(t, o.Dir)
}

// checkPrefix: with everything that the log has committed, each key has its
// last value.
func checkPrefix(t *testing.T, s *Store, p ring.Partition) {
	t.Helper()
	tail := s.State(p).Tail.Seq
	s.Commit(p, tail)
	for n := tail; n > 0 && n+31 > tail; n-- {
		want(t, s, p, fmt.Sprint("key", n%31), fmt.Sprint(n))
	}
}
