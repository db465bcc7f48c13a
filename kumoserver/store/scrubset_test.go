package store

import (
	"errors"
	"testing"
	"time"
)

// The scrubber is switched off in the middle of a pass, and on again.
func TestSetScrub(t *testing.T) {
	r := newRotten(t, func(o *Options) { o.ScrubRate, o.ScrubEvery = 1, time.Hour })
	ended := make(chan error, 1)
	go func() { ended <- r.scrubber.pass() }() // a byte a second: it would take hours
	deadline := time.After(time.Minute)
	for _, now := r.ScrubState(); now.Records == 0; _, now = r.ScrubState() {
		select {
		case err := <-ended:
			t.Fatalf("a pass at a byte a second has ended: %v", err)
		case <-deadline:
			t.Fatal("the pass does not begin")
		case <-time.After(time.Millisecond):
		}
	}
	// The loop of the store hears of a change, too, instead of this pass perhaps.
	off := func() {
		for {
			r.SetScrub(-1, time.Hour)
			select {
			case err := <-ended:
				if !errors.Is(err, errScrubOff) {
					t.Errorf("the pass ends with %v", err)
				}
				return
			case <-deadline:
				t.Fatal("the pass goes on")
			case <-time.After(time.Millisecond):
			}
		}
	}
	off()
	if last, _ := r.ScrubState(); !last.Ended.IsZero() {
		t.Errorf("a pass that was ended counts: %+v", last)
	}
	r.SetScrub(1<<40, time.Millisecond) // the loop's
	for last, _ := r.ScrubState(); last.Ended.IsZero() || last.Records < rotKeys; last, _ = r.ScrubState() {
		select {
		case <-deadline:
			t.Fatalf("no pass has ended: %+v", last)
		case <-time.After(time.Millisecond):
		}
	}
}
