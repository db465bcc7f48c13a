package quorum

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
)

const flipped = 200 // entries

// Of 2,000 bits that are flipped in a log, one at a time, each either changes nothing of
// what is read, or is noticed when the log is opened and read; no process ends by one. A few may
// hide the last entries, by the number of a page's records.
func TestFlippedBits(t *testing.T) {
	path := filepath.Join(t.TempDir(), raftFile)
	s, err := openStore(path, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(s.SetUint64(currentTerm, 1), s.Set([]byte("LastVoteCand"), []byte("v1")))
	for i := uint64(1); i <= flipped && err == nil; i++ {
		err = s.StoreLog(&raft.Log{Index: i, Term: 1, Data: make([]byte, 10+i)})
	}
	if err = errors.Join(err, s.close()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	noticed, hidden := 0, 0
	for range 2000 {
		b := slices.Clone(whole)
		at, bit := r.IntN(len(b)), r.IntN(8)
		b[at] ^= 1 << bit
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openStore(path, func(error) {})
		if err == nil {
			if err = s.check(0); err != nil {
				err = errors.Join(err, s.close())
			}
		}
		if err != nil {
			if noticed++; !errors.Is(err, ErrDamaged) {
				t.Logf("bit %d of byte %d: %v", bit, at, err)
			}
			continue
		}
		last, err := s.LastIndex()
		term, termErr := s.GetUint64(currentTerm)
		switch {
		case err != nil, termErr != nil, term != 1, last > flipped:
			t.Errorf("bit %d of byte %d: the last entry is %d, %v, the term %d, %v", bit, at, last, err, term, termErr)
		case last < flipped:
			hidden++
		}
		if v, err := s.Get([]byte("LastVoteCand")); err == nil && string(v) != "v1" && len(v) == 2 {
			t.Errorf("bit %d of byte %d: the vote is for %q, %v", bit, at, v, err)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d noticed, %d hid the end", noticed, hidden)
	if noticed < 100 || hidden > 8 {
		t.Errorf("%d bits were noticed, and %d hid the end", noticed, hidden)
	}
}
