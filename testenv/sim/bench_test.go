package sim_test

import (
	"testing"

	"github.com/etolabo/kumofs/testenv/sim"
)

// BenchmarkSeeds plays seeds; an operation is one seed.
func BenchmarkSeeds(b *testing.B) {
	b.ReportAllocs()
	for i := range b.N {
		if _, err := sim.Run(sim.Options{Seed: uint64(i + 1)}); err != nil {
			b.Fatal(err)
		}
	}
}
