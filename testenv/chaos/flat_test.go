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
		if got := judge(uses(c.of), time.Hour, slackBytes, func(u use) int64 { return u.memory }); got.grew != c.grew || got.seen != 50 {
			t.Errorf("%s: %+v, want grew %t", c.name, got, c.grew)
		}
	}
}

func TestNothingSeenIsNoLeak(t *testing.T) {
	if got := judge(nil, time.Hour, 0, func(u use) int64 { return u.memory }); got.grew || got.seen != 0 {
		t.Errorf("%+v", got)
	}
}
