package ring

// Missing counts the copies that are wished for and not in sync.
func (c Config) Missing() (n int) {
	for _, id := range c.Target {
		if c.Epoch > 0 && !c.HasISR(id) {
			n++
		}
	}
	return n
}

// Progress is how much of a rebalancing is done: of as many copies as were
// missing at most since none was. It is owned by one goroutine.
type Progress struct{ most int }

// Look takes how many copies are missing now, and returns what part is done, in
// percent from 0 to 99; ok is false if none is missing.
func (g *Progress) Look(missing int) (percent int, ok bool) {
	if missing <= 0 {
		g.most = 0
		return 100, false
	}
	g.most = max(g.most, missing)
	return 100 * (g.most - missing) / g.most, true
}
