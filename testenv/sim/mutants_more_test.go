package sim_test

// More breaks of the replication machine.
var moreMachineBreaks = []mutant{
	{"a cas of no value stores one", "R4; hole 1", "kumoserver/replica/outcome.go",
		`		if w.Cas != 0 {
			return subjects.StatusNotFound
		}
		if`,
		`		if`},
	{"a partition's clock goes back with the wall clock", "R15; hole 7", "kumoserver/replica/judge.go",
		"	clock := max(ev.Clock, r.Clock())\n	if w.Verb == subjects.VerbFlush {",
		"	clock := ev.Clock\n	if w.Verb == subjects.VerbFlush {"},
	{"deletes are not brought into a range", "R10; hole 8", "kumoserver/replica/backup.go",
		`			case e.Kind == subjects.EntryDelete && inside:
				delete(byKey, string(e.Key))`,
		``},
	{"a range whose answer was lost is not sent again", "R10; hole 10", "kumoserver/replica/peer.go",
		`if p.reading && r.now-p.rangeAt >= 5*r.o.Resend {`, `if p.reading && r.o.Resend < 0 {`},
	{"a promise is told before it is on disk", "R2; hole 11", "kumoserver/replica/backup.go",
		`	rep.Incomplete, rep.Cursor, rep.Try = r.incomplete, r.cursor, m.Try
	r.send(m.From.Store, rep, true)`,
		`	rep.Incomplete, rep.Cursor, rep.Try = r.incomplete, r.cursor, m.Try
	r.send(m.From.Store, rep, false)`},
	{"a replica that is silent is waited for", "R7; hole 12", "kumoserver/replica/peer.go",
		`if p.waiting != 0 && r.now-p.waiting >= r.o.Silence || p.leaseWaits != 0 && r.now-p.leaseWaits >= r.o.Silence {`,
		`if r.o.Silence < 0 {`},
	{"early reads do not need leases of every member", "R8; named", "kumoserver/replica/lease.go",
		`		if l.mayFollow(p) {
			until = min(until, p.lease)`,
		`		if l.mayFollow(p) && p.state != starting {
			until = min(until, p.lease)`},
	{"a grant belongs to an epoch", "R6; named", "kumoserver/replica/lease.go",
		`r.release(func(g grant) bool { return g.to == ev.From || g.until <= r.now })`,
		`r.release(func(grant) bool { return true })`},
	{"a grant ends when its lease does", "R6", "kumoserver/replica/replica.go",
		`Lease: 1000 * ms, Grant: 1100 * ms,`, `Lease: 1000 * ms, Grant: 1000 * ms,`},
	{"a new primary commits while it is bound", "R8", "kumoserver/replica/lead.go",
		`if commit > r.commit && l.free(r) {`, `if commit > r.commit && r.kept >= l.epoch {`},
	{"a write is answered before it commits", "R4", "kumoserver/replica/judge.go",
		`	if w.Options&subjects.OptionEarly != 0 {`, `	if w.Options&subjects.OptionEarly == 0 {`},
	{"a primary that is replaced answers what waits", "R8", "kumoserver/replica/replica.go",
		`		op.reply.Status, op.reply.Epoch, op.reply.Value = subjects.StatusNotPrimary, r.config.Epoch, nil
`, ``},
	{"answers of a process that was not met count", "R4", "kumoserver/replica/peer.go",
		`	case h.From.Boot != p.boot:`, `	case h.From.Boot != p.boot && r.o.Window < 0:`},
	{"leases of a process that was not met count", "R6", "kumoserver/replica/lease.go",
		`if p == nil || p.state != replicating || p.boot != ev.From.Boot {`, `if p == nil {`},
	{"keys of unknown fate are shown with the first lease", "R8", "kumoserver/replica/lease.go",
		`if r.commit >= l.rolled {`, `if l.leased() > r.now {`},
	{"a flush of unknown fate hides its own key only", "R8", "kumoserver/replica/lease.go",
		`			l.hidesAll = true`, ``},
	{"a flush leaves what is prepared", "R4", "kumoserver/replica/lead.go",
		`		clear(l.newest)
		l.flushed = e`, `		l.flushed = e`},
	{"a flush of a range is not brought into it", "R10", "kumoserver/replica/backup.go",
		`				clear(byKey)`, ``},
	{"a miss of what is over is not logged", "R15", "kumoserver/replica/judge.go",
		`		l.prepare(r, ev.ID, e, clock, &subjects.Write{})`,
		`		r.emit(Reply{ID: ev.ID, Reply: told(e.Recorded(), 0)})`},
	{"a failure for what is over is not logged", "R15", "kumoserver/replica/judge.go",
		`	case expired:
		// The`, `	case expired && r.p > 99:
		// The`},
	{"a key is over a second early", "R15", "kumoserver/replica/outcome.go",
		`return expiry != 0 && expiry <= clock/1000`, `return expiry != 0 && expiry <= clock/1000+1`},
	{"an append keeps no expiry", "R15", "kumoserver/replica/outcome.go",
		`	e.Value = append(append(make([]byte, 0, len(a)+len(b)), a...), b...)
	e.Flags, e.Expiry = cur.Flags, cur.Expiry`,
		`	e.Value = append(append(make([]byte, 0, len(a)+len(b)), a...), b...)
	e.Flags = cur.Flags`},
	{"a repeat is not told the counter", "R9", "kumoserver/replica/judge.go",
		`	rep := subjects.Reply{Status: a.Status, Value: a.Value, Flags`, `	rep := subjects.Reply{Status: a.Status, Flags`},
	{"a failing answer does not depend on the lease", "R5", "kumoserver/replica/judge.go",
		`		r.emit(Reply{ID: ev.ID, Reply: reply, Until: l.leased()})`,
		`		r.emit(Reply{ID: ev.ID, Reply: reply})`},
	{"failing answers need no lease at all", "R5", "kumoserver/replica/judge.go",
		`	case !l.reads(r):`, `	case !l.reads(r) && r.p > 99:`},
	{"confirmations before the answer count", "R6", "kumoserver/replica/confirm.go",
		`for n < len(l.confirms) && l.confirms[n].since <= asked {`, `for n < len(l.confirms) && asked > 0 {`},
	{"a copy that lacks data leads", "R13", "kumoserver/replica/unfit.go",
		`	case !r.incomplete && !r.unclean:`, `	case true:`},
	{"a member does not report what it has", "R8", "kumoserver/replica/backup.go",
		`	case shared == r.tail:
		r.promise(m.Epoch)`,
		`	case shared == r.tail || len(m.Learners) > 0:
		r.promise(m.Epoch)`},
	{"what is cut comes below what has committed", "R8", "kumoserver/replica/backup.go",
		`	r.tail = after
	r.durable = min(r.durable, after.Seq)`, `	r.tail = after`},
	{"a gap is not told", "R4", "kumoserver/replica/backup.go",
		`		case e.Prev != r.tail:
			r.gap(m.From.Store)
			return`, `		case e.Prev != r.tail:
			return`},
	{"what is lost is not sent again", "R4", "kumoserver/replica/peer.go",
		`if p.match+1 < p.next && r.now-p.sentAt >= r.o.Resend {`, `if p.match+1 < p.next && r.o.Resend < 0 {`},
	{"a silent learner is certified", "R1", "kumoserver/replica/peer.go",
		`	if p.silent && !slices.Contains(l.asked, p.id) {
		p.joining = false
	}`, ``},
}
