package bus

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// Flow is what went in one direction since the start.
type Flow struct {
	Frames, Items, Bytes   uint64 // of the data plane, within the process too
	Messages, MessageBytes uint64 // that NATS carried over this process's connections
}

// Traffic is what a bus carries and what waits in it.
type Traffic struct {
	Stats
	Sent, Received Flow
	SlowConsumers  uint64 // connections that the embedded server closed for that
	Reconnects     uint64
	Connected      bool
	Routes         int // members that this one has a route to
	Clients        int // of the embedded server
	Lanes          int
	Pending        int // calls that wait for an answer
	Queued         int // bytes that wait in lanes
	QueuedMost     int // in the fullest of them
	LaneBound      int // bytes that may wait in one
}

// flow counts frames, one of which is for many operations.
type flow struct{ frames, items, bytes atomic.Uint64 }

func (f *flow) add(items uint32, bytes int) {
	f.frames.Add(1)
	f.items.Add(uint64(items))
	f.bytes.Add(uint64(bytes))
}

func (f *flow) now() Flow {
	return Flow{Frames: f.frames.Load(), Items: f.items.Load(), Bytes: f.bytes.Load()}
}

// Traffic looks at everything. It takes the locks of lanes and of the embedded
// server, so ask now and then and not per message.
func (b *Bus) Traffic() Traffic {
	t := Traffic{Stats: b.Stats(), Sent: b.sent.now(), Received: b.received.now(), Connected: b.Connected()}
	if b.srv != nil {
		t.SlowConsumers, t.Clients, t.Routes = uint64(b.srv.NumSlowConsumers()), b.srv.NumClients(), len(peerNames(b.srv))
	}
	t.carry(b.nc)
	for _, c := range b.everyCaller() {
		c.look(&t)
	}
	b.carried.sum(&t)
	return t
}

// carried is what connections have carried that are no more, and what was told
// last: a sum that is taken while one ends must not be less, or its rate would
// be told as if all had come at once.
type carried struct {
	mu   sync.Mutex
	gone Traffic
	told Traffic
}

// leave adds a connection that has ended.
func (c *carried) leave(nc *nats.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone.carry(nc)
}

func (c *carried) sum(t *Traffic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	grow := func(now, gone, told *uint64) {
		*now = max(*now+*gone, *told)
		*told = *now
	}
	grow(&t.Sent.Messages, &c.gone.Sent.Messages, &c.told.Sent.Messages)
	grow(&t.Sent.MessageBytes, &c.gone.Sent.MessageBytes, &c.told.Sent.MessageBytes)
	grow(&t.Received.Messages, &c.gone.Received.Messages, &c.told.Received.Messages)
	grow(&t.Received.MessageBytes, &c.gone.Received.MessageBytes, &c.told.Received.MessageBytes)
	grow(&t.Reconnects, &c.gone.Reconnects, &c.told.Reconnects)
}

// carry adds what a connection has carried.
func (t *Traffic) carry(nc *nats.Conn) {
	if nc == nil {
		return
	}
	s := nc.Stats()
	t.Sent.Messages += s.OutMsgs
	t.Sent.MessageBytes += s.OutBytes
	t.Received.Messages += s.InMsgs
	t.Received.MessageBytes += s.InBytes
	t.Reconnects += s.Reconnects
}

// look adds a caller's lanes and direct connections.
func (c *Caller) look(t *Traffic) {
	t.LaneBound = max(t.LaneBound, c.o.MaxQueued)
	for _, l := range *c.lanes.Load() {
		if l == nil {
			continue
		}
		l.mu.Lock()
		t.Lanes++
		t.Pending += l.pending
		t.Queued += l.queued
		t.QueuedMost = max(t.QueuedMost, l.queued)
		l.mu.Unlock()
	}
	c.mu.RLock()
	links := make([]*link, 0, len(c.links))
	for _, l := range c.links {
		links = append(links, l)
	}
	c.mu.RUnlock()
	for _, l := range links {
		l.mu.Lock()
		nc := l.nc
		l.mu.Unlock()
		t.carry(nc)
	}
}

// everyCaller lists the callers, whose locks are not to be taken under the bus's.
func (b *Bus) everyCaller() []*Caller {
	b.mu.Lock()
	defer b.mu.Unlock()
	callers := make([]*Caller, 0, len(b.callers))
	for c := range b.callers {
		callers = append(callers, c)
	}
	return callers
}
