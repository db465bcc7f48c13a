package store

import (
	"os"
	"path/filepath"
	"testing"
)

// A crash at any moment leaves one whole file, and nothing beside it.
func TestCrashDuringCompaction(t *testing.T) {
	for _, stage := range []string{"began", "copied", "written", "renamed", "switched"} {
		t.Run(stage, func(t *testing.T) {
			o := small(t.TempDir())
			o.compact = always
			g := newGate(t, &o)
			s := open(t, o)
			logs := sparse(t, s)
			g.until(t, stage)
			// More than the file has, some of it where the copy has been.
			for p := range logs {
				logs[p].put(t, s, keyOf(0), sparseValue(p, 0, 1))
			}
			flush(t, s)
			crashed := copyStore(t, o.Dir)
			_, err := os.Stat(filepath.Join(crashed, newDataName))
			if half := stage == "began" || stage == "copied" || stage == "written"; half != (err == nil) {
				t.Errorf("a new file beside the old one: %v", err)
			}
			g.release()
			for range 2 {
				again := open(t, small(crashed))
				if len(again.Damaged())+len(again.Unclean()) > 0 {
					t.Fatal(again.Damaged(), again.Unclean())
				}
				if _, err := os.Stat(filepath.Join(crashed, newDataName)); err == nil {
					t.Error("the new file was not removed")
				}
				for p := range logs {
					again.Commit(logs[p].p, logs[p].tail.Seq)
					want(t, again, logs[p].p, keyOf(0), sparseValue(p, 0, 1))
					logs[p].put(t, again, keyOf(0), sparseValue(p, 0, 0))
					logs[p].put(t, again, keyOf(0), sparseValue(p, 0, 1))
				}
				flush(t, again)
				for p := range logs {
					again.Commit(logs[p].p, logs[p].tail.Seq-1)
				}
				eventually(t, "applied", func() bool { return again.Stats().Waiting == 0 })
				checkSparse(t, again, 0)
				again.CloseHard()
			}
		})
	}
}
