package kumoserver

import (
	"testing"
	"time"

	"pgregory.net/rapid"
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

// However a machine is suspended and the goroutine held up meanwhile, the time is
// never one from before it was asked for, but for what is not noticed.
func TestClockIsNeverEarly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// What the kernel would show: the wall clock and boot go on in sleep, mono does not.
		now := reading{wall: 1e18, mono: 5e9, boot: 7e9}
		pass := func(what string) {
			span := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 3*apart), rapid.Int64Range(0, int64(time.Hour)))
			awake, asleep := span.Draw(t, what+" awake"), span.Draw(t, what+" asleep")
			now = reading{now.wall + awake + asleep, now.mono + awake, now.boot + awake + asleep}
		}
		var r reading
		r.wall = now.wall
		pass("between the clocks of the reading")
		r.mono = now.mono
		between := rapid.Int64Range(0, exact).Draw(t, "until the kernel is asked")
		now = reading{now.wall + between, now.mono + between, now.boot + between}
		r.boot = now.boot
		pass("after the reading")
		asked, wall := now.boot, now.wall
		pass("between the clocks")
		boot, ok := r.since(wall, now.mono)
		if ok && (boot < asked-apart || boot > now.boot+exact) {
			t.Fatalf("%d ns after it was asked for, %d ns before it was told", boot-asked, now.boot-boot)
		}
	})
}
