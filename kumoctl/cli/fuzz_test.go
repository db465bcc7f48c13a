package cli

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// FuzzConfig: a configuration file of any bytes is taken or refused as a usage
// error, whatever the options, and takes memory by its length.
func FuzzConfig(f *testing.F) {
	for _, role := range []string{"gateway", "manager", "server"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", "deploy", "etc", role+".toml"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{
		"n = 1\nlist = [\"a\", 2, true, 1.5]\ntime = \"2s\"\n", "addrs = \"a,b\"\naddrs = \"c\"", "[table]\nn = 1", "n = 1979-05-27T07:32:00Z",
		"n = [[1]]", "\"n\" = 0x7fffffffffffffff", "a.b.c = 1", "on = yes", "rate = nan", "time = 1e300", "[[n]]\n[[n]]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		fs := pflag.NewFlagSet("fuzz", pflag.ContinueOnError)
		fs.Int("n", 0, "")
		fs.Bool("on", false, "")
		fs.StringSlice("list", nil, "")
		var d time.Duration
		SecondsVarP(fs, &d, "time", "", "")
		fs.Var(new(Rate), "rate", "")
		var addrs []string
		fs.Var(Addrs{To: &addrs, Port: 1}, "addrs", "")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := loadText(fs, "file", text, Origins{})
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 2000*uint64(len(text))+1<<20 {
			t.Fatalf("%d bytes take %d", len(text), took)
		}
		if err != nil && !errors.As(err, new(*UsageError)) {
			t.Fatalf("%v is no usage error", err)
		}
	})
}
