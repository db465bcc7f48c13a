package kumoserver

import (
	"context"
	"errors"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// core is the loop that owns the replication machines of all partitions and
// carries out what they want. It works in turns: take what has come, step the
// machines, send what need not wait for the log, write the log once, then
// answer. Batches form by themselves: what arrives during a turn makes the next.
type core struct {
	s     *Server
	store *store.Store
	out   *bus.Outbox
	table *ring.Table
	// routes are kept by node; the table may give one a new name.
	routes map[ring.NodeID]*route
	// watched are the nodes whose processes are watched.
	watched map[ring.NodeID]bool

	parts map[ring.Partition]*part
	dirty []*part // touched in this turn

	held []held // durable sends of this turn
	free flight // of the last turn; its arrays are used again

	early      map[ring.Partition]*early // operations that came before their time
	earlyBytes int
	leases     leases
	waiters    waiters
	spare      []work
	now        int64
	clock      int64
	began      time.Time // the turn
	timed      bool      // a write's commit was, in this turn

	// Of the disk, in this turn.
	room      store.Room
	stuck     bool
	fullSince int64
}

// part is one partition here.
type part struct {
	id      ring.Partition
	epoch   ring.Epoch // that the ring had it at
	machine *replica.Replica
	dirty   bool
	logged  bool // its log grew in this turn
	bound   bool // it promised, or lost something of its log, in this turn: to be on disk before it tells
	waits   int  // flights with such a turn that are not on disk yet: what comes later goes behind them
}

func newCore(s *Server) *core {
	return &core{
		s: s, store: s.store, out: s.bus.NewOutbox(s.meshID),
		parts: map[ring.Partition]*part{}, routes: map[ring.NodeID]*route{}, early: map[ring.Partition]*early{},
	}
}

// run works until ctx ends or the store fails.
func (c *core) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-c.store.Failed():
			return err
		case <-c.s.inbox.wake:
		}
		items := c.s.inbox.take(c.spare)
		c.spare = items // the queue has the other array now
		if len(items) == 0 {
			continue
		}
		c.now, c.began, c.timed = boottime(), time.Now(), false
		c.clock = c.began.UnixMilli()
		c.admit()
		for i := range items {
			c.do(&items[i])
		}
		c.turn()
		clear(items)
		c.s.timed.turn.Observe(time.Since(c.began).Seconds())
	}
}

func (c *core) do(w *work) {
	switch {
	case w.writes != nil:
		for i := range w.writes {
			c.write(&w.writes[i])
		}
	case w.leases != nil:
		if c.stuck && w.leases.asked != nil {
			return
		}
		c.lease(w.leases)
	case w.peers != nil:
		for _, m := range w.peers {
			if !c.takes(m.msg) {
				continue
			}
			if p := c.part(m.partition); p != nil {
				c.step(p, replica.Receive{Msg: m.msg, Now: c.now})
			}
		}
	case w.expire != nil:
		e := w.expire
		if p := c.parts[e.partition]; p != nil && c.room != store.Dry {
			c.step(p, &replica.Expire{ID: c.waiters.add(waiter{caller: e.caller}), Key: e.key, Now: c.now, Clock: c.clock})
		}
	case w.confirm != nil:
		for i := range w.confirm {
			c.confirm(&w.confirm[i])
		}
	case w.early != nil:
		c.readEarly(w.early)
	case w.ranged != nil:
		if p := c.parts[w.ranged.partition]; p != nil {
			c.step(p, w.ranged.ev)
		}
	case w.table != nil:
		c.configure(w.table)
		c.discard()
	case w.flushed != nil:
		if w.err == nil {
			c.landed(w.flushed)
		}
	case w.damage != nil:
		c.damaged(w.damage)
	case w.died != nil:
		c.died(*w.died)
	case w.tick:
		var tick replica.Event = replica.Tick{Now: c.now, Held: c.store.Held() >= heldAfter} // allocated once
		for _, p := range c.parts {
			c.step(p, tick)
			c.setClock(p)
		}
		c.endEarly()
		c.s.earlyHeld.Store(int64(c.earlyBytes))
		c.s.waiting.Store(int64(len(c.waiters.slots) - len(c.waiters.free)))
	case w.call != nil:
		w.call(c)
	}
}

// setClock tells readers how far the partition's clock is ahead of the wall
// clock.
func (c *core) setClock(p *part) {
	ahead := &c.s.serving[p.id].ahead
	if now := max(0, p.machine.Clock()-c.clock); now != ahead.Load() {
		ahead.Store(now)
	}
}

func (c *core) write(w *write) {
	if c.tooEarly(w) {
		return
	}
	who := caller{w.to, w.id}
	p := c.parts[w.msg.Partition]
	if p == nil {
		c.reply(who, &subjects.Reply{Status: subjects.StatusNotPrimary})
		return
	}
	// Of a gateway that takes larger values than this server: an entry that no frame
	// carries would cost the partition its primary.
	most := max(c.s.o.MaxItem, subjects.DefaultMaxItem)
	if len(w.msg.Value) > most {
		c.reply(who, &subjects.Reply{Status: subjects.StatusTooLarge, Epoch: c.s.epoch(p.id)})
		return
	}
	w.msg.MaxItem = min(w.msg.MaxItem, uint32(most))
	if status := c.refuses(&w.msg); status != 0 {
		c.reply(who, &subjects.Reply{Status: status, Epoch: c.s.epoch(p.id)})
		return
	}
	c.step(p, &replica.Propose{ID: c.waiters.add(waiter{caller: who, fetched: fetched(&w.msg), began: c.now}), Write: &w.msg, Now: c.now, Clock: c.clock})
}

// confirm gives an answer to a read once the replicas have confirmed it.
func (c *core) confirm(i *confirmItem) {
	p := c.parts[i.partition]
	if p == nil {
		c.reply(i.caller, &subjects.Reply{Status: subjects.StatusNotPrimary})
		return
	}
	c.step(p, &replica.Confirm{ID: c.waiters.add(waiter{caller: i.caller}), Epoch: i.epoch, Reply: i.reply, Now: c.now})
}

// part returns the partition's machine, which a message or the ring may bring
// into being.
func (c *core) part(id ring.Partition) *part {
	if p := c.parts[id]; p != nil {
		return p
	}
	if c.table == nil || int(id) >= c.table.Size() {
		return nil
	}
	st := c.store.State(id)
	p := &part{id: id}
	p.machine = replica.New(id, c.s.process(), replica.State{
		Promised: st.Promised, Outline: st.Outline, Commit: st.Commit,
		Now: c.now, Granted: int64(c.store.Grant()), Incomplete: st.Incomplete, Cursor: st.Cursor, Unclean: st.Unclean,
	}, partLog{c.store, id}, c.s.o.Replica)
	c.parts[id] = p
	if c.store.Broken() != nil || c.store.Bad(id) > 0 {
		c.step(p, replica.Damaged{Now: c.now})
	}
	return p
}

// configure tells every machine that the table concerns what has become of its
// partition.
func (c *core) configure(t *ring.Table) {
	c.table = t
	self := c.s.store.ID()
	for i := range t.Partitions {
		cfg := &t.Partitions[i]
		id := ring.Partition(i)
		if p := c.parts[id]; p == nil && !cfg.Holds(self) {
			continue
		}
		p := c.part(id)
		if cfg.Epoch > p.epoch {
			if p.epoch != 0 {
				c.s.epochs.Add(1)
			}
			p.epoch = cfg.Epoch
		}
		fed, before := c.s.feed.on.Load(), uint64(0)
		if fed {
			before = p.machine.Status().Commit
		}
		c.step(p, replica.Configure{Config: *cfg, Now: c.now})
		if fed {
			c.feedLead(p, before, feedAgain)
		}
	}
	for id := range c.early {
		c.ringCame(id)
	}
	c.leave(t)
	c.watchPeers(t, self)
	c.s.countRoles(t)
}

// leave deletes copies that neither the configuration nor the plan wants here
// any more.
func (c *core) leave(t *ring.Table) {
	self := c.s.store.ID()
	for _, id := range c.store.Partitions() {
		if int(id) >= t.Size() {
			continue
		}
		cfg := &t.Partitions[id]
		if cfg.Epoch == 0 || cfg.Holds(self) || wanted(cfg.Target, self) || len(cfg.ISR) == 0 {
			continue
		}
		if st := c.store.State(id); len(st.Outline) == 0 && !st.Incomplete || st.Promised > cfg.Epoch {
			continue
		}
		if err := c.store.Drop(id); err != nil {
			c.s.log.Error("drop a copy that has moved away", "partition", id, "epoch", cfg.Epoch, "err", err)
			continue
		}
		c.s.serving[id].set(replica.Serve{})
		delete(c.parts, id)
	}
}

func wanted(list []ring.NodeID, id ring.NodeID) bool {
	for _, n := range list {
		if n == id {
			return true
		}
	}
	return false
}

// step gives one event to a machine and carries out what comes of it.
func (c *core) step(p *part, ev replica.Event) {
	if !p.dirty {
		p.dirty = true
		c.dirty = append(c.dirty, p)
	}
	for _, e := range p.machine.Step(ev) {
		c.perform(p, e)
	}
}

// turn ends the batch: one frame to each peer, one write of the log, and what
// waited for it.
func (c *core) turn() {
	for _, p := range c.dirty {
		for _, e := range p.machine.Step(replica.Turn{}) {
			c.perform(p, e)
		}
	}
	c.sendLeases()
	c.send()
	free, bound := c.flights()
	if len(bound.sends)+len(bound.tails) > 0 {
		c.store.Bind()
	}
	switch c.store.Flush(func(err error) { c.s.inbox.push(work{flushed: bound, err: err}, 0) }) {
	case store.Durable:
		c.landed(free)
		c.landed(bound)
		c.turnAfter()
	case store.Written:
		c.landed(free)
		c.turnAfter()
	case store.Failed:
		// Nothing of it may be told; the store ends this process.
	}
	c.send()
}

// turnAfter ends the small turn that a flush begins: commits were noted in the
// log's memory, and nothing of them need be durable.
func (c *core) turnAfter() {
	for _, p := range c.dirty {
		p.dirty = false
	}
	c.dirty = c.dirty[:0]
}

func (c *core) send() {
	if err := c.out.Flush(); err != nil && !errors.Is(err, bus.ErrDisconnected) && !errors.Is(err, bus.ErrClosed) {
		c.s.log.Warn("messages were not sent", "err", err)
	}
}

// partLog is the store as one machine reads it.
type partLog struct {
	store *store.Store
	p     ring.Partition
}

func (l partLog) Entries(from uint64, maxBytes int) ([]*subjects.Entry, bool) {
	es, ok := l.store.Entries(l.p, from, maxBytes)
	if !ok {
		return nil, false
	}
	out := make([]*subjects.Entry, len(es))
	for i := range es {
		out[i] = &es[i]
	}
	return out, true
}

func (l partLog) Session(op subjects.OpID) (subjects.Recorded, subjects.Past) {
	return l.store.Session(l.p, op)
}

func (l partLog) Sessions() []byte { return l.store.Sessions(l.p) }

func (l partLog) Clock() int64 { return l.store.Clock(l.p) }

func (l partLog) Get(key []byte) (subjects.Record, bool, error) { return l.store.Get(l.p, key) }
