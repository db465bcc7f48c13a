package kumogateway

import (
	"testing"
	"time"
)

// What comes together shares a look at the clock, but not without end: each request
// that is answered within the process may have waited for the disk.
func TestClockIsLookedAtAgain(t *testing.T) {
	c := &conn{}
	first := c.clock()
	if c.clock() != first {
		t.Error("looked at for each request")
	}
	c.now = first.Add(-time.Hour)
	for range clockFor {
		c.clock()
	}
	if c.clock().Before(first) {
		t.Error("an hour old")
	}
}
