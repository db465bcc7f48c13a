package testenv_test

import (
	"os"
	"testing"

	"github.com/etolabo/kumofs/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// variation marks a test whose processes do, with other settings or files, what
// those of other tests do: with -short it is left out, as in the race detector's
// run of .ci/run, where it takes minutes and would see nothing new.
func variation(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a variation of other tests")
	}
}
