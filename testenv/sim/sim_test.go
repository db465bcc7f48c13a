package sim_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/testenv/sim"
)

var (
	seed  = flag.Uint64("seed", 0, "the seed that TestSeed plays")
	from  = flag.Uint64("from", 1, "the first of the seeds that TestSeeds plays")
	seeds = flag.Uint64("seeds", 1000, "how many seeds TestSeeds plays")
	soak  = flag.Duration("soak", 0, "how long TestSoak plays fresh seeds; also KUMO_SIM_SOAK")
)

// TestMain has the collector come less often: a run leaves little behind, and
// the heap is so small that it would come all the time.
func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(2000)
	os.Exit(m.Run())
}

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
	sum := newTotal()
	for i := range *seeds {
		rep, ok := play(t, *from+i)
		if !ok {
			return
		}
		sum.add(rep)
	}
	sum.end(t)
}

// TestFreshSeeds plays some that nobody has seen.
func TestFreshSeeds(t *testing.T) {
	const n = 60
	first := rand.Uint64() >> 16
	t.Logf("seeds %d to %d", first, first+n-1)
	for i := range uint64(n) {
		if _, ok := play(t, first+i); !ok {
			return
		}
	}
}

// TestSoak plays fresh seeds, one after the other from a random one, for as long
// as it is told to.
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
	first := rand.Uint64() >> 16
	fmt.Printf("seeds from %d on\n", first)
	sum := newTotal()
	for i, end := uint64(0), time.Now().Add(d); time.Now().Before(end); i++ {
		rep, ok := play(t, first+i)
		if !ok {
			return
		}
		sum.add(rep)
	}
	sum.end(t)
}

// undecidedMost is how many of a million histories porcupine may leave
// undecided.
const undecidedMost = 100

// total is what many runs did, to see that they do something.
type total struct {
	sim.Report
	runs    int
	slowest int64
	began   time.Time
	told    time.Time
}

func newTotal() *total {
	now := time.Now()
	return &total{began: now, told: now}
}

func (s *total) add(r sim.Report) {
	s.runs++
	s.Add(r)
	s.slowest = max(s.slowest, r.Quiet)
	if now := time.Now(); now.Sub(s.told) >= 10*time.Second {
		s.told = now
		fmt.Printf("%s: %s\n", now.Sub(s.began).Round(time.Second), s)
	}
}

func (s *total) String() string {
	return fmt.Sprintf("%d seeds (%.0f a minute): %d steps, %d configurations, %d terms of managers; %d writes acknowledged, %d reads, %d given up, %d committed unknown to their client, %d keys expired, %d fetches won, %d late sets; %d crashes, %d of machines, %d drained, %d clock jumps; %d copies begun anew, %d logs cut; quiet after at most %.2f s; %d histories, %d not decided",
		s.runs, float64(s.runs)/time.Since(s.began).Minutes(), s.Steps, s.Epochs, s.Terms, s.Acks, s.Reads, s.GaveUp, s.Unknown, s.Expired, s.Won, s.Late,
		s.Crashes, s.Machines, s.Drained, s.Jumps, s.Resets, s.Cuts, float64(s.slowest)/1e9, s.Histories, s.Undecided)
}

func (s *total) end(t *testing.T) {
	t.Helper()
	t.Log(s)
	if s.runs >= 200 && (s.Won < s.runs || s.Late < s.runs/20) {
		t.Error("hardly anybody wins, or stores late")
	}
	if s.Undecided > 1 && s.Undecided*1_000_000 > s.Histories*undecidedMost {
		t.Errorf("%d of %d histories were not decided", s.Undecided, s.Histories)
	}
}
