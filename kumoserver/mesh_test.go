package kumoserver

import (
	"slices"
	"testing"
	"time"
)

func TestAbsence(t *testing.T) {
	type names = []string
	var a absence
	begin := time.Unix(1000, 0)
	look := func(after time.Duration, up names, peers []string, want ...string) {
		t.Helper()
		if got := a.look("m", up, peers, begin.Add(after)); !slices.Equal(got, want) {
			t.Errorf("after %s: %v, want %v", after, got, want)
		}
	}
	all := names{"a", "m", "z"}
	look(0, all, []string{"a"})
	look(3*time.Second, all, []string{"a"})
	look(meshMissing, all, []string{"a"}, "z")
	look(meshMissing+time.Second, all, []string{"a"}) // it has just been tried
	look(3*meshMissing-time.Second, all, []string{"a"})
	look(3*meshMissing, all, []string{"a"}, "z")             // twice as long after
	look(3*meshMissing+time.Second, all, []string{"a", "z"}) // there it is
	look(4*meshMissing, all, []string{"a"})                  // gone again, since now
	look(5*meshMissing, names{"a", "m"}, []string{"a"})      // and down
	look(6*meshMissing, all, []string{"z"})
	look(6*meshMissing+meshPatient-time.Second, all, []string{"z"})
	look(6*meshMissing+meshPatient, all, []string{"z"}, "a") // the other one should have been first
	look(9*meshMissing, all, nil)                            // cut off from everybody
	look(99*meshMissing, all, nil)

	// One that never comes is not looked for for ever as often: each time costs a
	// route that works.
	tries := 0
	for after := time.Duration(0); after < time.Hour; after += time.Second {
		tries += len(a.look("m", all, []string{"a"}, begin.Add(1000*time.Second+after)))
	}
	if tries < 60 || tries > 70 {
		t.Errorf("%d tries in an hour", tries)
	}
}
