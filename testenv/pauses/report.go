package pauses

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Results is where reports are appended, from this package's folder.
const Results = "../../docs/results/pauses.md"

// Report is what one scenario measured.
type Report struct {
	Scenario string
	Cluster  string // of what nodes, with which options
	Figures  []Figure
}

// Add takes one more row, and fails the test if it misses its bar.
func (r *Report) Add(t testing.TB, f Figure) {
	t.Helper()
	r.Figures = append(r.Figures, f)
	t.Logf("%s: %s | without a fault: %s | bar: %s | %s", f.What, f.Got, f.Without, f.Bar, f.Verdict)
	if f.Failed {
		t.Errorf("%s missed its bar", f.What)
	}
}

// Totals adds what holds in every scenario: no wrong answer, nothing lost.
func (r *Report) Totals(t testing.TB, runs int, sum Totals) {
	t.Helper()
	r.Add(t, Count("answers that are wrong or stale", runs, sum.Wrong, sum.Operations, 0))
	r.Add(t, Count("keys that lost an acknowledged write, or took one twice", runs, sum.Lost, 0, 0))
}

// Append puts a report at the end of a file.
func (r *Report) Append(file string, when time.Time) error {
	if len(r.Figures) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(r.markdown(when, commit())); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return f.Close()
}

// markdown is the report as a section with a table.
func (r *Report) markdown(when time.Time, commit string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n%s, commit %s, %s/%s with %d cores; %s.\n\n", r.Scenario,
		when.UTC().Format("2006-01-02 15:04"), commit, runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), r.Cluster)
	b.WriteString("| what | repeats | measured | without a fault | bar | verdict |\n|---|---|---|---|---|---|\n")
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s |\n", f.What, f.Runs, f.Got, f.Without, f.Bar, f.Verdict)
	}
	return b.String()
}

// commit is what is measured.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
