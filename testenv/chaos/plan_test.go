package chaos_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/etolabo/kumofs/testenv/chaos"
)

var everything = chaos.Shape{Managers: 3, Servers: 4, Gateways: 2, Net: true}

func TestPlanIsItsSeeds(t *testing.T) {
	if diff := cmp.Diff(chaos.Plan(7, time.Minute, everything), chaos.Plan(7, time.Minute, everything)); diff != "" {
		t.Error(diff)
	}
	if cmp.Equal(chaos.Plan(7, time.Minute, everything), chaos.Plan(8, time.Minute, everything)) {
		t.Error("two seeds have one plan")
	}
}

// Everything ends within the time of trouble, no node is in two hands, one cut
// is there at a time, and every nemesis has its turn.
func TestPlansKeepOrder(t *testing.T) {
	const within = 5 * time.Minute
	seen := map[chaos.Kind]int{}
	for seed := range uint64(50) {
		var plan []chaos.Event
		for _, e := range chaos.Plan(seed, within, everything) {
			seen[e.Kind]++
			if e.At+e.Lasts > within {
				t.Errorf("seed %d: %s lasts too long", seed, e)
			}
			for _, o := range plan {
				if o.At+o.Lasts <= e.At {
					continue
				}
				for _, n := range e.Nodes {
					if slices.Contains(o.Nodes, n) {
						t.Errorf("seed %d: %s is in the hands of %s and %s", seed, n, o, e)
					}
				}
				if len(o.Cut) > 0 && len(e.Cut) > 0 {
					t.Errorf("seed %d: two cuts at a time: %s and %s", seed, o, e)
				}
			}
			plan = append(plan, e)
		}
	}
	for _, k := range []chaos.Kind{chaos.Kill, chaos.Leader, chaos.Storm, chaos.Stop, chaos.Pause, chaos.Cut, chaos.Flap, chaos.Unplug, chaos.Move} {
		if seen[k] < 50 {
			t.Errorf("%s %d times in 50 plans", k, seen[k])
		}
	}
}

// Where the network cannot be cut, and in the short run of go test, only what is
// asked for happens.
func TestPlansWithoutCuts(t *testing.T) {
	noNet, gentle := everything, everything
	noNet.Net, gentle.Gentle = false, true
	for seed := range uint64(50) {
		for _, e := range chaos.Plan(seed, time.Minute, noNet) {
			if len(e.Cut) > 0 || e.Kind == chaos.Unplug {
				t.Fatalf("seed %d: %s", seed, e)
			}
		}
		for _, e := range chaos.Plan(seed, time.Minute, gentle) {
			if e.Kind != chaos.Kill && e.Kind != chaos.Pause || e.Lasts > 5*time.Second {
				t.Fatalf("seed %d: %s", seed, e)
			}
		}
	}
}
