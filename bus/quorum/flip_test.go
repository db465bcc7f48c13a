package quorum

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

const flipped = 200 // entries

// Of 2,000 bits that are flipped in a log, one at a time, each either changes nothing of
// what is read, or is noticed when the log is opened and read; no process ends by one. A
// few may hide the last entries, by the number of a page's records, or the vote, by its
// name.
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
		switch v, err := s.Get([]byte("LastVoteCand")); {
		case err != nil:
			hidden++
		case string(v) != "v1" && len(v) == 2:
			t.Errorf("bit %d of byte %d: the vote is for %q", bit, at, v)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d noticed, %d hid the end or the vote", noticed, hidden)
	if noticed < 100 || hidden > 8 {
		t.Errorf("%d bits were noticed, and %d hid the end or the vote", noticed, hidden)
	}
}

// Of a voter's term and vote every flipped bit is noticed, and what versions wrote that knew no checksum is read. They
// read what this one writes: a number's first bytes, and a vote for nobody.
func TestTermsAndVotesAreWhole(t *testing.T) {
	s, err := openStore(filepath.Join(t.TempDir(), raftFile), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	term, vote := []byte("CurrentTerm"), []byte("LastVoteCand")
	if err := errors.Join(s.SetUint64(term, 1<<40+7), s.Set(vote, []byte("v2"))); err != nil {
		t.Fatal(err)
	}
	if n, err := s.GetUint64(term); n != 1<<40+7 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if v, err := s.Get(vote); string(v) != "v2" || err != nil {
		t.Fatalf("%q, %v", v, err)
	}
	if n, err := s.bolt.GetUint64(term); n != 1<<40+7 || err != nil {
		t.Errorf("an older version reads %d, %v", n, err)
	}
	for _, key := range [][]byte{term, vote} {
		whole, err := s.bolt.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(whole) {
			flipped := slices.Clone(whole)
			flipped[bit/8] ^= 1 << (bit % 8)
			if err := s.bolt.Set(key, flipped); err != nil {
				t.Fatal(err)
			}
			if n, err := s.GetUint64(term); string(key) == string(term) && !errors.Is(err, ErrDamaged) {
				t.Errorf("with bit %d flipped the term is %d, %v", bit, n, err)
			}
			if v, err := s.Get(vote); string(key) == string(vote) && (string(v) == "v2" || len(v) == 2 || err != nil) {
				t.Errorf("with bit %d flipped the vote is for %q, %v", bit, v, err)
			}
		}
		if err := s.bolt.Set(key, whole); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.bolt.SetUint64(term, 9), s.bolt.Set(vote, []byte("v3"))); err != nil {
		t.Fatal(err)
	}
	if n, err := s.GetUint64(term); n != 9 || err != nil {
		t.Errorf("of an older version: %d, %v", n, err)
	}
	if v, err := s.Get(vote); string(v) != "v3" || err != nil {
		t.Errorf("of an older version: %q, %v", v, err)
	}
	if _, err := s.GetUint64([]byte("none")); !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		t.Errorf("of none: %v", err)
	}
}
