package sim

import (
	"fmt"
	"strconv"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// operation is one attempt of a client, in the history.
type operation struct {
	id     uint64
	client int
	p      ring.Partition
	w      subjects.Write // Verb 0: get
	call   int64
	ret    int64 // 0: the outcome is open
	reply  subjects.Reply
	entry  *subjects.Entry // what it made, if anything
	done   bool            // the client waits no more
	void   bool            // the answer says nothing

	node     *node // that took it
	life     int
	answered bool
}

// client does one thing after the other.
type client struct {
	s      *Sim
	id     int
	table  *ring.Table // as it was when the client looked
	tokens [16]uint64  // by key, the last one seen
}

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
	target := c.table.Partitions[op.p].Primary.Store
	if target == 0 || s.chance(0.02) {
		target = s.one().id
	}
	n := s.nodes[target]
	s.trip(func() { n.take(request{op}) })
	s.after(1000*ms, func() { c.finish(op, true) })
}

// finish goes on to the next operation, after an error with a fresh look.
func (c *client) finish(op *operation, trouble bool) {
	if op.done {
		return
	}
	op.done = true
	pause := c.s.between(0, 20)
	if trouble {
		c.table = nil
		pause = c.s.between(5, 60)
	}
	c.s.after(pause, c.next)
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
	if op.w.Verb == 0 && !s.prof.PlainReads {
		op.w.Verb = subjects.VerbTouch
	}
	if v := op.w.Verb; (v == subjects.VerbSet || v == subjects.VerbDelete) && s.chance(0.4) {
		op.w.Cas = c.tokens[k]
	}
	return op
}

// serve takes a client's request at a node.
func (n *node) serve(r request) {
	p, op := n.parts[r.op.p], r.op
	op.node, op.life = n, n.life
	if op.w.Verb == 0 {
		reply := subjects.Reply{Status: subjects.StatusNotPrimary}
		if p.serving {
			reply.Status = subjects.StatusNotFound
			if rec, ok, _ := p.Get(op.w.Key); ok {
				reply = subjects.Reply{Status: subjects.StatusOK, Value: rec.Value, Cas: rec.Version.CAS()}
			}
		}
		n.s.reply(op, reply)
		return
	}
	n.s.proposing = op
	p.step(&replica.Propose{ID: op.id, Write: &op.w, Clock: n.s.now / ms})
	n.s.proposing = nil
}

// answer is a machine's answer to a write.
func (s *Sim) answer(n *node, e replica.Reply) {
	op := s.ops[e.ID-1]
	if op.node != n || op.life != n.life || op.answered {
		s.fail("node %d answers #%d, which it was not asked or has answered", n.id, e.ID)
	}
	if s.proposing == op && op.entry == nil && !s.prof.PlainReads {
		op.void = true // a read by a primary that may not be one any more
	}
	if e.Reply.Status == subjects.StatusOK && (op.entry == nil || e.Reply.Cas != op.entry.Version.CAS()) {
		s.fail("node %d answers #%d with success and token %s", n.id, e.ID, subjects.FromCAS(e.Reply.Cas))
	}
	s.reply(op, e.Reply)
}

func (s *Sim) reply(op *operation, r subjects.Reply) {
	op.answered = true
	s.trip(func() {
		if op.done {
			return
		}
		c := s.clients[op.client]
		if r.Status.Routed() {
			c.finish(op, true)
			return
		}
		op.ret, op.reply = s.tick(), r
		if op.entry != nil {
			s.rep.Acks++
		}
		if r.Cas != 0 {
			k, _ := strconv.Atoi(string(op.w.Key[1:]))
			c.tokens[k] = r.Cas
		}
		c.finish(op, false)
	})
}

func (op *operation) String() string {
	names := [...]string{"get", "set", "add", "replace", "append", "prepend", "delete", "incr", "decr", "touch"}
	out := "open"
	if op.ret != 0 {
		out = fmt.Sprintf("%s %q %s", op.reply.Status, op.reply.Value, subjects.FromCAS(op.reply.Cas))
	}
	made := ""
	if op.entry != nil {
		made = " made " + op.entry.Version.String()
	}
	return fmt.Sprintf("[%d..%d] #%d %s %s=%s cas %s delta %d%s -> %s", op.call, op.ret, op.id, names[op.w.Verb], op.w.Key, op.w.Value, subjects.FromCAS(op.w.Cas), op.w.Delta, made, out)
}
