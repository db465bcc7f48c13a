package chaos_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/testenv/chaos"
)

var convict = flag.Bool("convict", false, "build the product without a rule, and see that runs convict it")

const (
	convictRuns   = 5 // at most, until a broken build is convicted
	convictLasts  = 45 * time.Second
	convictWithin = 5 * time.Minute // one run
)

// edit is a piece of a source file, and what stands there instead.
type edit struct{ file, old, new string }

// rules are what the product is built without. None of it is ever part of the
// product: the compiler is given other files in place of its own.
var rules = []struct {
	name  string
	edits []edit
}{
	{"leases are not checked before reads are answered", []edit{
		{"kumoserver/lease.go", `case now >= s.serving[p].until.Load():`, `case now < 0:`},
		{"kumoserver/perform.go", `if e.Until != 0 && boottime() >= e.Until {`, `if e.Until < 0 {`},
	}},
	{"repeated operations are done again", []edit{
		{"kumoserver/replica/judge.go", `	if op.Boot == 0 {
		return false
	}
	if e := l.byOp`, `	if l != nil {
		return false
	}
	if e := l.byOp`},
	}},
}

// A harness that finds nothing proves nothing: it must convict these builds.
func TestConvict(t *testing.T) {
	if !*convict {
		t.Skip("no -convict given")
	}
	isolate := true
	if err := chaos.MayIsolate(); err != nil {
		isolate = false
		t.Logf("nothing is cut, which makes it hard: %v", err)
	}
	for _, rule := range rules {
		t.Run(strings.ReplaceAll(rule.name, " ", "-"), func(t *testing.T) {
			binary := broken(t, rule.edits)
			for s := uint64(1); s <= convictRuns; s++ {
				began := time.Now()
				verdict := trial(t, binary, s, isolate)
				t.Logf("seed %d, %s: %s", s, time.Since(began).Round(time.Second), verdict)
				switch verdict {
				case chaos.NotLinearizable, chaos.Lost, chaos.Resurrected:
					return
				}
			}
			t.Errorf("not convicted by %d runs of %s", convictRuns, convictLasts)
		})
	}
}

// broken builds this test, and the product in it, with other sources.
func broken(t *testing.T, edits []edit) string {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replace := map[string]string{}
	for i, e := range edits {
		path := filepath.Join(root, e.file)
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(src), e.old); n != 1 {
			t.Fatalf("%s has the lines to break %d times", e.file, n)
		}
		replace[path] = filepath.Join(dir, fmt.Sprint(i, ".go"))
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(src), e.old, e.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "chaos.test")
	cmd := exec.Command("go", "test", "-c", "-vet=off", "-overlay="+filepath.Join(dir, "overlay.json"), "-o", binary, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// trial makes one run of a broken build and returns its verdict. What it prints
// is kept only in its folder.
func trial(t *testing.T, binary string, seed uint64, isolate bool) string {
	dir, err := os.MkdirTemp("", "kumo-convict-")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "result.json")
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^TestChaos$", "-test.v", fmt.Sprint("-test.timeout=", convictWithin),
		fmt.Sprint("-chaos=", convictLasts), fmt.Sprint("-seed=", seed), "-keep="+dir, "-inside="+path)
	if isolate {
		chaos.Isolate(cmd)
	}
	out, failed := cmd.CombinedOutput()
	r, err := chaos.LoadResult(path)
	if err != nil {
		return fmt.Sprintf("no result: %v: %v: %.2000s", err, failed, out)
	}
	switch r.Verdict {
	case chaos.NotLinearizable, chaos.Lost, chaos.Resurrected, "":
		os.RemoveAll(dir)
	default:
		t.Logf("what it left is in %s", dir)
	}
	if r.Verdict == "" {
		return "well"
	}
	for _, p := range r.Problems {
		t.Logf("%.3000s", p)
		break
	}
	return r.Verdict
}
