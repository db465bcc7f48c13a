package kumogateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumogateway/memcache"
	"github.com/etolabo/kumofs/kumogateway/repeat"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/subjects/watch"
)

// router sends operations to the primaries of their partitions. What cannot be
// sent, or was answered by a node that is not the primary, waits in one list
// for a newer ring or a short time, whichever comes first.
type router struct {
	o       *Options
	lim     *limits
	log     *slog.Logger
	boot    ring.BootID
	bus     *bus.Bus
	caller  *bus.Caller
	watcher *watch.Watcher

	meshID  atomic.Uint64
	routes  atomic.Pointer[routes]
	numbers []numbers // by partition; set before the first routes

	underWay func(func(*op))
	swept    *routes   // those with which redirect has looked; run's
	sweepAt  time.Time // when it looks again, if not zero; run's

	wake chan struct{}
	stop chan struct{}
	done chan struct{}

	mu      sync.Mutex
	closing bool
	waiting []*op
}

// routes is the ring as the router uses it; never changed once stored.
type routes struct {
	table *ring.Table
	parts []route
}

// route is the way to a partition's primary. Without one, read is nil and node
// is the last that was.
type route struct {
	node        ring.Node
	epoch       ring.Epoch
	since       ring.Epoch // the epoch with which this process was found to be the primary
	at          time.Time  // and when
	alone       bool       // the process that was the primary before is gone
	read, write *bus.Lane
	readSubject string
	writeSubj   string
}

const (
	// waitTick is how often the list of waiting operations is looked through.
	waitTick = 10 * time.Millisecond

	writeGrace = time.Duration(repeat.WriteGrace)
)

// openRouter starts to follow the ring. o stays the caller's and must not
// change. underWay calls a function with operations that may be in the hands
// of a lane, each while it cannot be used for anything else.
func openRouter(o *Options, lim *limits, b *bus.Bus, boot ring.BootID, underWay func(func(*op))) (_ *router, err error) {
	r := &router{
		o: o, lim: lim, log: o.Log, boot: boot, bus: b, underWay: underWay,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	r.caller, err = b.NewCaller(bus.CallerOptions{
		ReplyPrefix: o.Cluster.GatewayReply(boot),
		ClusterID:   r.meshID.Load,
	})
	if err != nil {
		return nil, fmt.Errorf("open router: %w", err)
	}
	r.watcher, err = watch.Start(watch.Options{
		Conn: watchConn{b}, Cluster: o.Cluster, OnTable: r.onTable, At: o.Managers, Log: o.Log,
	})
	if err != nil {
		r.caller.Close()
		return nil, fmt.Errorf("follow the partition table: %w", err)
	}
	go r.run()
	return r, nil
}

// watchConn is the bus as the watcher sees it.
type watchConn struct{ b *bus.Bus }

func (c watchConn) Subscribe(subject string, h func(data []byte)) (stop func(), err error) {
	s, err := c.b.Subscribe(subject, func(m *bus.Msg) { h(m.Data) })
	if err != nil {
		return nil, err
	}
	return func() { s.Close() }, nil
}

func (c watchConn) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	m, err := c.b.Request(ctx, subject, data)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

// onTable makes the routes of a newer table. It is called by one goroutine.
func (r *router) onTable(t *ring.Table) {
	if t.Size() == 0 {
		return
	}
	old := r.routes.Load()
	if old == nil {
		r.numbers = make([]numbers, t.Size())
	} else if old.table.Size() != t.Size() {
		r.log.Error("table of another size refused", "size", t.Size(), "was", old.table.Size())
		return
	}
	n := &routes{table: t, parts: make([]route, t.Size())}
	now := time.Now()
	for p := range n.parts {
		c := &t.Partitions[p]
		node, ok := t.Primary(ring.Partition(p))
		rt := &n.parts[p]
		var was route
		if old != nil {
			was = old.parts[p]
		}
		if c.Epoch == 0 || !ok || !t.Alive(c.Primary) {
			rt.node = was.node
			continue
		}
		if was.read != nil && was.node == node {
			*rt = was
			rt.epoch = c.Epoch // the process is the same: since stays
			continue
		}
		*rt = route{
			node: node, epoch: c.Epoch, since: c.Epoch, at: now, alone: was.node.ID != 0 && !t.Alive(was.node.Process()),
			read:        r.caller.Lane(node.Name+"/"+subjects.VerbRead, node.Addr),
			write:       r.caller.Lane(node.Name+"/"+subjects.VerbWrite, node.Addr),
			readSubject: r.o.Cluster.Part(node.Name, ring.Partition(p), subjects.VerbRead),
			writeSubj:   r.o.Cluster.Part(node.Name, ring.Partition(p), subjects.VerbWrite),
		}
	}
	r.meshID.Store(uint64(t.ClusterID))
	r.routes.Store(n)
	r.learn(old, t)
	r.nudge()
}

// learn keeps the addresses of the servers, so that the bus finds its way when
// the managers that it was given are gone, and forgets servers that left.
func (r *router) learn(old *routes, t *ring.Table) {
	var urls []string
	for _, n := range t.Nodes {
		if n.Addr != "" && n.Up {
			urls = append(urls, n.Addr)
		}
	}
	if len(urls) > 0 {
		r.bus.AddURLs(urls)
	}
	if old == nil {
		return
	}
	for _, n := range old.table.Nodes {
		if _, ok := t.NodeNamed(n.Name); !ok {
			r.caller.Forget(n.Name + "/" + subjects.VerbRead)
			r.caller.Forget(n.Name + "/" + subjects.VerbWrite)
		}
	}
}

// send makes the next attempt of an operation. req and key are those of the
// first attempt, and not looked at once send has returned; afterwards nil. The
// operation is no longer the caller's.
func (r *router) send(o *op, req *memcache.Request, key []byte) {
	rs := r.routes.Load()
	if rs == nil {
		r.unsent(o, req, key)
		return
	}
	if o.n == 0 && o.verb != subjects.VerbFlush {
		o.part = ring.Partition(o.hash & uint64(len(rs.parts)-1))
	}
	rt := &rs.parts[o.part]
	if rt.read == nil {
		r.unsent(o, req, key)
		return
	}
	lane, subject := rt.read, rt.readSubject
	var lowest uint64
	if o.write() {
		lane, subject = rt.write, rt.writeSubj
		if o.n == 0 {
			o.n, lowest = r.numbers[o.part].take()
		} else {
			lowest = r.numbers[o.part].low()
		}
	}
	patience := o.course.Begin(o.write(), rt.epoch)
	now := o.began()
	if req != nil {
		o.encode(req, key, lowest)
	} else {
		o.again(lowest)
		now = time.Now()
	}
	due := now.Add(time.Duration(patience))
	if due.After(o.deadline) {
		due = o.deadline
	}
	// Once try has the operation, somebody else may take it.
	o.to = rt
	try, body := o.try, o.body
	try.where.Store(place(o.part, o.course.Epoch))
	try.op.Store(o)
	lane.Call(subject, due, body, try)
}

// close ends every operation and waits for all goroutines. It may be called
// once.
func (r *router) close() {
	close(r.stop)
	<-r.done
	r.watcher.Close()
	r.mu.Lock()
	r.closing = true
	waiting := r.waiting
	r.waiting = nil
	r.mu.Unlock()
	for _, o := range waiting {
		o.giveUp(memcache.StatusShuttingDown)
	}
	r.caller.Close() // its calls end in hold, which gives them up
}

// state tells the ring's revision and how many operations wait for a newer one.
func (r *router) state() (revision uint64, waiting int) {
	if rs := r.routes.Load(); rs != nil {
		revision = rs.table.Revision
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return revision, len(r.waiting)
}

// complete tells whether every partition has a primary.
func (r *router) complete() bool {
	led, all := r.led()
	return all > 0 && led == all
}

// led counts the partitions with a primary, and all.
func (r *router) led() (led, all int) {
	rs := r.routes.Load()
	if rs == nil {
		return 0, 0
	}
	for p := range rs.parts {
		if rs.parts[p].read != nil {
			led++
		}
	}
	return led, len(rs.parts)
}
