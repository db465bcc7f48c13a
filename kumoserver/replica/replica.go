// Package replica is the replication protocol of one partition at one server:
// a state machine into which events go and out of which effects come. It reads
// no clock, opens nothing and sends nothing; time and messages are data.
//
// It is primary-backup replication whose configuration (epoch, primary, in-sync
// replicas, learners) is agreed on elsewhere: after PacificA (Lin et al.,
// MSR-TR-2008-25). A primary orders the writes of its partition in one log; an
// entry commits when every in-sync replica has it; only committed entries
// become visible. A new epoch begins with EpochStart: members promise it, cut
// what the new primary does not share, and take the rest from it.
package replica

import (
	"fmt"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// State is what a store knows of a partition when the process begins.
type State struct {
	Promised   ring.Epoch
	Outline    subjects.Outline // the last version of each epoch in the log
	Commit     uint64           // entries to here are known committed
	Incomplete bool             // ranges from Cursor on are missing
	Cursor     []byte
	// Now is when the process begins, and Granted for how long from then on what
	// one before it granted may bind; 0 is as long as this one grants.
	Now, Granted int64
	// Unclean copies may have lost entries that they acknowledged; they grant,
	// acknowledge and lead nothing until a later configuration has them as
	// learners.
	Unclean bool
}

// Log is what the machine reads of its store. All effects of earlier steps have
// been carried out when it is read.
type Log interface {
	// Entries returns entries from seq on, in order, at most about maxBytes of
	// them but at least one if there is one; ok is false when the log no longer
	// reaches back to seq.
	Entries(from uint64, maxBytes int) (_ []*subjects.Entry, ok bool)
	// Get returns the committed value of a key.
	Get(key []byte) (_ subjects.Record, found bool, err error)
	// Session returns what committed entries tell of an operation.
	Session(op subjects.OpID) (subjects.Recorded, subjects.Past)
	// Sessions returns the partition's sessions in their wire form.
	Sessions() []byte
	// Clock returns the largest clock of committed entries, also of those that
	// the log no longer has; Unix milliseconds.
	Clock() int64
}

// Options are the times and bounds of a machine. Times are in nanoseconds.
type Options struct {
	// Silence is how long a message to a replica may go unanswered before the
	// primary asks for a configuration without it. Stall is how long this process
	// may go without a tick: after more it was itself not running, and blames
	// nobody for that time; 0 never excuses.
	Silence, Stall int64
	// Resend is after how long an unanswered message is sent again.
	Resend int64
	// AskAgain is after how long an unanswered change request is repeated.
	AskAgain int64
	// Lease is how long a grant lets its primary read, from when it asked; Grant
	// is how long it binds its giver, from when it was asked. Grant must be
	// larger by twice the drift of clocks. LeaseEvery is how often leases are
	// asked for.
	Lease, Grant, LeaseEvery int64
	// Confirm has every answer that depends on a lease confirmed by a round to
	// the in-sync replicas instead, for machines whose clocks cannot be trusted.
	Confirm bool
	// Window is how many bytes of entries may be unacknowledged at one replica.
	Window int
	// Waiting is how many operations may wait for their commit; more are told
	// to come again.
	Waiting int
	// JoinLag is how many entries a learner may lack when its acknowledgement
	// becomes required.
	JoinLag uint64
	// Replay is how many entries an empty copy takes from the log. A longer one
	// is no way to fill it: ranges hold each key once, and are read in order.
	Replay uint64
	// Chunk is how many bytes of entries, about, are read from the log at a time
	// for a learner. It takes a read for each entry, and everybody waits meanwhile.
	Chunk int
}

// Defaults are the options of a server.
func Defaults() Options {
	const ms = 1e6
	return Options{Silence: 1000 * ms, Stall: 100 * ms, Resend: 200 * ms, AskAgain: 250 * ms,
		Lease: 1000 * ms, Grant: 1100 * ms, LeaseEvery: 150 * ms, Window: 8 << 20, Waiting: 1 << 14, JoinLag: 64, Replay: 256, Chunk: 32 << 10}
}

// WithLease returns the options with leases of another length, in nanoseconds,
// and everything that is noticed through them in proportion.
func (o Options) WithLease(length int64) Options {
	o.Lease, o.Grant, o.LeaseEvery = length, length+length/10, length*3/20
	o.Silence = length
	o.Resend, o.AskAgain = min(o.Resend, length/5), min(o.AskAgain, length/4)
	return o
}

// Replica is the machine of one partition. It is owned by one goroutine.
type Replica struct {
	o    Options
	p    ring.Partition
	self ring.Process
	log  Log

	// What is in the log. The machine alone decides about it, and so knows it
	// without asking the store.
	promised   ring.Epoch
	kept       ring.Epoch // the newest promise that is on disk
	outline    subjects.Outline
	tail       subjects.Version
	durable    uint64 // own entries to here are as durable as the mode says
	commit     uint64
	incomplete bool
	cursor     []byte
	unclean    bool
	damaged    bool  // a stored record cannot be read
	clock      int64 // of the partition at clockAt, from the log, Unix milliseconds
	clockAt    int64

	config ring.Config
	lead   *lead        // set while this process is primary of promised
	leader ring.Process // whom EpochStart of promised came from
	faulty bool         // the log does not fit to the leader's and takes nothing
	ack    bool         // a PrepareReply is due at the end of the turn

	grants    []grant
	handed    int64      // when another primary was last asked for
	handedTo  int        // how many were
	faulted   ring.Epoch // of the configuration for which a Fault was told
	saidHello int64
	now       int64
	ticked    int64 // the last tick
	out       []Effect
}

// New returns the machine of partition p at process self.
func New(p ring.Partition, self ring.Process, s State, log Log, o Options) *Replica {
	outline := append(subjects.Outline(nil), s.Outline...)
	if len(outline) == 0 && !s.Incomplete {
		outline = subjects.Outline{{}} // an empty log, which is whole
	}
	r := &Replica{
		o: o, p: p, self: self, log: log,
		promised: s.Promised, kept: s.Promised, outline: outline, tail: outline.Tail(), commit: s.Commit,
		incomplete: s.Incomplete, cursor: s.Cursor, unclean: s.Unclean,
	}
	r.durable = r.tail.Seq
	if s.Promised > 0 {
		r.grants = []grant{{until: s.Now + max(s.Granted, o.Grant)}}
	}
	r.now = s.Now
	if last, ok := log.Entries(r.tail.Seq, 1); ok && r.tail.Seq > 0 && len(last) > 0 {
		r.clock, r.clockAt = last[0].Clock, s.Now
	}
	return r
}

// Step takes one event and returns what to do, in order. The slice is valid
// until the next Step.
func (r *Replica) Step(ev Event) []Effect {
	clear(r.out)
	r.out = r.out[:0]
	switch ev := ev.(type) {
	case *Propose:
		r.now = ev.Now
		r.propose(ev)
	case *Expire:
		r.now = ev.Now
		r.expire(ev)
	case LeaseAsked:
		r.now = ev.Now
		r.leaseAsked(ev)
	case Granted:
		r.now = ev.Now
		r.granted(ev)
	case *Confirm:
		r.now = ev.Now
		r.confirm(ev)
	case Died:
		r.now = ev.Now
		r.died(ev.Process)
	case Damaged:
		r.now = ev.Now
		r.hurt()
	case Receive:
		r.now = ev.Now
		r.receive(ev.Msg)
	case Logged:
		r.logged(ev)
	case Turn:
		r.turn()
	case Configure:
		r.now = ev.Now
		r.configure(ev.Config)
	case RangeRead:
		r.rangeRead(ev)
	case Tick:
		r.now = ev.Now
		r.tick(ev.Held)
	default:
		panic(fmt.Sprintf("replica: unknown event %T", ev))
	}
	return r.out
}

func (r *Replica) receive(m any) {
	switch m := m.(type) {
	case *subjects.Prepare:
		r.prepare(m)
	case *subjects.PrepareReply:
		r.prepareReply(m)
	case *subjects.EpochStart:
		r.epochStart(m)
	case *subjects.EpochReply:
		r.epochReply(m)
	case *subjects.Range:
		r.takeRange(m)
	case *subjects.RangeReply:
		r.rangeReply(m)
	}
}

// configure takes the newest configuration from the ring.
func (r *Replica) configure(c ring.Config) {
	if c.Epoch <= r.config.Epoch {
		return
	}
	r.config = c
	if c.Primary == r.self {
		r.takeLead()
		return
	}
	r.stepDown()
}

// stepDown ends the lead. Operations that wait have an outcome that only the
// next primary knows; their gateways ask again.
func (r *Replica) stepDown() {
	if r.lead == nil {
		return
	}
	l := r.lead
	r.lead = nil
	r.emit(Serve{Epoch: l.epoch})
	for _, op := range l.ops {
		op.reply.Status, op.reply.Epoch, op.reply.Value = subjects.StatusNotPrimary, r.config.Epoch, nil
		r.emit(Reply{ID: op.id, Reply: op.reply})
	}
	for _, c := range l.confirms {
		r.answer(c.id, subjects.StatusNotPrimary)
	}
}

func (r *Replica) emit(e Effect) { r.out = append(r.out, e) }

func (r *Replica) send(to ring.NodeID, m Message, durable bool) {
	r.emit(Send{To: to, Msg: m, Durable: durable})
}

// header begins each message of this process.
func (r *Replica) header() subjects.Header {
	return subjects.Header{Partition: r.p, Epoch: r.promised, From: r.self, Commit: r.commit}
}

// append takes an entry into the log.
func (r *Replica) append(e *subjects.Entry) {
	r.tail = e.Version
	r.outline = r.outline.Add(e.Version)
	if e.Clock > r.Clock() {
		r.clock, r.clockAt = e.Clock, r.now
	}
	r.emit(Append{e})
}

// Clock is the partition's own clock in Unix milliseconds, which does not go
// back when a wall clock does or another process leads: the newest that the log
// holds, and the time since (R15). What it is compared with, the wall clock, may
// be ahead of it.
func (r *Replica) Clock() int64 {
	if r.clock == 0 {
		return 0
	}
	return r.clock + (r.now-r.clockAt)/1e6
}

// commitTo makes entries visible.
func (r *Replica) commitTo(seq uint64) {
	if seq > r.commit {
		r.commit = seq
		r.emit(Commit{seq})
	}
}

// tick looks at what did not happen in time.
func (r *Replica) tick(held bool) {
	if gap := r.now - r.ticked; r.lead != nil && r.ticked != 0 {
		switch {
		case r.o.Stall > 0 && gap > r.o.Stall:
			r.lead.excuse(r, gap)
		case held:
			r.lead.excuseHeld(r, gap)
		}
	}
	r.ticked = r.now
	switch {
	case r.lead != nil:
		r.lead.tick(r)
	case r.config.Primary == r.self && r.config.Epoch >= r.promised && r.now-r.handed >= r.o.AskAgain:
		r.handOver()
	}
	r.turn()
}

// hello tells a primary that it asks a process that it has not met: one that has
// no entries to send would not notice that a replica has restarted. It answers a
// question, and so comes from where the primary looks for the store only; a
// process on a copy of a store's folder has nothing to say.
func (r *Replica) hello(to ring.Process) {
	if r.now-r.saidHello >= r.o.Resend {
		r.saidHello = r.now
		r.refuse(to.Store)
	}
}

// turn ends a batch of events: what they made necessary is sent once.
func (r *Replica) turn() {
	if r.lead != nil {
		r.lead.replicate(r)
		return
	}
	if r.ack {
		r.ack = false
		r.send(r.leader.Store, &subjects.PrepareReply{Header: r.header(), Answer: subjects.AnswerOK, Tail: r.tail}, true)
	}
}

// Status is what a machine shows of itself.
type Status struct {
	Promised   ring.Epoch
	Config     ring.Config
	Tail       subjects.Version
	Commit     uint64
	Leading    bool
	Serving    bool
	Incomplete bool
	Unclean    bool
	Damaged    bool
	Waiting    int // operations that wait for their commit
}

// Status returns a view for status pages and checks.
func (r *Replica) Status() Status {
	s := Status{
		Promised: r.promised, Config: r.config, Tail: r.tail, Commit: r.commit,
		Incomplete: r.incomplete, Unclean: r.unclean, Damaged: r.damaged,
	}
	if r.lead != nil {
		s.Leading, s.Serving, s.Waiting = true, r.lead.serving, len(r.lead.ops)
	}
	return s
}
