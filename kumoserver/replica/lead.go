package replica

import (
	"slices"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// lead is what a primary knows of its epoch.
type lead struct {
	epoch   ring.Epoch
	peers   []*peer // in-sync replicas and learners, itself not among them
	serving bool    // reads may be answered, while there are leases
	told    Serve   // the newest that the server was told
	// rolled is the tail at promotion: entries to it are of unknown fate until
	// every in-sync replica has them. Reads of their keys wait for that.
	rolled   uint64
	hidden   map[string]struct{}
	hidesAll bool

	open    []*subjects.Entry          // prepared and not committed, in order
	newest  map[string]*subjects.Entry // by key, the newest of open
	flushed *subjects.Entry            // the newest flush of open
	byOp    map[opKey]*subjects.Entry  // open entries by the operation that made them
	ops     []op                       // operations that wait, by ascending seq

	confirms []confirm // answers that wait to be confirmed, by time

	asked   []ring.NodeID // members of all in-sync sets asked for at this epoch
	ask     *ring.Change  // the newest
	askedAt int64
}

// opKey names an operation of one gateway.
type opKey struct {
	boot ring.BootID
	n    uint64
}

// op is an operation that is answered once seq has committed.
type op struct {
	id    uint64
	seq   uint64
	reply subjects.Reply
}

// takeLead begins an epoch as its primary. If this process led the epoch
// before, operations and reads go on.
func (r *Replica) takeLead() {
	if r.config.Epoch < r.promised {
		return // something newer is already promised; the ring will say so
	}
	old := r.lead
	if !r.mayLead() {
		r.stepDown()
		r.handOver()
		return
	}
	l := &lead{epoch: r.config.Epoch, newest: map[string]*subjects.Entry{}, byOp: map[opKey]*subjects.Entry{}}
	if old != nil {
		l.serving, l.rolled, l.hidden, l.hidesAll = old.serving, old.rolled, old.hidden, old.hidesAll
		l.open, l.newest, l.byOp, l.flushed, l.ops = old.open, old.newest, old.byOp, old.flushed, old.ops
		r.unconfirmed(old)
	} else {
		l.rolled = r.tail.Seq
		for next := r.commit + 1; next <= r.tail.Seq; {
			entries, ok := r.log.Entries(next, 1<<20)
			if !ok || len(entries) == 0 {
				r.emit(Fault{"the log has lost entries that are not committed"})
				r.unclean = true
				r.handOver()
				return
			}
			for _, e := range entries {
				l.prepared(e)
			}
			next = entries[len(entries)-1].Version.Seq + 1
		}
		l.hide()
	}
	r.lead, r.ack, r.leader = l, false, r.self
	if c := r.log.Clock(); c > r.Clock() {
		r.clock, r.clockAt = c, r.now
	}
	r.promise(l.epoch)
	for _, list := range [][]ring.NodeID{r.config.ISR, r.config.Learners} {
		for _, id := range list {
			if id == r.self.Store {
				continue
			}
			p := &peer{id: id, learner: !r.config.HasISR(id), waiting: r.now}
			if old != nil {
				p.inherit(old.peer(id))
			}
			l.peers = append(l.peers, p)
			l.start(r, p)
		}
	}
	l.advance(r)
}

// prepared notes an entry that is in the log and not committed.
func (l *lead) prepared(e *subjects.Entry) {
	l.open = append(l.open, e)
	if e.Op.Boot != 0 {
		l.byOp[opKey{e.Op.Boot, e.Op.N}] = e
	}
	if e.Kind == subjects.EntryFlush {
		clear(l.newest)
		l.flushed = e
	} else if e.Kind != subjects.EntryNoop && e.Kind != subjects.EntryAnswer {
		l.newest[string(e.Key)] = e
	}
}

// logged notes that own entries, and promises, are durable.
func (r *Replica) logged(ev Logged) {
	r.kept = max(r.kept, ev.Promised)
	if ev.Tail.Seq > r.durable && r.outline.Holds(ev.Tail) { // else it was cut since
		r.durable = ev.Tail.Seq
	}
	if r.lead != nil {
		r.lead.advance(r)
	}
}

// required reports whether commits need this replica: all in-sync replicas,
// those of any in-sync set that was asked for and not yet decided on, and
// learners that are about to be certified.
func (l *lead) required(p *peer) bool {
	return !p.learner || p.joining || slices.Contains(l.asked, p.id)
}

// free reports whether this primary may commit, and say that a learner has all
// that has committed. It may not while a grant of this process binds it, nor
// before its own promise of the epoch is on disk, which the others need not wait
// for: a process after this one that has forgotten the epoch could agree to what
// the primary before commits.
func (l *lead) free(r *Replica) bool { return r.kept >= l.epoch && !r.bound() }

// advance commits what every required replica has, and answers.
func (l *lead) advance(r *Replica) {
	commit := r.durable
	ready := true
	for _, p := range l.peers {
		if !l.required(p) {
			continue
		}
		if p.state == starting {
			commit = 0
			if !p.learner {
				ready = false
			}
		}
		commit = min(commit, p.match)
	}
	if commit > r.commit && l.free(r) {
		r.commitTo(commit)
		l.forget(commit)
	}
	l.serve(r, ready)
	n := 0
	for n < len(l.ops) && l.ops[n].seq <= r.commit {
		r.emit(Reply{ID: l.ops[n].id, Reply: l.ops[n].reply})
		n++
	}
	l.ops = shift(l.ops, n)
	l.confirmed(r)
}

// forget drops what has committed from the books of open entries.
func (l *lead) forget(commit uint64) {
	n := 0
	for n < len(l.open) && l.open[n].Version.Seq <= commit {
		e := l.open[n]
		if l.flushed == e {
			l.flushed = nil
		} else if l.newest[string(e.Key)] == e {
			delete(l.newest, string(e.Key))
		}
		if e.Op.Boot != 0 {
			delete(l.byOp, opKey{e.Op.Boot, e.Op.N})
		}
		n++
	}
	l.open = shift(l.open, n)
}

// shift drops the first n elements and keeps the array.
func shift[T any](s []T, n int) []T {
	if n == 0 {
		return s
	}
	m := copy(s, s[n:])
	clear(s[m:])
	return s[:m]
}

// tick sends again what got lost, and looks who is silent and who has caught up.
func (l *lead) tick(r *Replica) {
	for _, p := range l.peers {
		l.nudge(r, p)
		l.askLease(r, p)
		l.consider(r, p)
	}
	if r.damaged && r.now-r.handed >= r.o.AskAgain && len(r.able()) > 0 {
		r.handOver()
	}
	l.reconfigure(r)
	l.overdue(r)
	l.advance(r)
}

// reconfigure asks the managers for the configuration that the replicas'
// behaviour calls for, until the epoch moves.
func (l *lead) reconfigure(r *Replica) {
	if len(r.config.Learners) == 0 && !slices.ContainsFunc(l.peers, silent) {
		return // as nearly always
	}
	c := ring.Change{Partition: r.p, Epoch: l.epoch, Primary: r.self, By: r.self}
	told := true
	for _, id := range r.config.ISR {
		if p := l.peer(id); p == nil || !p.silent {
			c.ISR = append(c.ISR, id)
		} else {
			c.Reason = "a replica is silent"
			if told = told && p.fault; told {
				c.Reason = "a replica's copy cannot go on"
			}
		}
	}
	c.Told = told && len(c.ISR) < len(r.config.ISR)
	for _, id := range r.config.Learners {
		switch p := l.peer(id); {
		case p.joining && l.free(r) && p.complete && p.match >= p.joinAt && p.state == replicating && !p.silent:
			c.ISR = append(c.ISR, id)
			c.Joined = append(c.Joined, ring.Process{Store: id, Boot: p.boot})
			c.Reason = "a learner has caught up"
		case p.silent && slices.Contains(l.asked, id):
			c.Reason = "a learner fell silent"
		default:
			c.Learners = append(c.Learners, id)
		}
	}
	if len(c.ISR) == len(r.config.ISR) && len(c.Learners) == len(r.config.Learners) {
		return
	}
	same := l.ask != nil && slices.Equal(l.ask.ISR, c.ISR) && slices.Equal(l.ask.Learners, c.Learners) && slices.Equal(l.ask.Joined, c.Joined)
	if same && r.now-l.askedAt < r.o.AskAgain {
		return
	}
	l.ask, l.askedAt = &c, r.now
	for _, id := range c.ISR {
		if !slices.Contains(l.asked, id) {
			l.asked = append(l.asked, id)
		}
	}
	r.emit(Ask{c})
}

func silent(p *peer) bool { return p.silent }

func (l *lead) peer(id ring.NodeID) *peer {
	for _, p := range l.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}
