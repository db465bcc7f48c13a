package sim

// maxDrift is by how much a clock may run fast or slow: what leases allow for.
const maxDrift = 0.01

// wallStart is what a right wall clock shows when a run begins, Unix
// milliseconds.
const wallStart = 1_700_000_000_000

// clocks are a machine's.
type clocks struct {
	base int64   // what the monotonic one shows at time 0
	rate float64 // of the monotonic one
	off  int64   // by how much the wall clock is wrong, milliseconds
}

// newClocks draws the clocks of a machine that begins to run: its monotonic
// clock counts from any moment.
func (s *Sim) newClocks(off int64) clocks {
	c := clocks{base: 1 + s.rng.Int64N(100_000*ms), rate: 1, off: off}
	if d := s.prof.Drift; d > 0 {
		c.rate += pick(s.rng, -d, d, d*(2*s.rng.Float64()-1))
	}
	return c
}

// mono is the monotonic clock, nanoseconds.
func (n *node) mono() int64 { return n.clocks.base + int64(float64(n.s.now)*n.clocks.rate) }

// wall is the wall clock, Unix milliseconds.
func (n *node) wall() int64 { return wallStart + n.s.now/ms + n.clocks.off }

// jump sets a wall clock.
func (s *Sim) jump() {
	n := s.one()
	n.clocks.off = pick(s.rng, 0, s.between(-3_600_000, 3_600_000)/ms, -3_600_000, 3_600_000, s.between(-2000, 2000)/ms)
	s.rep.Jumps++
	s.note("the wall clock of node %d is now %d ms off", n.id, n.clocks.off)
}
