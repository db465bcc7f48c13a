package testenv_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/testenv"
)

// A server on a copy of another's folder ends with a word about it, and nobody
// else takes harm, whichever of the two was first.
func TestCopiedFolder(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.New(t, testenv.Processes())
	c.EventuallyWhole()
	load := c.Load()
	load.GoesOn()
	c.Stop("server1")
	n, err := c.Cluster.AddServer()
	if err != nil {
		t.Fatal(err)
	}
	folder := func(name string) string { return filepath.Join(c.Dir(), name) }
	if err := os.CopyFS(folder(n.Name), os.DirFS(folder("server1"))); err != nil {
		t.Fatal(err)
	}
	c.Start("server1")
	c.EventuallyState("server1", "up")
	c.EventuallyWhole()
	c.Start(n.Name)
	// On a machine that is so busy that nobody hears of the first one meanwhile, the
	// second counts as what follows it: then the first has to go.
	goes, stays := n.Name, "server1"
	select {
	case <-c.Ended(n.Name):
	case <-c.Ended("server1"):
		goes, stays = stays, goes
	case <-time.After(testenv.Patience):
		t.Fatal("both go on")
	}
	if err := c.Err(goes); err == nil {
		t.Errorf("%s ended as if it had been told to", goes)
	}
	if s := c.LogOf(goes); !strings.Contains(s, "was the folder copied?") || !strings.Contains(s, "is refused: its store") {
		t.Errorf("%s does not say why it ended:\n%s", goes, s)
	}
	// What it is told to do helps: with a folder of its own it is a new server.
	if err := os.RemoveAll(folder(goes)); err != nil {
		t.Fatal(err)
	}
	c.Start(goes)
	c.EventuallyState(goes, "new")
	load.GoesOn()
	c.EventuallyState(stays, "up")
	c.EventuallyWhole()
	load.Stop()
	load.NoErrors()
	load.Verify()
}
