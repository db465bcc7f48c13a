package sim_test

// Breaks of what lies around the replication machine: sessions, logs' outlines,
// the table, the planner, membership, and how gateways repeat.
var otherBreaks = []mutant{
	{"a clock that is set makes gateways forgotten", "R9", "subjects/sessions.go",
		`s.age += min(e.Clock-s.clock, maxAging)`, `s.age += e.Clock - s.clock`},
	{"an operation that is over may take effect", "R9", "subjects/sessions.go",
		`	if op.N < g.lowest {
		return Recorded{}, PastOver
	}`, ``},
	{"answers without an effect are not kept", "R9", "subjects/sessions.go",
		`	if e.Op.N >= g.lowest {
		g.answers`, `	if e.Op.N >= g.lowest && e.Kind != EntryAnswer {
		g.answers`},
	{"answers are forgotten one too early", "R9", "subjects/sessions.go",
		`	g.raise(e.Op.Lowest)`, `	g.raise(e.Op.Lowest + 1)`},
	{"sessions that are merged replace each other", "R9", "subjects/sessions.go",
		`		low := max(g.lowest, from.lowest)
		g.lowest = low`, `		low := max(g.lowest, from.lowest) + 1
		g.lowest = low`},
	{"logs share what neither of them has", "R8", "subjects/peer.go",
		`min(o[i].Seq, p[j].Seq)}, true`, `o[i].Seq}, true`},
	{"a cut forgets an epoch of the log", "R8", "subjects/peer.go",
		`	if len(o) == 0 || o[len(o)-1] != v {
		o = append(o, v)
	}`, ``},
	{"two changes of one epoch are made", "R1; hole 9", "subjects/ring/apply.go",
		`	if c.Epoch != old.Epoch {
		return "the epoch has moved on"
	}`, ``},
	{"anybody may become primary", "R1", "subjects/ring/apply.go",
		`	if !old.HasISR(c.Primary.Store) {
		return "the new primary was not in sync"
	}`, ``},
	{"managers certify learners", "R1", "subjects/ring/apply.go",
		`if !old.HasISR(id) && (!old.HasLearner(id) || c.By != old.Primary) {`, `if !old.HasISR(id) && !old.HasLearner(id) {`},
	{"nodes join the in-sync set that were no learners", "R1", "subjects/ring/apply.go",
		`if !old.HasISR(id) && (!old.HasLearner(id) || c.By != old.Primary) {`, `if !old.HasISR(id) && c.By != old.Primary && old.HasLearner(id) {`},
	{"an unclean store may lead", "R13", "subjects/ring/apply.go",
		`	if slices.Contains(old.Unclean, c.Primary.Store) {
		return "the new primary's copy is unclean"
	}`, ``},
	{"what a process says of its copies is forgotten", "R13", "subjects/ring/apply.go",
		`if unclean.Has(Partition(p)) && c.HasISR(id) && `, `if unclean.Has(Partition(p)) && id == 0 && `},
	{"a primary may be outside of the in-sync set", "R1", "subjects/ring/table.go",
		`	if !c.HasISR(c.Primary.Store) {
		return fmt.Errorf("primary %s is not in sync", c.Primary.Store)
	}`, ``},
	{"a primary that calls all others silent is believed", "R7", "kumomanager/rebalance/judge.go",
		`len(heard) > 0 && !old.Disputed`, `len(heard) > 99 && !old.Disputed`},
	{"a primary that is gone keeps the lead", "R8", "kumomanager/rebalance/reconcile.go",
		`	if !r.alive(d.Primary) {
		able`, `	if !r.alive(d.Primary) && r.FailoverOnly {
		able`},
	{"an unclean copy is given the lead", "R13", "kumomanager/rebalance/reconcile.go",
		`return r.up(id) && clean(id) })`, `return r.up(id) })`},
	{"no copies are begun", "R10", "kumomanager/rebalance/reconcile.go",
		`	return filter(d.Target, func(id ring.NodeID) bool { return r.fit(id) && !d.Holds(id) })`,
		`	return filter(d.Target, func(id ring.NodeID) bool { return r.fit(id) && !d.Holds(id) && d.Epoch == 0 })`},
	{"a process that stops keeps its partitions", "R11", "kumomanager/members/processes.go",
		`	if hb.Stopping && s.stops == 0 {
		s.stops, m.news = now, true
	}
`, ``},
	{"silence is not noticed", "R8", "kumomanager/members/members.go",
		`if s.State != rebalance.Down && now-m.lastHeard(s) > m.failAfter {`, `if s.State != rebalance.Down && now-m.lastHeard(s) > 1000*m.failAfter {`},
	{"the proof of an end is taken for another process", "R8", "kumomanager/members/processes.go",
		`	if s.Heartbeat.Boot != p.Boot {`, `	if s.Heartbeat.Boot == 0 {`},
	{"late heartbeats make a copy of a successor", "bad input", "kumomanager/members/processes.go",
		`s.after >= 2 && now-s.since >= rivalAfter {`, `s.after >= 2 {`},
	{"a gateway's lowest number is its newest", "R9", "kumogateway/repeat/numbers.go",
		`	return n, s.lowest`, `	return n, n`},
	{"a number that is open counts as closed", "R9", "kumogateway/repeat/numbers.go",
		`		if *word&(1<<(s.lowest%64)) == 0 {
			return
		}`, ``},
	{"a gateway is sure of an attempt that was not answered", "R9", "kumogateway/repeat/repeat.go",
		`	c.Unsure = true
	return Next{Refresh: true}`, `	return Next{Refresh: true}`},
	{"a gateway is sure of what a replaced primary refused", "R9", "kumogateway/repeat/repeat.go",
		`		c.Unsure = true
		return Next{Wait: backoff(c.Attempts), Refresh: theirs >= c.Epoch}`, `		return Next{Wait: backoff(c.Attempts), Refresh: theirs >= c.Epoch}`},
	{"a refusal is taken for an answer", "R9", "kumogateway/repeat/repeat.go",
		`	case subjects.StatusRetry:
		return Next{Wait: backoff(c.Attempts)}
`, ``},
	{"a further attempt says that it is the first", "R9", "kumogateway/repeat/repeat.go",
		`	c.Attempts++
`, `	c.Attempts = 1
`},
}
