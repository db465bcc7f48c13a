package pauses

import (
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

func TestSeries(t *testing.T) {
	for _, tt := range []struct {
		s             Series
		median, worst time.Duration
	}{
		{nil, 0, 0},
		{Series{7 * ms}, 7 * ms, 7 * ms},
		{Series{9 * ms, 1 * ms, 4 * ms}, 4 * ms, 9 * ms},
		{Series{1 * ms, 9 * ms}, 9 * ms, 9 * ms}, // of two in the middle the worse
	} {
		if tt.s.Median() != tt.median || tt.s.Worst() != tt.worst {
			t.Errorf("%v: median %s, worst %s", tt.s, tt.s.Median(), tt.s.Worst())
		}
	}
}

func TestVerdicts(t *testing.T) {
	bar := Bar{Median: 10 * ms, Worst: 100 * ms}
	quiet, loud := Series{ms, 2 * ms}, Series{20 * ms, 30 * ms}
	for _, tt := range []struct {
		name         string
		got, without Series
		bar          Bar
		verdict      string
		failed       bool
	}{
		{"below", Series{5 * ms, 100 * ms, 6 * ms}, quiet, bar, met, false},
		{"median above", Series{11 * ms}, quiet, bar, missed, true},
		{"worst above", Series{ms, ms, 101 * ms}, quiet, bar, missed, true},
		{"as without", Series{25 * ms}, loud, bar, stalled, false},
		{"nothing asked", Series{time.Hour}, quiet, Bar{}, "-", false},
		{"nothing to compare with", Series{time.Hour}, nil, bar, missed, true},
	} {
		if f := Pause(tt.name, tt.got, tt.without, tt.bar); f.Verdict != tt.verdict || f.Failed != tt.failed {
			t.Errorf("%s: %+v", tt.name, f)
		}
	}
	for _, tt := range []struct {
		got, of int
		most    float64
		failed  bool
	}{{0, 0, 0, false}, {1, 0, 0, true}, {0, 100, 0, false}, {1, 100, 0, true}, {1, 1000, 0.001, false}, {2, 1000, 0.001, true}} {
		if f := Count("errors", 1, tt.got, tt.of, tt.most); f.Failed != tt.failed {
			t.Errorf("%+v: %+v", tt, f)
		}
	}
}

func TestReport(t *testing.T) {
	r := Report{Scenario: "a fault", Cluster: "one node", Figures: []Figure{Pause("reads", Series{5 * ms}, Series{ms}, Bar{Worst: time.Second})}}
	got := r.markdown(time.Unix(0, 0), "abc")
	for _, want := range []string{"## a fault", "1970-01-01 00:00, commit abc", "one node", "| reads | 1 | median 5ms, worst 5ms | median 1ms, worst 1ms | worst ≤ 1s | met |"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// A window holds what was scheduled in it or was waiting when it began; the
// stretch before a fault does not blame the machine for what the fault did.
func TestWindow(t *testing.T) {
	p := &Prober{began: time.Now().Add(-time.Hour), o: Options{Every: ms}}
	w := &worker{p: p, writes: true, samples: []sample{
		{at: 100 * ms, took: 5 * ms},
		{at: 990 * ms, took: 300 * ms, failed: true}, // caught by the fault at 1 s
		{at: 1100 * ms, took: 40 * ms},
		{at: 3000 * ms, took: time.Second},
	}}
	w.at.Store(int64(time.Hour))
	p.workers = []*worker{w}
	fault := p.began.Add(time.Second)
	if got, want := p.Before(fault, time.Second, Everywhere), (Window{Writes: 10 * ms, Operations: 2}); got != want {
		t.Errorf("before: %+v, want %+v", got, want)
	}
	if got, want := p.Window(fault, time.Second, Everywhere), (Window{Writes: 300 * ms, Operations: 2, Errors: 1}); got != want {
		t.Errorf("after: %+v, want %+v", got, want)
	}
}
