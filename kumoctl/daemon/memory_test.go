package daemon

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/kumoctl/cli"
)

// What is not said follows from the memory that the process may have, and without a
// limit, or with much, is what it always was.
func TestDefaultsFitTheMemory(t *testing.T) {
	for _, c := range []struct {
		limit          int64
		args           []string
		clients, conns int
	}{
		{0, nil, 2048, 4096},
		{4 << 30, nil, 2048, 4096},
		{1 << 30, nil, 512, 4096},
		{256 << 20, nil, 128, 2048},
		{1 << 20, nil, 16, 64},
		{256 << 20, []string{"--client-memory", "300", "--max-connections", "5000"}, 300, 5000},
	} {
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		var o clientOptions
		o.flags(fs, "")
		if err := fs.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		o.fitMemory(fs, cli.Memory{Bytes: c.limit}, 2)
		if err := o.listen(); err != nil || o.memory != c.clients || o.MaxConnections != c.conns {
			t.Errorf("%d bytes, %v: %d MiB and %d connections, want %d and %d (%v)", c.limit, c.args, o.memory, o.MaxConnections, c.clients, c.conns, err)
		}
		// What clients can make a gateway hold is within the sum.
		if most := 2*o.MaxHeld + 4*o.MaxAnswers; most > max(o.memory<<20, 4*o.MaxItemSize+4*o.MaxAnswers) {
			t.Errorf("%d MiB become %d bytes", o.memory, most)
		}
	}
	if got := share(cli.Memory{Bytes: 256 << 20}, 4, 192, leastMemory); got != 64 {
		t.Errorf("a server's --memory with 256 MiB is %d", got)
	}
}

// A limit is told, and one that nobody can stay below is warned of.
func TestLimitsAreTold(t *testing.T) {
	for bytesAllowed, want := range map[int64]string{
		0:          "",
		1:          "INFO WARN",
		64<<20 - 1: "INFO WARN",
		64 << 20:   "INFO",
		1 << 30:    "INFO",
	} {
		var told bytes.Buffer
		// Where GOMEMLIMIT says it the collector knows, and is left alone.
		Heed(slog.New(slog.NewTextHandler(&told, nil)), cli.Memory{Bytes: bytesAllowed, From: "GOMEMLIMIT"})
		var levels []string
		for line := range strings.Lines(told.String()) {
			level, _, _ := strings.Cut(line[strings.Index(line, "level=")+6:], " ")
			levels = append(levels, level)
			if !strings.Contains(line, "by=GOMEMLIMIT") {
				t.Errorf("%d bytes: %s", bytesAllowed, line)
			}
		}
		if got := strings.Join(levels, " "); got != want {
			t.Errorf("%d bytes: %q, want %q", bytesAllowed, got, want)
		}
	}
}
