package dashboard_test

import (
	"os"
	"testing"

	"github.com/etolabo/kumofs/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
