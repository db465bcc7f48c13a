package kumoserver

import (
	"fmt"
	"time"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// perform carries out one effect. Effects on the store change its memory at
// once; the next flush makes them durable in the same order.
func (c *core) perform(p *part, e replica.Effect) {
	var err error
	switch e := e.(type) {
	case replica.Append:
		p.logged = true
		c.s.recent.logged(e.Entry, c.clock)
		err = c.store.Append(e.Entry)
	case replica.Commit:
		c.store.Commit(p.id, e.Seq)
		if c.s.feed.on.Load() {
			c.s.feed.committed(p.id, e.Seq)
		}
	case replica.Reply:
		if who, ok := c.waiters.take(e.ID); ok {
			if e.Until != 0 && boottime() >= e.Until {
				e.Reply = subjects.Reply{Status: subjects.StatusRetry, Epoch: e.Reply.Epoch}
			}
			if !c.timed && who.began != 0 && e.Reply.Status == subjects.StatusOK {
				c.timed = true // one of each turn is enough, and costs the others nothing
				c.s.timed.commit.Observe((time.Duration(c.now-who.began) + time.Since(c.began)).Seconds())
			}
			if who.fetched != 0 && e.Reply.Status == subjects.StatusOK {
				e.Reply.Idle, e.Reply.Hit = c.s.recent.read(who.fetched, c.clock, true)
			}
			c.reply(who.caller, &e.Reply)
		}
	case replica.Send:
		if m, ok := e.Msg.(*subjects.PrepareReply); ok && m.Answer == subjects.AnswerRefused {
			c.s.refused.Add(1)
		}
		h := held{e.To, p.id, e.Msg}
		if e.Durable {
			c.held = append(c.held, h)
		} else {
			c.post(h)
		}
	case replica.Promise:
		p.bound = true
		c.store.Promise(p.id, e.Epoch)
	case replica.Cut:
		p.bound = true
		err = c.store.Cut(p.id, e.Epoch, e.After)
	case replica.Reset:
		p.bound = true
		err = c.store.Reset(p.id, e.Epoch, e.Base)
	case replica.Clean:
		p.bound = true
		err = c.store.Clean(p.id)
	case replica.Adopt:
		p.bound = true
		c.s.log.Warn("what this copy holds is declared to be all that there is", "partition", p.id)
		err = c.store.Adopt(p.id)
	case replica.Install:
		err = c.store.Range(p.id, e.Range)
	case replica.ReadRange:
		c.s.mover.read(p.id, e)
	case replica.Ask:
		c.s.ask(e.Change)
	case replica.Serve:
		c.setClock(p)
		c.s.serving[p.id].set(e)
		c.serves(p.id, e)
	case replica.WantLease:
		c.leases.want(e.To, p.id, e.Epoch)
	case replica.Grant:
		c.leases.granted = append(c.leases.granted, subjects.PartitionEpoch{Partition: p.id, Epoch: e.Epoch})
	case replica.Fault:
		c.s.fault(p.id, p.machine.Status().Promised, e.Text)
	default:
		panic(fmt.Sprintf("kumoserver: unknown effect %T", e))
	}
	if err != nil {
		// The machine decided on what it knows of the store; if the store
		// disagrees, going on could lose what was acknowledged.
		c.s.fail(fmt.Errorf("partition %d: %T: %w", p.id, e, err))
	}
}

// route holds what frames to one node are addressed with, made once.
type route struct {
	name     string
	reply    string
	lease    string
	dest     [len(verbs)]string   // keys under which items to it are merged
	subjects [len(verbs)][]string // by partition, made when first used
}

// verbs are the subjects of a partition on which servers ask servers.
var verbs = [...]string{subjects.VerbPrepare, subjects.VerbEpoch, subjects.VerbStream}

// verbOf is the index in verbs of a message's subject, or -1 for an answer.
func verbOf(m replica.Message) int {
	switch m.(type) {
	case *subjects.Prepare:
		return 0
	case *subjects.EpochStart:
		return 1
	case *subjects.Range:
		return 2
	}
	return -1
}

// route returns how to reach a node, nil if the ring does not know it.
func (c *core) route(to ring.NodeID) *route {
	if c.table == nil {
		return nil
	}
	node, ok := c.table.Node(to)
	if !ok {
		return nil
	}
	if r := c.routes[to]; r != nil && r.name == node.Name {
		return r
	}
	r := &route{name: node.Name, reply: c.s.o.Cluster.ServerReply(node.Name), lease: c.s.o.Cluster.Lease(node.Name)}
	for i, verb := range verbs {
		r.dest[i] = node.Name + " " + verb
		r.subjects[i] = make([]string, c.table.Size())
	}
	c.routes[to] = r
	return r
}

// post puts a message into its receiver's frame.
func (c *core) post(h held) {
	r := c.route(h.to)
	if r == nil {
		return // it will be asked again, or the ring will say that it is gone
	}
	dest, subject := r.reply, r.reply
	if verb := verbOf(h.msg); verb >= 0 {
		dest, subject = r.dest[verb], r.subjects[verb][h.p]
		if subject == "" {
			subject = c.s.o.Cluster.Part(r.name, h.p, verbs[verb])
			r.subjects[verb][h.p] = subject
		}
	}
	c.out.End(h.msg.Append(c.out.Begin(dest, subject, "", 0)))
}

func (c *core) reply(who caller, r *subjects.Reply) {
	c.out.End(r.Append(c.out.Begin(who.reply, who.reply, "", who.id)))
}

// waiters numbers those who wait for an answer of a machine.
type waiters struct {
	slots []waiter
	free  []uint32
}

type waiter struct {
	caller
	fetched uint64 // see the function
	began   int64  // of a write, when it was proposed, on boottime's clock; 0: of something else
}

func (w *waiters) add(c waiter) uint64 {
	if n := len(w.free); n > 0 {
		i := w.free[n-1]
		w.free = w.free[:n-1]
		w.slots[i] = c
		return uint64(i)
	}
	w.slots = append(w.slots, c)
	return uint64(len(w.slots) - 1)
}

func (w *waiters) take(id uint64) (waiter, bool) {
	if id >= uint64(len(w.slots)) || w.slots[id].reply == "" {
		return waiter{}, false
	}
	c := w.slots[id]
	w.slots[id] = waiter{}
	w.free = append(w.free, uint32(id))
	return c, true
}
