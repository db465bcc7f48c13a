package pauses

import (
	"fmt"
	"slices"
	"time"
)

// Series are pauses of several runs of the same thing.
type Series []time.Duration

// Median is the one in the middle, the larger of two; 0 of none.
func (s Series) Median() time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[len(sorted)/2]
}

// Worst is the longest; 0 of none.
func (s Series) Worst() time.Duration {
	if len(s) == 0 {
		return 0
	}
	return slices.Max(s)
}

// Bar is what pauses must not exceed; 0 where nothing is asked.
type Bar struct{ Median, Worst time.Duration }

func (b Bar) met(s Series) bool {
	return (b.Median == 0 || s.Median() <= b.Median) && (b.Worst == 0 || s.Worst() <= b.Worst)
}

func (b Bar) String() string {
	switch {
	case b == Bar{}:
		return "-"
	case b.Worst == 0:
		return "median ≤ " + show(b.Median)
	case b.Median == 0:
		return "worst ≤ " + show(b.Worst)
	}
	return "median ≤ " + show(b.Median) + ", worst ≤ " + show(b.Worst)
}

// The words of a verdict.
const (
	met     = "met"
	missed  = "missed"
	stalled = "missed, as without a fault" // the machine is to blame, perhaps
)

// Figure is one row of a report.
type Figure struct {
	What    string
	Runs    int
	Got     string
	Without string // a fault
	Bar     string
	Verdict string
	Failed  bool // and the machine is not to blame
}

// Pause makes a row of pauses, beside those without a fault.
func Pause(what string, got, without Series, bar Bar) Figure {
	f := Figure{What: what, Runs: len(got), Got: got.String(), Without: without.String(), Bar: bar.String(), Verdict: met}
	switch {
	case bar == Bar{}:
		f.Verdict = "-"
	case bar.met(got):
	case !bar.met(without):
		f.Verdict = stalled
	default:
		f.Verdict, f.Failed = missed, true
	}
	return f
}

// Count makes a row of a number that must not be above another.
func Count(what string, runs int, got, of int, most float64) Figure {
	f := Figure{What: what, Runs: runs, Got: fmt.Sprint(got), Without: "-", Bar: fmt.Sprintf("≤ %g", most), Verdict: met}
	share := float64(got)
	if of > 0 {
		f.Got = fmt.Sprintf("%d of %d (%.3f%%)", got, of, 100*float64(got)/float64(of))
		if most > 0 {
			f.Bar = fmt.Sprintf("≤ %g%%", 100*most)
			share = float64(got) / float64(of)
		}
	}
	if share > most {
		f.Verdict, f.Failed = missed, true
	}
	return f
}

func (s Series) String() string {
	if len(s) == 0 {
		return "-"
	}
	return fmt.Sprintf("median %s, worst %s", show(s.Median()), show(s.Worst()))
}

// show rounds a duration for people.
func show(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
