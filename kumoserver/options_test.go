package kumoserver

import "testing"

// The log goes a file at a time, so that files are small beside what is retained.
func TestSegmentsFollowWhatIsRetained(t *testing.T) {
	for _, c := range []struct{ retain, segment int64 }{
		{0, 0}, // the store's defaults
		{1 << 20, 1 << 20},
		{8 << 20, 2 << 20},
		{256 << 20, 64 << 20}, // the defaults, said
		{4 << 30, 64 << 20},
	} {
		if got := segmentBytes(c.retain); got != c.segment {
			t.Errorf("%d retained: files of %d bytes, want %d", c.retain, got, c.segment)
		}
	}
}
