package sim

import (
	"slices"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// node is a server: a store that survives, and a process that does not.
type node struct {
	s       *Sim
	id      ring.NodeID
	parts   []*part
	journal journal
	clocks  clocks // of its machine

	// Of the process; all new with each start.
	life     int // grows with each start and crash; what an old one scheduled is void
	up       bool
	boot     ring.BootID
	unclean  ring.PartitionSet // what heartbeats say of its copies
	stopping bool              // it was told to stop
	table    *ring.Table
	inbox    []any
	waking   bool
	paused   int64      // until when
	lastAt   int64      // when the last flush is written
	syncedAt int64      // and the last that had to be synced is
	outbox   []outgoing // wait for the next flush
	written  []bool     // partitions with entries that wait for it
	granted  []subjects.PartitionEpoch
}

// part is one partition at one node.
type part struct {
	n    *node
	p    ring.Partition
	m    *replica.Replica
	mem  *copyOf // what the process sees
	disk *copyOf // what is left when it dies
	safe *copyOf // what is left when its machine dies
	// hurt copies lost what they had acknowledged; until they begin anew they
	// count for nothing.
	hurt    bool
	serving bool
	reads   replica.Serve // what reads may be answered
	left    int64         // when a configuration that names this node was last in force
	bound   bool          // what it did in this turn must be synced before it tells
	waits   int           // flushes with such a turn that are not synced yet
}

// outgoing is a message of a partition that waits for the log.
type outgoing struct {
	p ring.Partition
	m replica.Send
}

// Inbox items beside replica's events.
type (
	packet  struct{ b []byte }
	update  struct{ t *ring.Table }
	flushed struct {
		out   []replica.Send
		tails []replicaTail
	}
	replicaTail struct {
		p ring.Partition
		v subjects.Version
		e ring.Epoch
	}
	request struct{ a *attempt }
	ranged  struct {
		p  ring.Partition
		ev replica.RangeRead
	}
	expiry struct { // a key that a reader found to be over
		a   *attempt
		key []byte
	}
	confirming struct { // an answer that the replicas must confirm
		a     *attempt
		epoch ring.Epoch
		reply subjects.Reply
	}
	died   struct{ ring.Process }
	ticked struct{}
)

// A part is the Log of its machine.
func (p *part) Entries(from uint64, maxBytes int) ([]*subjects.Entry, bool) {
	return p.mem.Entries(from, maxBytes)
}

func (p *part) Get(key []byte) (subjects.Record, bool, error) { return p.mem.Get(key) }

func (p *part) Session(op subjects.OpID) (subjects.Recorded, subjects.Past) {
	return p.mem.Session(op)
}

func (p *part) Sessions() []byte { return p.mem.Sessions() }

func (p *part) Clock() int64 { return p.mem.sessions.Clock() }

func newNode(s *Sim, id ring.NodeID) *node {
	n := &node{s: s, id: id, written: make([]bool, s.prof.Partitions)}
	n.clocks = s.newClocks(pick(s.rng, 0, s.between(-1000, 1000)/ms, s.between(-3_600_000, 3_600_000)/ms))
	for i := range s.prof.Partitions {
		n.parts = append(n.parts, &part{n: n, p: ring.Partition(i), mem: empty(), disk: empty(), safe: empty()})
	}
	return n
}

// start begins a process from what is on disk.
func (n *node) start() {
	s := n.s
	if n.up {
		return
	}
	s.boots++
	n.life++
	n.up, n.boot = true, s.boots
	n.table, n.inbox, n.waking, n.paused, n.lastAt, n.outbox = nil, nil, false, 0, s.now, nil
	n.syncedAt = s.now
	n.journal.flushes = n.journal.end()
	clear(n.written)
	s.note("node %d starts as %d", n.id, n.boot)
	for _, p := range n.parts {
		p.mem = p.disk.clone()
		p.serving, p.left, p.bound, p.waits = false, s.now, false, 0
		p.begin()
	}
	n.unclean = n.doubtful()
	n.every(20, 50, func() { n.take(ticked{}) })
	n.every(80, 120, n.heartbeat)
	n.every(600, 1000, n.poll)
	if s.prof.Sync == syncInterval {
		n.every(100, 100, n.sync)
	}
}

// doubtful are the partitions whose copies may lack what they acknowledged.
func (n *node) doubtful() ring.PartitionSet {
	var list []ring.Partition
	for _, p := range n.parts {
		if p.mem.unclean || p.mem.lost {
			list = append(list, p.p)
		}
	}
	return ring.SetOf(list...)
}

// poll asks a manager, or another node, for its ring.
func (n *node) poll() {
	s := n.s
	of := 0
	if s.chance(0.3) {
		of = int(s.one().id)
	}
	s.send(int(n.id), of, func() {
		t := s.mgr.table
		if of > 0 {
			t = s.nodes[of].table
		}
		if t != nil && (of == 0 || s.nodes[of].up) {
			s.send(of, int(n.id), func() { n.take(update{t}) })
		}
	})
}

func (p *part) begin() {
	st := p.mem.state()
	st.Now = p.n.mono()
	if p.n.s.trace.limit > 0 {
		p.n.s.note("node %d/%d p%d begins with %+v", p.n.id, p.n.boot, p.p, st)
	}
	p.m = replica.New(p.p, p.n.process(), st, p, p.n.s.options())
}

func (n *node) process() ring.Process { return ring.Process{Store: n.id, Boot: n.boot} }

// every does something again and again in this life of the process.
func (n *node) every(a, b int64, do func()) {
	life := n.life
	var again func()
	again = func() {
		if n.life == life {
			do()
			n.s.after(n.s.between(a, b), again)
		}
	}
	n.s.after(n.s.between(0, b), again)
}

// take puts something before the process; it looks soon.
func (n *node) take(x any) {
	if !n.up {
		return
	}
	n.inbox = append(n.inbox, x)
	n.wake(n.s.rng.Int64N(ms / 2))
}

func (n *node) wake(d int64) {
	if n.waking {
		return
	}
	n.waking = true
	life := n.life
	n.s.after(d, func() {
		if n.life != life {
			return
		}
		n.waking = false
		if n.paused > n.s.now {
			n.wake(n.paused - n.s.now)
			return
		}
		n.work()
	})
}

// work is one turn of the process: everything that has come, then one flush. It
// goes on later if the process comes to a halt in the midst of it.
func (n *node) work() {
	inbox := n.inbox
	n.inbox = nil
	for i, x := range inbox {
		n.one(x)
		if n.paused > n.s.now {
			n.inbox = append(inbox[i+1:], n.inbox...)
			n.wake(n.paused - n.s.now)
			return
		}
	}
	for _, p := range n.parts {
		p.step(replica.Turn{})
	}
	n.flush()
}

func (n *node) one(x any) {
	switch x := x.(type) {
	case packet:
		n.receive(x.b)
	case update:
		n.configure(x.t)
	case flushed:
		for _, t := range x.tails {
			n.parts[t.p].step(replica.Logged{Tail: t.v, Promised: t.e})
		}
		for _, m := range x.out {
			n.transmit(m)
		}
	case request:
		n.serve(x)
	case expiry:
		n.expire(x)
	case ranged:
		n.parts[x.p].step(x.ev)
	case confirming:
		n.parts[x.a.op.p].step(&replica.Confirm{ID: x.a.id, Epoch: x.epoch, Reply: x.reply, Now: n.mono()})
	case died:
		for _, p := range n.parts {
			p.step(replica.Died{Process: x.Process, Now: n.mono()})
		}
	case ticked:
		for _, p := range n.parts {
			p.step(replica.Tick{Now: n.mono()})
		}
		n.tidy()
	}
}

func (n *node) receive(b []byte) {
	var m interface{ Decode([]byte) error }
	switch subjects.KindOf(b) {
	case subjects.KindPrepare:
		m = new(subjects.Prepare)
	case subjects.KindPrepareReply:
		m = new(subjects.PrepareReply)
	case subjects.KindEpochStart:
		m = new(subjects.EpochStart)
	case subjects.KindEpochReply:
		m = new(subjects.EpochReply)
	case subjects.KindRange:
		m = new(subjects.Range)
	case subjects.KindRangeReply:
		m = new(subjects.RangeReply)
	case subjects.KindLease:
		n.lease(b)
		return
	case subjects.KindLeaseReply:
		n.leased(b)
		return
	default:
		n.s.fail("a message of unknown kind")
	}
	if err := m.Decode(b); err != nil {
		n.s.fail("decode: %v", err)
	}
	n.parts[subjects.PartitionOf(b)].step(replica.Receive{Msg: m, Now: n.mono()})
}

// lease asks the machines for what another process wants to be granted.
func (n *node) lease(b []byte) {
	var m subjects.Lease
	if err := m.Decode(b); err != nil {
		n.s.fail("decode: %v", err)
	}
	n.granted = nil
	for _, e := range m.Epochs {
		n.parts[e.Partition].step(replica.LeaseAsked{From: m.From, Epoch: e.Epoch, Now: n.mono()})
	}
	if len(n.granted) > 0 {
		n.transmit(replica.Send{To: m.From.Store, Msg: &subjects.LeaseReply{From: n.process(), Sent: m.Sent, Epochs: n.granted, Length: n.s.options().Lease}})
	}
}

func (n *node) leased(b []byte) {
	var m subjects.LeaseReply
	if err := m.Decode(b); err != nil {
		n.s.fail("decode: %v", err)
	}
	for _, e := range m.Epochs {
		n.parts[e.Partition].step(replica.Granted{From: m.From, Epoch: e.Epoch, Sent: m.Sent, Length: m.Length, Now: n.mono()})
	}
}

func (n *node) configure(t *ring.Table) {
	if n.table != nil && n.table.Revision >= t.Revision {
		return
	}
	old := n.table
	n.table = t
	for i, p := range n.parts {
		c := t.Partitions[i]
		if old == nil || c.Epoch > old.Partitions[i].Epoch {
			p.step(replica.Configure{Config: c, Now: n.mono()})
		}
	}
}

// tidy forgets copies that are held no more. What counts is the configuration
// that the machine knows: EpochStart may have told it of one that this node's
// ring has not heard of, in which it is back.
func (n *node) tidy() {
	for _, p := range n.parts {
		st := p.m.Status()
		if st.Config.Epoch == 0 || st.Config.Epoch < st.Promised || st.Config.Holds(n.id) {
			p.left = n.s.now
			continue
		}
		if n.s.now-p.left > 300*ms && n.s.chance(n.s.prof.Drop/10) && p.mem.tail() != (subjects.Version{}) {
			n.s.note("node %d/%d p%d drops its copy", n.id, n.boot, p.p)
			p.store(drop{})
			p.begin()
			p.step(replica.Configure{Config: n.table.Partitions[p.p], Now: n.mono()})
		}
	}
}

// step gives the machine an event and does what it says.
func (p *part) step(ev replica.Event) {
	s := p.n.s
	s.rep.Steps++
	effects := p.m.Step(ev)
	if s.trace.limit > 0 && (len(effects) > 0 || noteworthy(ev)) {
		s.note("node %d/%d p%d <- %s", p.n.id, p.n.boot, p.p, Show(ev))
	}
	for _, e := range effects {
		if s.trace.limit > 0 {
			s.note("    %s", Show(e))
		}
		p.effect(e)
	}
	p.check()
}

func noteworthy(ev replica.Event) bool {
	switch ev.(type) {
	case replica.Tick, replica.Turn, replica.Logged:
		return false
	}
	return true
}

func (p *part) effect(e replica.Effect) {
	n, s := p.n, p.n.s
	switch e := e.(type) {
	case replica.Send:
		if !e.Durable {
			n.assure(&e)
			n.transmit(e)
			return
		}
		if s.chance(0.5) {
			e.Msg = encoded(e.Msg.Append(nil))
		}
		n.outbox = append(n.outbox, outgoing{p.p, e})
	case replica.Reply:
		s.answer(n, e)
	case replica.Ask:
		n.ask(e.Change)
	case replica.Serve:
		p.serve(e)
	case replica.WantLease:
		n.transmit(replica.Send{To: e.To, Msg: &subjects.Lease{From: n.process(), Sent: n.mono(), Epochs: []subjects.PartitionEpoch{{Partition: p.p, Epoch: e.Epoch}}}})
	case replica.Grant:
		n.granted = append(n.granted, subjects.PartitionEpoch{Partition: p.p, Epoch: e.Epoch})
	case replica.ReadRange:
		life := n.life
		s.after(s.between(0, 5), func() {
			if n.life == life {
				recs, next, last := p.mem.scan(e.From, s.prof.RangeKeys)
				n.take(ranged{p.p, replica.RangeRead{To: e.To, Epoch: e.Epoch, From: e.From, Next: next, Last: last, Through: e.Through, Records: recs}})
			}
		})
	case replica.Fault:
		s.fault(p, e.Text)
	default:
		p.store(e)
	}
}

// store carries out an effect on the store: at once in memory, later on disk.
func (p *part) store(e replica.Effect) {
	n, s := p.n, p.n.s
	switch e := e.(type) {
	case replica.Append:
		s.ledger[p.p].appended(p, e.Entry)
		n.written[p.p] = true
	case replica.Cut:
		s.rep.Cuts++
	case replica.Reset:
		s.rep.Resets++
	}
	if _, dropped := e.(drop); fsynced(e) && !dropped {
		p.bound = true
	}
	before := p.mem.commit
	if err := p.mem.do(e); err != nil {
		s.fail("node %d/%d p%d: %v", n.id, n.boot, p.p, err)
	}
	n.journal.writes = append(n.journal.writes, write{p: p.p, e: e})
	switch e := e.(type) {
	case replica.Commit:
		s.ledger[p.p].committed(p, before, e.Seq)
	case replica.Cut, replica.Reset, drop:
		s.checkPartition(p.p, "%T at node %d", e, n.id)
	}
}

// ask sends a primary's wish to the managers. Where it names no process, the
// newest that this node's ring knows is meant.
func (n *node) ask(c ring.Change) {
	if c.Primary.Boot == 0 {
		if n.table == nil {
			return
		}
		to, ok := n.table.Node(c.Primary.Store)
		if !ok {
			return
		}
		c.Primary = to.Process()
	}
	from := n.process()
	n.s.send(int(n.id), 0, func() { n.s.mgr.asked(from, c) })
}

// encoded is a message in its wire form.
type encoded []byte

func (e encoded) Append(b []byte) []byte { return append(b, e...) }

func (n *node) transmit(m replica.Send) {
	b := m.Msg.Append(nil)
	to := n.s.nodes[m.To]
	n.s.send(int(n.id), int(m.To), func() { to.take(packet{slices.Clone(b)}) })
}
