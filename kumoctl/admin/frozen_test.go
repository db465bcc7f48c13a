package admin

import (
	"testing"
	"time"
)

// What fails soon is tried for as long as patience, what fails late a few times: a
// partition that changes faster than it is read would be read for ever.
func TestAttemptsEnd(t *testing.T) {
	for each, want := range map[time.Duration]int{time.Second: 61, 20 * time.Second: 4, 31 * time.Second: maxLong, time.Hour: maxLong} {
		now := time.Unix(1, 0)
		a := attempts{patience: time.Minute, failing: now}
		n := 1
		for ; n < 1000 && a.again(now, now.Add(each)); n++ {
			now = now.Add(each)
		}
		if n != want {
			t.Errorf("attempts of %s each: %d, want %d", each, n, want)
		}
	}
}
