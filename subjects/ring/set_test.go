package ring

import (
	"encoding/json"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestPartitionSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ps := rapid.SliceOfN(rapid.Map(rapid.IntRange(0, MaxPartitions-1), func(p int) Partition { return Partition(p) }), 0, 20).Draw(t, "partitions")
		s := SetOf(ps...)
		if s.IsZero() != (len(ps) == 0) {
			t.Fatal("empty, or not")
		}
		for range 20 {
			p := Partition(rapid.IntRange(0, MaxPartitions).Draw(t, "p"))
			if s.Has(p) != slices.Contains(ps, p) {
				t.Fatalf("has %d: %v", p, s.Has(p))
			}
		}
		slices.Reverse(ps)
		if s != SetOf(ps...) {
			t.Fatal("the order counts")
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back PartitionSet
		if err := json.Unmarshal(text, &back); err != nil || back != s {
			t.Fatalf("%s: %v", text, err)
		}
	})
	for _, bad := range []string{"AA", "!", "AB", string(make([]byte, 4000))} {
		var s PartitionSet
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
