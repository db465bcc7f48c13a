package chaos_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/testenv"
	"github.com/etolabo/kumofs/testenv/chaos"
)

var (
	lasting = flag.Duration("chaos", 0, "make runs that last so long")
	runs    = flag.Int("runs", 1, "how many runs")
	seed    = flag.Uint64("seed", 0, "of the first run; the next ones follow. 0 draws one")
	results = flag.String("results", "", "append a row for each run to this file")
	keep    = flag.String("keep", "", "where the folders of failed runs are left; by default in the folder for temporary files")
	leave   = flag.Bool("leave", false, "leave the folders of runs that went well, too")
	plan    = flag.String("plan", "", "do what this file says, such as a failed run's plan.json, rather than what the seed says")
	every   = flag.Duration("every", 0, "the time from one fault to the next; 0: about two seconds")
	flat    = flag.Bool("flat", false, "fail if the daemons use more and more memory or goroutines")
	rate    = flag.Int("rate", 0, "operations a second; 0: as usual")
	inside  = flag.String("inside", "", "make one run in this process, which has namespaces of its own, and leave the result here")
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// A short run, with nothing but kills and pauses, for every day.
func TestKillsAndPauses(t *testing.T) {
	if *lasting != 0 {
		t.Skip("a longer run is asked for")
	}
	o := chaos.Defaults(rand.Uint64N(1e6))
	if *seed != 0 {
		o = chaos.Defaults(*seed)
	}
	o.Managers, o.Servers, o.Gentle = 1, 3, true
	o.Duration, o.Rate, o.Dir = 12*time.Second, 600, filepath.Join(t.TempDir(), "cluster")
	t.Logf("seed %d", o.Seed)
	r := chaos.Run(t, o)
	if r.Operations < 500 { // far fewer than any machine does, but not nothing
		t.Errorf("%d operations in %s are hardly a load", r.Operations, r.Duration)
	}
}

// Runs with everything that can go wrong, each in a process of its own.
func TestChaos(t *testing.T) {
	switch {
	case *inside != "":
		within(t)
		return
	case *lasting == 0:
		t.Skip("no -chaos given")
	}
	isolate := true
	if err := chaos.MayIsolate(); err != nil {
		isolate = false
		t.Logf("nothing is cut: %v", err)
	}
	first := *seed
	if first == 0 {
		first = rand.Uint64N(1e6) + 1
	}
	for i := range *runs {
		s := first + uint64(i)
		t.Run(fmt.Sprint("seed-", s), func(t *testing.T) { apart(t, s, isolate) })
	}
}

// apart makes one run in another process, which is ended if it hangs.
func apart(t *testing.T, seed uint64, isolate bool) {
	path := filepath.Join(t.TempDir(), "result.json")
	patience := *lasting + 10*time.Minute
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestChaos$", "-test.v", fmt.Sprint("-test.timeout=", patience),
		fmt.Sprint("-chaos=", *lasting), fmt.Sprint("-seed=", seed), "-keep="+*keep, fmt.Sprint("-leave=", *leave),
		fmt.Sprint("-every=", *every), fmt.Sprint("-flat=", *flat), fmt.Sprint("-rate=", *rate), "-plan="+*plan, "-inside="+path)
	if isolate {
		chaos.Isolate(cmd)
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	began := time.Now()
	failed := cmd.Run()
	r, err := chaos.LoadResult(path)
	if err != nil {
		r = &chaos.Result{Seed: seed, Duration: time.Since(began), Verdict: "did not begin"}
		t.Errorf("the run left no result: %v", err)
	}
	if failed != nil {
		t.Errorf("the run failed: %v: %s", failed, r.Verdict)
		if r.Verdict == "" {
			r.Verdict = "failed"
		}
	}
	if *results != "" {
		if err := chaos.AppendRow(*results, r.Row(time.Now(), commit())); err != nil {
			t.Error(err)
		}
	}
}

// commit names what was tested.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty=+", "--exclude=*").Output()
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(out))
}

// within makes the run.
func within(t *testing.T) {
	o := chaos.Defaults(*seed)
	o.Duration, o.Leave, o.Every, o.Flat = *lasting, *leave, *every, *flat
	if *rate > 0 {
		o.Rate = *rate
	}
	dir := *keep
	if dir == "" {
		dir = os.TempDir()
	}
	o.Dir = filepath.Join(dir, fmt.Sprintf("kumo-chaos-%d-%s", *seed, time.Now().Format("150405")))
	if *plan != "" {
		text, err := os.ReadFile(*plan)
		if err == nil {
			err = json.Unmarshal(text, &o.Plan)
		}
		if err != nil {
			t.Fatalf("read the plan: %v", err)
		}
	}
	switch err := chaos.Inside(); {
	case err == nil:
		if o.Net, err = chaos.OpenNetwork(o.Shape); err != nil {
			t.Fatal(err)
		}
	default:
		t.Logf("nothing is cut: %v", err)
	}
	o.Result = *inside
	chaos.Run(t, o)
}
