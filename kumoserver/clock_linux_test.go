package kumoserver

import (
	"testing"
	"time"
)

// A machine that was suspended shows it by its clocks: the wall clock goes on,
// the monotonic clock does not.
func TestClockNoticesSuspension(t *testing.T) {
	r := reading{wall: 1e18, mono: 5e9, boot: 7e9}
	for _, c := range []struct {
		name       string
		wall, mono time.Duration // passed since the reading
		ok         bool
	}{
		{"nothing passed", 0, 0, true},
		{"an hour awake", time.Hour, time.Hour, true},
		{"clocks read one after the other", time.Hour, time.Hour + 900*time.Microsecond, true},
		{"asleep for two seconds", 3 * time.Second, time.Second, false},
		{"asleep for 2 ms", 3 * time.Millisecond, time.Millisecond, false},
		{"wall clock set back", -time.Hour, time.Second, false},
	} {
		boot, ok := r.since(r.wall+int64(c.wall), r.mono+int64(c.mono))
		if ok != c.ok || ok && boot != r.boot+int64(c.mono) {
			t.Errorf("%s: %d, %v", c.name, boot-r.boot, ok)
		}
	}
}

// What is reckoned is what the kernel says, also after a suspension.
func TestClockIsTheKernels(t *testing.T) {
	check := func(when string) {
		t.Helper()
		for range 1000 {
			before, err := askBoottime()
			if err != nil {
				t.Fatal(err)
			}
			now := boottime()
			after, err := askBoottime()
			if err != nil {
				t.Fatal(err)
			}
			if now < before-exact || now > after+exact {
				t.Fatalf("%s: %d is not in %d to %d", when, now, before, after)
			}
		}
	}
	check("first")
	if r := last.Load(); r != nil { // as if it had been read before 10 s asleep
		last.Store(&reading{r.wall - 10e9, r.mono, r.boot - 10e9})
	}
	check("after a suspension")
}

func BenchmarkBoottime(b *testing.B) {
	for range b.N {
		boottime()
	}
}
