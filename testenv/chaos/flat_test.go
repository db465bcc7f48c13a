package chaos

import (
	"testing"
	"time"
)

// uses makes one for each minute of an hour.
func uses(of func(minute int) int64) (list []use) {
	for m := range 60 {
		list = append(list, use{at: time.Duration(m) * time.Minute, memory: of(m)})
	}
	return list
}

func TestWhatGrowsIsALeak(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name string
		of   func(minute int) int64
		grew bool
	}{
		{"flat", func(int) int64 { return 100 * mib }, false},
		{"a saw", func(m int) int64 { return int64(60+m%7*10) * mib }, false},
		{"warm after eight minutes", func(m int) int64 { return int64(min(m, 8)) * 20 * mib }, false},
		{"a MiB a minute", func(m int) int64 { return int64(100+m) * mib }, true},
		{"a little, of little", func(m int) int64 { return int64(10*mib + m<<14) }, false},
	} {
		got := halves(uses(c.of), time.Hour, func(u use) int64 { return u.memory })
		if got.grew(slackBytes) != c.grew || got.seen != 50 {
			t.Errorf("%s: %+v, want grew %t", c.name, got, c.grew)
		}
	}
}

func TestNothingSeenIsNoLeak(t *testing.T) {
	if got := halves(nil, time.Hour, func(u use) int64 { return u.memory }); got.grew(0) || got.seen != 0 {
		t.Errorf("%+v", got)
	}
}

// Clients that go from one gateway to the other, while one is too young to count, are
// no growth.
func TestNodesAreSummedAtOneTime(t *testing.T) {
	var one, other []use
	for m := range 60 {
		at := use{round: m, at: time.Duration(m) * time.Minute, goroutines: 60}
		if m >= 40 {
			at.goroutines = 80
		}
		one = append(one, at)
		if at.goroutines = 120 - at.goroutines; m < 30 || m >= 50 {
			other = append(other, at)
		}
	}
	got := halves(together([][]use{one, other}), time.Hour, func(u use) int64 { return u.goroutines })
	if want := (trend{120, 120, 30}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
