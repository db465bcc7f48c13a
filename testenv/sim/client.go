package sim

import (
	"fmt"
	"strconv"

	"github.com/etolabo/kumofs/kumogateway/repeat"
	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// operation is what a client wants, through all of its attempts, in the history.
type operation struct {
	id       uint64
	client   int
	g        *gateway
	p        ring.Partition
	w        subjects.Write // Verb 0: get
	began    int64
	deadline int64
	call     int64
	ret      int64 // 0: the outcome is open
	reply    subjects.Reply
	course   repeat.Course
	attempts []*attempt
	held     bool              // it waits for a newer ring
	entries  []*subjects.Entry // what the attempts made, if anything
	effect   *subjects.Entry   // that which committed, known at the end
	done     bool              // the gateway waits no more
	nothing  bool              // and said that nothing was done
	expiry   bool              // no operation at all: the end of a key
}

// attempt is one request to one process.
type attempt struct {
	id       uint64
	op       *operation
	w        subjects.Write
	to       ring.Process
	node     *node // that took it
	life     int
	answered bool
	over     bool // its gateway waits for it no more
	stale    bool // what it was judged by, or read, had been overwritten
}

// client does one thing after the other.
type client struct {
	s      *Sim
	id     int
	g      *gateway
	tokens [16]uint64 // by key, the last one seen
}

func (c *client) next() {
	if !c.s.calm {
		op := c.choose()
		c.s.ops = append(c.s.ops, op)
		c.g.begin(op)
	}
}

// saw remembers the token of a value.
func (c *client) saw(op *operation) {
	if op.reply.Cas != 0 && len(op.w.Key) > 0 {
		k, _ := strconv.Atoi(string(op.w.Key[1:]))
		c.tokens[k] = op.reply.Cas
	}
}

var (
	textVerbs = []subjects.Verb{
		subjects.VerbSet, subjects.VerbSet, subjects.VerbAdd, subjects.VerbReplace, subjects.VerbAppend,
		subjects.VerbPrepend, subjects.VerbDelete, subjects.VerbTouch, subjects.VerbTouch, 0, 0,
		subjects.VerbFetch, subjects.VerbFetch, subjects.VerbFetch, subjects.VerbDelete,
	}
	counterVerbs = []subjects.Verb{
		subjects.VerbSet, subjects.VerbIncr, subjects.VerbIncr, subjects.VerbIncr, subjects.VerbDecr,
		subjects.VerbDelete, subjects.VerbAdd, subjects.VerbTouch, subjects.VerbTouch, 0, 0,
		subjects.VerbFetch,
	}
)

// choose draws an operation. Odd keys hold counters.
func (c *client) choose() *operation {
	s := c.s
	k := s.rng.IntN(s.prof.Keys)
	key := []byte("k" + strconv.Itoa(k))
	op := &operation{id: uint64(len(s.ops) + 1), client: c.id, began: s.now, call: s.tick(), p: ring.Of(key, s.prof.Partitions)}
	if s.chance(s.prof.Flush) {
		op.w = subjects.Write{Partition: op.p, Verb: subjects.VerbFlush}
		return op
	}
	w := subjects.Write{Partition: op.p, Key: key, Value: []byte("v" + strconv.FormatUint(op.id, 10))}
	verbs := textVerbs
	if k%2 == 1 {
		verbs = counterVerbs
		w.Value = []byte(strconv.FormatUint(op.id, 10))
		w.Delta = 1 + s.rng.Uint64N(3)
	}
	w.Verb = verbs[s.rng.IntN(len(verbs))]
	w.Flags = uint32(op.id)
	if w.Verb == 0 {
		op.w = w
		return op
	}
	w.Options = c.options(w.Verb)
	if s.chance(s.prof.Expire) {
		w.Exptime = pick[int64](s.rng, 1, 1, 2, 3, -1)
		w.Vivify = pick[int64](s.rng, 1, 2, 3, -1)
	}
	w.Initial, w.Recache = op.id, pick[int64](s.rng, 0, 1, 2, 3, 4, -1)
	if w.Verb == subjects.VerbFetch && w.Recache > 2 { // not drawn, so that seeds keep their plays
		w.Options |= subjects.OptionRenewed
	}
	if w.Options&subjects.OptionToken != 0 {
		// Older and newer than all others, and never the same.
		w.Token = pick(s.rng, op.id, 1<<63|op.id)
	}
	if w.Verb != subjects.VerbAdd && w.Verb != subjects.VerbTouch && w.Verb != subjects.VerbFetch && s.chance(0.3) {
		w.Cas = c.tokens[k]
	}
	op.w = w
	return op
}

// options draws the options that a verb takes.
func (c *client) options(v subjects.Verb) (all uint32) {
	draw := func(p float64, option uint32) {
		if c.s.chance(p) {
			all |= option
		}
	}
	if v != subjects.VerbTouch {
		draw(0.1, subjects.OptionToken)
	}
	switch v {
	case subjects.VerbSet, subjects.VerbReplace:
		draw(0.5, subjects.OptionStale)
	case subjects.VerbAppend, subjects.VerbPrepend:
		draw(0.2, subjects.OptionVivify)
	case subjects.VerbIncr, subjects.VerbDecr:
		draw(0.3, subjects.OptionVivify)
		draw(0.2, subjects.OptionTouch)
	case subjects.VerbDelete:
		draw(0.5, subjects.OptionStale)
		draw(0.15, subjects.OptionEmpty)
		draw(0.2, subjects.OptionTouch)
	case subjects.VerbFetch:
		draw(0.5, subjects.OptionVivify)
		draw(0.3, subjects.OptionTouch)
		draw(0.4, subjects.OptionRecache)
	}
	return all
}

// serve takes a client's request at a node.
func (n *node) serve(r request) {
	a := r.a
	p := n.parts[a.op.p]
	a.node, a.life = n, n.life
	if a.w.Verb == 0 {
		n.read(p, a)
		return
	}
	a.stale = p.outdated() && !p.undecided(a.w.Key)
	n.s.proposing = a
	p.step(&replica.Propose{ID: a.id, Write: &a.w, Now: n.mono(), Clock: n.wall()})
	n.s.proposing = nil
}

// read answers a read as a server does, past its machine: whether it may is asked
// again after the value was taken, perhaps a good while after.
func (n *node) read(p *part, a *attempt) {
	lead, status := p.readable(&a.w, 0)
	if status != subjects.StatusOK {
		n.s.reply(a, subjects.Reply{Status: status, Epoch: n.epoch(p)})
		return
	}
	rec, found, _ := p.Get(a.w.Key)
	want := n.s.ledger[p.p].now[string(a.w.Key)]
	old := found != (want != nil) || found && want.Version != rec.Version
	then := func() {
		reply := subjects.Reply{Status: subjects.StatusNotFound, Epoch: a.w.Epoch}
		again, status := p.readable(&a.w, n.mono())
		if status == subjects.StatusOK && again == lead && !n.s.prof.Confirm {
			p.checkRead(a.w.Key, rec, found, want)
		}
		switch {
		case status != subjects.StatusOK:
			reply.Status, reply.Epoch = status, n.epoch(p)
		case again != lead:
			reply.Status = subjects.StatusRetry
		case found && replica.Expired(&rec, max(n.wall(), p.m.Clock())):
			n.take(expiry{a, a.w.Key})
			return
		case found:
			reply = subjects.Reply{Status: subjects.StatusOK, Value: rec.Value, Flags: rec.Flags, Cas: rec.CAS(), Expiry: rec.Expiry, Marks: rec.Bits, Size: uint32(len(rec.Value))}
		}
		if !reply.Status.Routed() {
			n.s.rep.Reads++
			if n.s.prof.Confirm {
				a.stale = old
				n.take(confirming{a, lead, reply})
				return
			}
		}
		n.s.reply(a, reply)
	}
	if n.s.calm || !n.s.chance(0.05) {
		then()
		return
	}
	life := n.life
	n.s.after(n.s.between(0, 1500), func() {
		if n.life == life {
			then()
		}
	})
}

// readable reports whether the process may answer a read from what is committed,
// and the epoch in which it leads. A time of 0 leaves the lease for later.
func (p *part) readable(r *subjects.Write, now int64) (ring.Epoch, subjects.Status) {
	_, hidden := p.reads.Hidden[string(r.Key)]
	switch {
	case !p.serving:
		return 0, subjects.StatusNotPrimary
	case r.Epoch > p.reads.Epoch, now >= p.reads.Until, hidden:
		return 0, subjects.StatusRetry
	}
	return p.reads.Epoch, subjects.StatusOK
}

func (n *node) epoch(p *part) ring.Epoch {
	if n.table == nil {
		return 0
	}
	return n.table.Partitions[p.p].Epoch
}

// expire lets the machine say that a key is over.
func (n *node) expire(x expiry) {
	p := n.parts[x.a.op.p]
	n.s.expiring = true
	p.step(&replica.Expire{ID: x.a.id, Key: x.key, Now: n.mono(), Clock: n.wall()})
	n.s.expiring = false
}

// answer is a machine's answer to a write, or to a read of what is over.
func (s *Sim) answer(n *node, e replica.Reply) {
	a := s.attempts[e.ID-1]
	op := a.op
	if a.node != n || a.life != n.life || a.answered {
		s.fail("node %d answers #%d, which it was not asked or has answered", n.id, op.id)
	}
	// One that waited for what it was judged by to commit needs no lease.
	leased := s.proposing == a && !s.prof.Confirm && s.failing(a, e.Reply)
	if _, past := n.parts[op.p].mem.sessions.Lookup(a.w.Op); past == subjects.PastDone && s.proposing == a {
		leased, a.stale = false, false // another attempt was told so, and that is recorded
	}
	if s.calm || !leased || s.prof.PauseEvery == 0 || !s.chance(0.05) {
		s.give(n, a, e, leased)
		return
	}
	// The process stands still between the decision and the answer.
	life, d := n.life, s.between(0, 1500)
	n.paused = max(n.paused, s.now+d)
	until := n.paused
	s.after(d, func() {
		if n.life == life {
			// If it was woken early, it did other things before it gave the answer.
			s.give(n, a, e, leased && n.paused == until)
		}
	})
}

// failing reports whether an answer is no, and was made now: that of a repeat may
// have been recorded long ago.
func (s *Sim) failing(a *attempt, r subjects.Reply) bool {
	return a.op.w.Verb != 0 && a.w.Attempt <= 1 && r.Status != subjects.StatusOK && r.Status < subjects.StatusTooLarge
}

// undecided reports whether an entry of a key has not committed: who is judged by
// it waits for that, and is told what was so then.
func (p *part) undecided(key []byte) bool {
	entries, _ := p.mem.Entries(p.mem.commit+1, 1<<20)
	for _, e := range entries {
		if e.Kind == subjects.EntryFlush || string(e.Key) == string(key) {
			return true
		}
	}
	return false
}

// outdated reports whether something has committed that this node does not have.
func (p *part) outdated() bool { return p.mem.misses(p.n.s.ledger[p.p].last()) != "" }

// give hands an answer out, if the lease that it rests on still holds. What says
// no is a read: it must have been right (R5), and be so until it leaves.
func (s *Sim) give(n *node, a *attempt, e replica.Reply, leased bool) {
	if e.Until != 0 && n.mono() >= e.Until {
		e.Reply = subjects.Reply{Status: subjects.StatusRetry, Epoch: e.Reply.Epoch}
	}
	switch p := n.parts[a.op.p]; {
	case e.Reply.Status == subjects.StatusOK && a.op.w.Verb != 0:
		s.checkAnswer(n, a, e.Reply)
	case s.failing(a, e.Reply) && (s.prof.Confirm && a.stale || leased && p.outdated()):
		s.fail("p%d: node %d answers #%d with %s, and has not all that had committed", p.p, n.id, a.op.id, e.Reply.Status)
	case a.op.w.Verb == 0 && a.stale && e.Reply.Status <= subjects.StatusNotFound:
		s.fail("p%d: node %d has its answer to #%d confirmed, which was overwritten when it was made", p.p, n.id, a.op.id)
	}
	s.reply(a, e.Reply)
}

// checkAnswer checks that a success has committed (R4). A first attempt may have
// changed nothing, which the history of its key tells.
func (s *Sim) checkAnswer(n *node, a *attempt, r subjects.Reply) {
	op, log := a.op, s.ledger[a.op.p].log
	for _, e := range op.entries {
		if v := e.Version; e.CAS() == r.Cas && v.Seq <= uint64(len(log)) && log[v.Seq-1] == e {
			return
		}
	}
	if a.w.Attempt > 1 || !op.reads() || r.Marks&subjects.MarkWon != 0 {
		s.fail("node %d answers #%d with success and token %s, and no such entry has committed", n.id, op.id, subjects.FromCAS(r.Cas))
	}
}

func (s *Sim) reply(a *attempt, r subjects.Reply) {
	if a.answered {
		return
	}
	a.answered = true
	g := a.op.g
	life := g.life
	s.trip(func() {
		if g.life == life {
			g.soon(0, func() { g.outcome(a, r) })
		}
	})
}

// slow fails where nothing should keep an operation from its end.
func (op *operation) slow(s *Sim) {
	const most = 2500 * ms // a ring that was lost is asked for within a second
	if d := s.now - op.began; d > most {
		s.fail("nothing is wrong but the managers, and #%d took %s", op.id, clock(d))
	}
}

func (op *operation) String() string {
	names := [...]string{"get", "set", "add", "replace", "append", "prepend", "delete", "incr", "decr", "touch", "flush", "fetch"}
	name := names[op.w.Verb]
	if op.expiry {
		name = "expire"
	}
	out := "open"
	if op.ret != 0 {
		out = fmt.Sprintf("%s %q %s exp %d size %d%s", op.reply.Status, op.reply.Value, subjects.FromCAS(op.reply.Cas), op.reply.Expiry, op.reply.Size, marks(op.reply.Marks))
	}
	made := ""
	for _, e := range op.entries {
		made += fmt.Sprintf(" made %s (kind %d %s exp %d clock %d%s)", e.Version, e.Kind, e.Answer, e.Expiry, e.Clock, marks(e.Bits))
	}
	return fmt.Sprintf("[%d..%d] #%d of gateway %s %s %s=%s options %b cas %s delta %d exptime %d/%d/%d%s -> %s", op.call, op.ret, op.id, op.w.Op.Boot, name, op.w.Key, op.w.Value, op.w.Options, subjects.FromCAS(op.w.Cas), op.w.Delta, op.w.Exptime, op.w.Vivify, op.w.Recache, made, out)
}
