package repeat

import (
	"testing"

	"github.com/etolabo/kumofs/subjects"
)

// Only what certainly did nothing may be told to have done nothing.
func TestUnsure(t *testing.T) {
	tests := []struct {
		name   string
		ended  func(*Course) Next
		unsure bool
	}{
		{"not sent", func(c *Course) Next { return c.Unsent() }, false},
		{"told to come again", func(c *Course) Next { return c.Answered(subjects.StatusRetry, 3) }, false},
		{"refused by one who may have begun it", func(c *Course) Next { return c.Answered(subjects.StatusNotPrimary, 3) }, true},
		{"no answer", func(c *Course) Next { return c.TimedOut() }, true},
		{"a broken connection", func(c *Course) Next { return c.Broken() }, true},
		{"taken back", func(c *Course) Next { c.Abandon(); return Next{} }, true},
	}
	for _, tt := range tests {
		var c Course
		c.Begin(true, 3)
		if next := tt.ended(&c); next.End || c.Unsure != tt.unsure {
			t.Errorf("%s: %+v, unsure %v", tt.name, next, c.Unsure)
		}
		c.Begin(true, 4)
		if next := c.Answered(subjects.StatusExists, 4); !next.End || c.Attempts != 2 {
			t.Errorf("%s, then an answer: %+v %+v", tt.name, next, c)
		}
	}
}

func TestPatience(t *testing.T) {
	var r, w Course
	for i := range 12 {
		read, write := r.Begin(false, 1), w.Begin(true, 1)
		if want := firstRead << min(i, 8); read != want || write != 2*want {
			t.Errorf("attempt %d: %d and %d, want %d and twice that", i+1, read, write, want)
		}
		if wait := r.Unsent().Wait; wait < 10*ms || wait > 250*ms {
			t.Errorf("attempt %d: waits %d", i+1, wait)
		}
	}
}

func TestRefresh(t *testing.T) {
	var c Course
	c.Begin(true, 5)
	if c.Answered(subjects.StatusNotPrimary, 4).Refresh {
		t.Error("asks for a newer ring than that of a process with an older one")
	}
	if !c.Answered(subjects.StatusNotPrimary, 5).Refresh || !c.TimedOut().Refresh {
		t.Error("does not ask for a newer ring")
	}
	if c.Newer(5) || !c.Newer(6) {
		t.Error("what is newer than 5?")
	}
}
