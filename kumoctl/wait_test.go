package main

import (
	"bytes"
	"testing"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

// drain --wait && reboot must not go on while the server still holds what nobody
// can take yet.
func TestWaitIsNotDoneWhileMovesAreHeld(t *testing.T) {
	var talk bytes.Buffer
	held := &subjects.ClusterStatus{Moves: subjects.Moves{Surplus: 3, Held: 3}}
	if err := newProgressTalk(&talk).done(held); cli.ExitCode(err) != cli.ExitFailed || talk.Len() > 0 {
		t.Errorf("%v, and it says %q", err, &talk)
	}
	if err := newProgressTalk(&talk).done(&subjects.ClusterStatus{}); err != nil || talk.Len() == 0 {
		t.Errorf("%v, and it says %q", err, &talk)
	}
}
