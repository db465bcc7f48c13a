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
	look(2*meshMissing, all, []string{"a"}, "z")
	look(2*meshMissing+time.Second, all, []string{"a", "z"}) // there it is
	look(4*meshMissing, all, []string{"a"})                  // gone again, since now
	look(5*meshMissing, names{"a", "m"}, []string{"a"})      // and down
	look(6*meshMissing, all, []string{"z"})
	look(6*meshMissing+meshPatient-time.Second, all, []string{"z"})
	look(6*meshMissing+meshPatient, all, []string{"z"}, "a") // the other one should have been first
	look(9*meshMissing, all, nil)                            // cut off from everybody
	look(99*meshMissing, all, nil)
}
