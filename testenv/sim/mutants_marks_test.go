package sim_test

// markBreaks are of values that clients make anew, and of their tokens.
var markBreaks = []mutant{
	{"two clients win", "R4", "kumoserver/replica/outcome.go",
		`w.Verb == subjects.VerbFetch && cur.Bits&subjects.MarkSent == 0 && due(`,
		`w.Verb == subjects.VerbFetch && due(`},
	{"a fetch that sets a time wins by the one before", "R3", "kumoserver/replica/outcome.go",
		`		expiry = next
`, `		expiry = max(cur.Expiry, 0)
`},
	{"a late first attempt wins after its repeat lost", "R9", "kumoserver/replica/judge.go",
		`case w.Attempt > 1 && w.Op.Boot != 0:`,
		`case w.Attempt > 1 && w.Op.Boot != 0 && w.Verb != subjects.VerbFetch:`},
	{"a winner that repeats is told that another won", "R9", "subjects/sessions.go",
		`Marks: uint32(r.uint()), Token`,
		`Marks: uint32(r.uint()) &^ MarkWon, Token`},
	{"whoever reads has won", "R3", "subjects/data.go",
		`Bits: e.Bits &^ MarkWon,`, `Bits: e.Bits,`},
	{"winning takes the token away", "R3", "kumoserver/replica/outcome.go",
		`cur.Bits, cur.CAS()`, `cur.Bits, 0`},
	{"nobody can win a stale value that was won before", "R4", "kumoserver/replica/outcome.go",
		`		e.Bits = subjects.MarkStale
	}
	if`, `		e.Bits = subjects.MarkStale | cur.Bits
	}
	if`},
	{"an explicit token is lost in a range", "R10", "subjects/handoff.go",
		`m.Version, m.Token = r.version(), r.uint()`, `m.Version, _ = r.version(), r.uint()`},
	{"a late set passes for a good one", "R4", "kumoserver/replica/outcome.go",
		`	if found && late(w, cur) {`, `	if found && late(w, cur) && w.Flags == 0 {`},
}
