package subjects_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const hour = 60 * 60 * 1000

// did is the entry of a gateway's n-th operation.
func did(boot ring.BootID, n uint64, clock int64) *subjects.Entry {
	return &subjects.Entry{
		Version: subjects.Version{Epoch: 1, Seq: n}, Op: subjects.OpID{Boot: boot, N: n, Lowest: 1},
		Kind: subjects.EntryPut, Clock: clock, Answer: subjects.StatusOK,
	}
}

func past(s *subjects.Sessions, boot ring.BootID, n uint64) subjects.Past {
	_, p := s.Lookup(subjects.OpID{Boot: boot, N: n, Lowest: 1})
	return p
}

// A clock that is set makes nobody forget an operation that may be repeated.
func TestSessionsOutliveClockJumps(t *testing.T) {
	var s subjects.Sessions
	s.Fold(did(1, 1, 0))
	for i, clock := range []int64{hour, 0, 2 * hour, hour, 3 * hour} {
		s.Fold(did(2, uint64(i+1), clock))
	}
	if p := past(&s, 1, 1); p != subjects.PastDone {
		t.Errorf("after jumps of the clock the operation is %d, want done", p)
	}
}

// A gateway that is silent for long is forgotten, so that they do not heap up.
func TestSessionsForgetTheSilent(t *testing.T) {
	var s subjects.Sessions
	s.Fold(did(1, 1, 0))
	for i := range int64(1200) {
		s.Fold(did(2, uint64(i+1), i*1000))
	}
	if p := past(&s, 1, 1); p != subjects.PastUnknown {
		t.Errorf("after 20 minutes of others' operations it is %d, want unknown", p)
	}
	if n := s.Len(); n != 1 {
		t.Errorf("%d sessions, want that of the other gateway", n)
	}
}

// What a learner merges it remembers for at least as long as whoever sent it,
// although it counts age from where its copy began.
func TestSessionsMergeKeepsTheYounger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var whole, learner subjects.Sessions
		begun := rapid.IntRange(0, 1500).Draw(t, "begun")
		sent := rapid.IntRange(begun, 1500).Draw(t, "sent")
		var wire []byte
		for i := range 1500 {
			boot := ring.BootID(1 + rapid.IntRange(0, 3).Draw(t, "boot"))
			if i > 1400 {
				boot = 9
			}
			e := did(boot, uint64(i+1), int64(i)*1000)
			if whole.Fold(e); i >= begun {
				learner.Fold(e)
			}
			if i == sent {
				wire = whole.Append(nil)
			}
		}
		var got subjects.Sessions
		if wire != nil {
			if err := got.Decode(wire); err != nil {
				t.Fatal(err)
			}
			if again := got.Append(nil); !bytes.Equal(again, wire) {
				t.Fatal("encoded again they are others")
			}
			learner.Merge(&got)
		} else {
			learner.Merge(&whole)
		}
		for n := range uint64(1500) {
			for boot := range ring.BootID(10) {
				if past(&whole, boot, n) == subjects.PastDone && past(&learner, boot, n) != subjects.PastDone {
					t.Fatalf("operation %d of %d is forgotten by who merged (begun at %d, sent at %d)", n, boot, begun, sent)
				}
			}
		}
	})
}

// What is told to a repeat goes with the sessions to another copy, all of it.
func TestSessionsCarryAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s, copied subjects.Sessions
		var all []*subjects.Entry
		for n := range uint64(4) {
			e := new(subjects.Entry)
			fill(t, reflect.ValueOf(e).Elem())
			e.Op, e.Clock = subjects.OpID{Boot: 1, N: n + 1, Lowest: 1}, 0
			e.Returns %= subjects.ReturnsCounter + 1
			s.Fold(e)
			all = append(all, e)
		}
		if err := copied.Decode(s.Append(nil)); err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			got, known := copied.Lookup(e.Op)
			if d := cmp.Diff(e.Recorded(), got, equal); d != "" || known != subjects.PastDone {
				t.Fatal(known, d)
			}
		}
	})
}
