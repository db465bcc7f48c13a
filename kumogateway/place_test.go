package kumogateway

import "testing"

func TestPlace(t *testing.T) {
	p, e := unplace(place(16383, 1<<40+7))
	if p != 16383 || e != 1<<40+7 {
		t.Errorf("unplace = %d, %d", p, e)
	}
}
