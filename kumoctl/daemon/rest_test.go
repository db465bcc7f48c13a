package daemon

import "testing"

// A rest begins once after work, when there was none for long enough.
func TestRest(t *testing.T) {
	long := int(restAfter / procsEvery)
	var r rest
	look := func(busy float64, times int) (begun int) {
		for range times {
			if r.begins(busy) {
				begun++
			}
		}
		return begun
	}
	for _, tt := range []struct {
		name        string
		busy        float64
		times, want int
	}{
		{"never worked", 0.05, 2 * long, 0},
		{"works", 1.2, 3, 0},
		{"is calm for a moment", 0.05, long - 1, 0},
		{"works again", 0.3, 1, 0},
		{"is calm for long", 0.05, long, 1},
		{"and longer", 0.05, 2 * long, 0},
		{"works once more", 0.5, 1, 0},
		{"and rests", 0, 3 * long, 1},
	} {
		if begun := look(tt.busy, tt.times); begun != tt.want {
			t.Errorf("%s: %d rests began, want %d", tt.name, begun, tt.want)
		}
	}
}
