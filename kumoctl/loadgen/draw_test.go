package loadgen

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	o := Defaults()
	o.KeySize = Range{30, 40}
	d := newDraw(o)
	sizes, seen := map[int]bool{}, map[string]bool{}
	for k := range 1000 {
		name := string(d.name(nil, k))
		if again := string(newDraw(o).name([]byte("x "), k)); again != "x "+name || seen[name] || !strings.HasPrefix(name, "key-") {
			t.Fatalf("%q, then %q", name, again)
		}
		seen[name], sizes[len(name)] = true, true
	}
	if len(sizes) != 11 || !sizes[30] || !sizes[40] {
		t.Errorf("sizes %v", sizes)
	}
	if got := string(newDraw(Defaults()).name(nil, 7)); got != "key-7" {
		t.Errorf("%q", got)
	}
}

func TestZipf(t *testing.T) {
	o := Defaults()
	o.Keys, o.Zipf = 1000, 1.5
	d := newDraw(o)
	drawn := map[int]int{}
	for range 100_000 {
		drawn[d.key()]++
	}
	most, sum := 0, 0
	for k, n := range drawn {
		if k < 0 || k >= o.Keys {
			t.Fatalf("key %d", k)
		}
		most, sum = max(most, n), sum+n
	}
	// With exponent 1.5 the first of 1,000 has about 39%, of an even draw 0.1%.
	if share := float64(most) / float64(sum); share < 0.3 || share > 0.5 {
		t.Errorf("the key drawn most has %.2f of the draws", share)
	}
}
