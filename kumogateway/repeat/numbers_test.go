package repeat

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Numbers are handed out in order, and the lowest open one is always known.
func TestNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Numbers
		var open []uint64
		next := uint64(1)
		for range rapid.IntRange(1, 500).Draw(t, "steps") {
			// Taking is more likely, so that some get long.
			if len(open) == 0 || rapid.IntRange(0, 9).Draw(t, "what") < 6 {
				n, lowest := s.Take()
				open = append(open, n)
				if n != next || lowest != slices.Min(open) {
					t.Fatalf("take = %d, %d with %v open; want %d", n, lowest, open, next)
				}
				next++
			} else {
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				s.Release(open[i])
				open = slices.Delete(open, i, i+1)
			}
			want := next
			if len(open) > 0 {
				want = slices.Min(open)
			}
			if s.Low() != want {
				t.Fatalf("low = %d with %v open, want %d", s.Low(), open, want)
			}
		}
	})
}
