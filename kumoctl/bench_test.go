package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/loadgen"
)

// The load generator speaks each protocol with a real gateway.
func TestBench(t *testing.T) {
	startUp(t, "--dir", t.TempDir(), "--host", "127.0.0.7", "--port", "21260", "--partitions", "8")
	const addr = "127.0.0.7:21260"
	for _, args := range [][]string{
		{"--protocol", "text"},
		{"--protocol", "meta", "--versus", addr},
		{"--protocol", "binary", "--pid", strconv.Itoa(os.Getpid())},
		{"--protocol", "text", "--multi-get", "20"},
		{"--protocol", "meta", "--multi-get", "20", "--pipeline", "3"},
		{"--protocol", "binary", "--multi-get", "20", "--rate", "200"},
	} {
		var out, err bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		args = append([]string{"bench", "-o", "json", "--addr", addr, "--connections", "4", "--keys", "300", "--size", "0-2000", "--sets", "0.5", "--time", "0.2", "--warm-up", "0"}, args...)
		if code := cli.Execute(t.Context(), root, args, &err); code != 0 {
			t.Fatalf("%v: exit code %d: %s", args, code, &err)
		}
		var results []loadgen.Result
		if err := json.Unmarshal(out.Bytes(), &results); err != nil {
			t.Fatalf("%v: %v: %s", args, err, &out)
		}
		for _, r := range results {
			if r.Operations == 0 || r.Hits == 0 || r.Misses > 0 || r.Errors > 0 || r.Latency.P50 == 0 {
				t.Errorf("%v: %+v", args, r)
			}
		}
	}
}
