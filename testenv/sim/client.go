package sim

import (
	"fmt"
	"strconv"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// operation is what a client wants, through all of its attempts, in the history.
type operation struct {
	id       uint64
	client   int
	p        ring.Partition
	w        subjects.Write // Verb 0: get
	call     int64
	ret      int64 // 0: the outcome is open
	reply    subjects.Reply
	attempts []*attempt
	entries  []*subjects.Entry // what the attempts made, if anything
	effect   *subjects.Entry   // that which committed, known at the end
	done     bool              // the client waits no more
}

// attempt is one request to one process.
type attempt struct {
	id       uint64
	op       *operation
	w        subjects.Write
	node     *node // that took it
	life     int
	answered bool
}

// made returns the entry of the operation that has this token.
func (op *operation) made(cas uint64) *subjects.Entry {
	for _, e := range op.entries {
		if e.Version.CAS() == cas {
			return e
		}
	}
	return nil
}

// client does one thing after the other.
type client struct {
	s      *Sim
	id     int
	table  *ring.Table // as it was when the client looked
	tokens [16]uint64  // by key, the last one seen
	opened map[ring.Partition]uint64
}

// attemptsMost is how often a client repeats an operation before it gives up.
const attemptsMost = 12

func (c *client) next() {
	s := c.s
	if s.calm {
		return
	}
	if c.table == nil || s.chance(0.1) {
		c.table = s.mgr.table
	}
	op := c.choose()
	s.ops = append(s.ops, op)
	c.try(op)
}

// try makes the next attempt of an operation under its own identity, as a
// gateway does.
func (c *client) try(op *operation) {
	s := c.s
	if op.done {
		return
	}
	if len(op.attempts) == attemptsMost || s.calm {
		op.done = true
		c.s.after(c.s.between(5, 60), c.next)
		return
	}
	if c.table == nil {
		c.table = s.mgr.table
	}
	a := &attempt{id: uint64(len(s.attempts) + 1), op: op, w: op.w}
	a.w.Attempt = uint32(len(op.attempts) + 1)
	s.attempts = append(s.attempts, a)
	op.attempts = append(op.attempts, a)
	target := c.table.Partitions[op.p].Primary.Store
	if target == 0 || s.chance(0.02) {
		target = s.one().id
	}
	n := s.nodes[target]
	arrive := func() { n.take(request{a}) }
	if s.chance(0.02) { // late, so that a repeat overtakes it
		s.after(s.between(0, 3000), arrive)
	} else {
		s.trip(arrive)
	}
	s.after(1000*ms, func() { c.again(a) })
}

// again repeats an operation whose newest attempt came to nothing.
func (c *client) again(a *attempt) {
	op := a.op
	if op.done || op.attempts[len(op.attempts)-1] != a {
		return
	}
	c.table = nil
	c.s.after(c.s.between(1, 30), func() { c.try(op) })
}

// finish goes on to the next operation.
func (c *client) finish(op *operation) {
	op.done = true
	c.s.after(c.s.between(0, 20), c.next)
}

// trip carries something between a client and a node.
func (s *Sim) trip(arrive func()) {
	if s.calm || !s.chance(0.002) {
		s.after(s.rng.Int64N(2*ms), arrive)
	}
}

// choose draws an operation. Odd keys hold counters.
func (c *client) choose() *operation {
	s := c.s
	k := s.rng.IntN(s.prof.Keys)
	key := []byte("k" + strconv.Itoa(k))
	op := &operation{id: uint64(len(s.ops) + 1), client: c.id, call: s.tick(), p: ring.Of(key, s.prof.Partitions)}
	op.w = subjects.Write{Partition: op.p, Key: key, Value: []byte("v" + strconv.FormatUint(op.id, 10))}
	verbs := []subjects.Verb{
		subjects.VerbSet, subjects.VerbSet, subjects.VerbAdd, subjects.VerbReplace, subjects.VerbAppend,
		subjects.VerbPrepend, subjects.VerbDelete, subjects.VerbTouch, subjects.VerbTouch, 0, 0,
	}
	if k%2 == 1 {
		op.w.Value = []byte(strconv.FormatUint(op.id, 10))
		op.w.Delta = 1 + s.rng.Uint64N(3)
		verbs = []subjects.Verb{
			subjects.VerbSet, subjects.VerbIncr, subjects.VerbIncr, subjects.VerbIncr, subjects.VerbDecr,
			subjects.VerbDelete, subjects.VerbAdd, subjects.VerbTouch, subjects.VerbTouch, 0, 0,
		}
	}
	op.w.Verb = verbs[s.rng.IntN(len(verbs))]
	if op.w.Verb != 0 {
		if c.opened == nil {
			c.opened = map[ring.Partition]uint64{}
		}
		c.opened[op.p]++
		n := c.opened[op.p]
		op.w.Op = subjects.OpID{Boot: ring.BootID(1000 + c.id), N: n, Lowest: n}
	}
	if v := op.w.Verb; (v == subjects.VerbSet || v == subjects.VerbDelete) && s.chance(0.4) {
		op.w.Cas = c.tokens[k]
	}
	return op
}

// serve takes a client's request at a node.
func (n *node) serve(r request) {
	a := r.a
	p := n.parts[a.op.p]
	a.node, a.life = n, n.life
	if a.w.Verb == 0 {
		reply := subjects.Reply{Status: subjects.StatusNotPrimary}
		if p.readable(a.w.Key) {
			reply.Status = subjects.StatusNotFound
			if rec, ok, _ := p.Get(a.w.Key); ok {
				reply = subjects.Reply{Status: subjects.StatusOK, Value: rec.Value, Cas: rec.Version.CAS()}
			}
		}
		n.s.reply(a, reply)
		return
	}
	n.s.proposing = a
	p.step(&replica.Propose{ID: a.id, Write: &a.w, Now: n.s.now, Clock: n.s.now / ms})
	n.s.proposing = nil
}

// answer is a machine's answer to a write.
func (s *Sim) answer(n *node, e replica.Reply) {
	a := s.attempts[e.ID-1]
	op := a.op
	if a.node != n || a.life != n.life || a.answered {
		s.fail("node %d answers #%d, which it was not asked or has answered", n.id, op.id)
	}
	if e.Reply.Status == subjects.StatusOK && op.made(e.Reply.Cas) == nil {
		s.fail("node %d answers #%d with success and token %s", n.id, op.id, subjects.FromCAS(e.Reply.Cas))
	}
	s.reply(a, e.Reply)
}

func (s *Sim) reply(a *attempt, r subjects.Reply) {
	a.answered = true
	s.trip(func() {
		op := a.op
		if op.done || len(op.attempts) == 0 || op.attempts[len(op.attempts)-1] != a {
			return // nobody hears answers to attempts before the newest
		}
		c := s.clients[op.client]
		if r.Status.Routed() {
			c.again(a)
			return
		}
		op.ret, op.reply = s.tick(), r
		if len(op.entries) > 0 {
			s.rep.Acks++
		}
		if r.Cas != 0 {
			k, _ := strconv.Atoi(string(op.w.Key[1:]))
			c.tokens[k] = r.Cas
		}
		c.finish(op)
	})
}

func (op *operation) String() string {
	names := [...]string{"get", "set", "add", "replace", "append", "prepend", "delete", "incr", "decr", "touch"}
	out := "open"
	if op.ret != 0 {
		out = fmt.Sprintf("%s %q %s", op.reply.Status, op.reply.Value, subjects.FromCAS(op.reply.Cas))
	}
	made := ""
	for _, e := range op.entries {
		made += " made " + e.Version.String()
	}
	return fmt.Sprintf("[%d..%d] #%d %s %s=%s cas %s delta %d%s -> %s", op.call, op.ret, op.id, names[op.w.Verb], op.w.Key, op.w.Value, subjects.FromCAS(op.w.Cas), op.w.Delta, made, out)
}
