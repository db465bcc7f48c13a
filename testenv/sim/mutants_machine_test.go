package sim_test

// Breaks of the replication machine and of what it shares with the store.
var machineBreaks = []mutant{
	{"a commit does not wait for every replica", "R4; hole 5", "kumoserver/replica/lead.go",
		`	for _, p := range l.peers {
		if !l.required(p) {
			continue
		}
		if p.state == starting {`,
		`	for i, p := range l.peers {
		if !l.required(p) || i == 1 {
			continue
		}
		if p.state == starting {`},
	{"who was asked for is not required", "R1; hole 4; named", "kumoserver/replica/lead.go",
		`return !p.learner || p.joining || slices.Contains(l.asked, p.id)`,
		`return !p.learner || p.joining && l.ask == nil`},
	{"a joining learner is not required", "R1; hole 5", "kumoserver/replica/lead.go",
		`return !p.learner || p.joining || slices.Contains(l.asked, p.id)`,
		`return !p.learner`},
	{"a learner is certified before it has caught up", "R10", "kumoserver/replica/lead.go",
		`p.complete && p.match >= p.joinAt &&`,
		`p.complete &&`},
	{"an incomplete learner is certified", "R10", "kumoserver/replica/peer.go",
		`if !p.learner || p.state != replicating || !p.complete || p.silent {
		return
	}`,
		`if !p.learner || p.state != replicating || p.silent {
		return
	}
	p.complete = true`},
	{"a replica does not cut", "R8", "kumoserver/replica/backup.go",
		`		r.cut(m.Epoch, shared)`,
		`		r.promise(m.Epoch)`},
	{"a replica cuts again at a late EpochStart", "R8", "kumoserver/replica/backup.go",
		`case r.tail.Epoch == m.Epoch:`,
		`case false:`},
	{"a late order to begin anew is obeyed", "R10", "kumoserver/replica/backup.go",
		`(!ok || shared.Seq < m.Base.Seq)`,
		`true`},
	{"entries are visible at replicas before they commit", "R4", "kumoserver/replica/backup.go",
		`r.commitTo(min(m.Commit, r.tail.Seq))`,
		`r.commitTo(r.tail.Seq)`},
	{"a range is not brought up to date", "R10", "kumoserver/replica/backup.go",
		`if r.catchUp(m) {`,
		`if true {`},
	{"messages of an older epoch are taken", "R2; hole 4", "kumoserver/replica/backup.go",
		`if h.Epoch == r.promised && h.From == r.leader && r.lead == nil && !r.faulty {`,
		`if r.lead == nil {`},
	{"a lower epoch is promised again", "R2", "kumoserver/replica/backup.go",
		`if m.Epoch < r.promised || m.Epoch == r.promised`,
		`if m.Epoch == r.promised`},
	{"a gap is filled with whatever comes", "R4; hole 3", "kumoserver/replica/backup.go",
		`case e.Prev != r.tail:`,
		`case e.Prev.Seq > r.tail.Seq+1:`},
	{"a primary acknowledges what is not durable", "R4", "kumoserver/replica/lead.go",
		`commit := r.durable`,
		`commit := r.tail.Seq`},
	{"a replica acknowledges what is not durable", "R4", "kumoserver/replica/replica.go",
		`Tail: r.tail}, true)
	}
}`,
		`Tail: r.tail}, false)
	}
}`},
	{"a new primary shows what is of unknown fate", "R8", "kumoserver/replica/lead.go",
		`		l.hide()`,
		`		l.hidden = nil`},
	{"leases are not looked at", "R6; hole 6", "kumoserver/replica/lease.go",
		`until = min(until, p.lease)`,
		`until = max(until, p.lease)`},
	{"a grant does not bind its giver", "R6", "kumoserver/replica/lease.go",
		`if g.to != r.self && r.now < g.until {`,
		`if g.to != r.self && r.now < 0 {`},
	{"a restarted process forgets what it granted", "R6", "kumoserver/replica/replica.go",
		`if s.Promised > 0 {`,
		`if s.Promised > 0 && o.Lease == 0 {`},
	{"all grants end with an answer to EpochStart", "R6", "kumoserver/replica/peer.go",
		`r.release(func(g grant) bool { return g.to.Store == p.id })`,
		`r.grants = nil`},
	{"a lease counts from its answer and lasts as long as its grant", "R6", "kumoserver/replica/lease.go",
		`p.lease = max(p.lease, ev.Sent+min(r.o.Lease, ev.Length))`,
		`p.lease = max(p.lease, ev.Now+r.o.Grant)`},
	{"a lease is given to anybody", "R6", "kumoserver/replica/lease.go",
		`if r.lead != nil || ev.Epoch != r.promised || ev.From != r.leader || r.faulty || r.unclean {`,
		`if false {`},
	{"a new primary does not ask its replicas", "R8", "kumoserver/replica/lead.go",
		`if p.state == starting {
			commit = 0`,
		`if p.state == starting {
			continue`},
	{"a write is judged against what has committed", "R4", "kumoserver/replica/judge.go",
		`if e, ok := r.lead.newest[string(key)]; ok {`,
		`if e, ok := r.lead.newest[string(key)]; ok && false {`},
	{"a failing answer does not wait", "R4", "kumoserver/replica/judge.go",
		`	case open:
		l.wait(`,
		`	case open && r.p > 99:
		l.wait(`},
	{"a repeat of what is prepared is taken again", "R9; hole 2", "kumoserver/replica/judge.go",
		`if e := l.byOp[opKey{op.Boot, op.N}]; e != nil {`,
		`if e := l.byOp[opKey{op.Boot, op.N}]; e != nil && r.p > 99 {`},
	{"a repeat of what has committed is taken again", "R9", "kumoserver/replica/judge.go",
		`	return past != subjects.PastUnknown`,
		`	return false`},
	{"what is over takes effect", "R9", "kumoserver/replica/judge.go",
		`	case subjects.PastOver:
		r.answer(ev.ID, subjects.StatusUnknown)`,
		`	case subjects.PastOver:
		past = subjects.PastUnknown`},
	{"a failure of a later attempt is not recorded", "R9", "kumoserver/replica/judge.go",
		`case w.Attempt > 1 && w.Op.Boot != 0:`,
		`case w.Attempt > 99:`},
	{"a new primary forgets who made what it rolls forward", "R9", "kumoserver/replica/lead.go",
		`				l.prepared(e)`,
		`				l.prepared(e)
				clear(l.byOp)`},
	{"answers do not travel with the data", "R9", "kumoserver/replica/peer.go",
		`m.Sessions = r.log.Sessions()`,
		`m.Sessions = (&subjects.Sessions{}).Append(nil)`},
	{"a late report of a complete stream counts", "R10; hole 10", "kumoserver/replica/peer.go",
		`if p == nil || !p.learner || p.complete || m.Commit < p.base.Seq {`,
		`if p == nil || !p.learner || p.complete {`},
	{"a restarted process does not say hello", "R8", "kumoserver/replica/lease.go",
		`		r.hello(ev.From)`,
		``},
	{"a commit index is told once", "R4", "kumoserver/replica/peer.go",
		`|| p.knows < r.commit && r.now-p.toldAt >= r.o.Resend)`,
		`)`},
	{"a learner begins anew after what is not committed", "R10", "kumoserver/replica/peer.go",
		`r.outline.At(r.commit), false`,
		`r.tail, false`},
}
