package sim_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/testenv/sim"
)

var (
	seed  = flag.Uint64("seed", 0, "the seed that TestSeed plays")
	seeds = flag.Uint64("seeds", 400, "how many fixed seeds TestSeeds plays")
	soak  = flag.Duration("soak", 0, "how long TestSoak plays fresh seeds; also KUMO_SIM_SOAK")
)

// play runs a seed. One that fails is played again with a trace.
func play(t *testing.T, seed uint64) (sim.Report, bool) {
	t.Helper()
	rep, err := sim.Run(sim.Options{Seed: seed})
	if err == nil {
		return rep, true
	}
	again, same := sim.Run(sim.Options{Seed: seed, Trace: 400})
	if same == nil || same.Error() != err.Error() {
		t.Errorf("not deterministic: %v", same)
	}
	t.Errorf("%s\n%v\nplay it again: go test ./testenv/sim -run 'TestSeed$' -seed=%d", strings.Join(again.Trace, "\n"), err, seed)
	return rep, false
}

func TestSeed(t *testing.T) {
	if *seed == 0 {
		t.Skip("no -seed given")
	}
	rep, err := sim.Run(sim.Options{Seed: *seed, Trace: 1 << 20})
	t.Logf("%s\n%+v", strings.Join(rep.Trace, "\n"), rep.Profile)
	if err != nil {
		t.Error(err)
	}
}

// TestSeeds plays the same seeds each time.
func TestSeeds(t *testing.T) {
	var sum total
	for i := range *seeds {
		rep, ok := play(t, i+1)
		if !ok {
			return
		}
		sum.add(rep)
	}
	sum.log(t)
}

// TestFreshSeeds plays a few that nobody has seen.
func TestFreshSeeds(t *testing.T) {
	first := rand.Uint64() >> 16
	t.Logf("seeds %d to %d", first, first+39)
	for i := range uint64(40) {
		if _, ok := play(t, first+i); !ok {
			return
		}
	}
}

func TestSoak(t *testing.T) {
	d := *soak
	if s := os.Getenv("KUMO_SIM_SOAK"); d == 0 && s != "" {
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	if d == 0 {
		t.Skip("no -soak given")
	}
	var sum total
	for end := time.Now().Add(d); time.Now().Before(end); {
		rep, ok := play(t, rand.Uint64()>>16)
		if !ok {
			return
		}
		sum.add(rep)
	}
	sum.log(t)
}

// total is what many runs did, to see that they do something.
type total struct {
	runs, steps, epochs, acks, unknown, undecided, crashes, resets, cuts int
	slowest                                                              int64
}

func (s *total) add(r sim.Report) {
	s.runs++
	s.steps += r.Steps
	s.epochs += r.Epochs
	s.acks += r.Acks
	s.unknown += r.Unknown
	s.undecided += r.Undecided
	s.crashes += r.Crashes
	s.resets += r.Resets
	s.cuts += r.Cuts
	s.slowest = max(s.slowest, r.Quiet)
}

func (s *total) log(t *testing.T) {
	t.Logf("%d seeds: %d steps, %d configurations, %d writes acknowledged, %d committed unknown to their client, %d crashes, %d copies begun anew, %d logs cut; quiet after at most %s s; %d histories not decided",
		s.runs, s.steps, s.epochs, s.acks, s.unknown, s.crashes, s.resets, s.cuts, strconv.FormatFloat(float64(s.slowest)/1e9, 'f', 2, 64), s.undecided)
}
