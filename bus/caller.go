package bus

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// CallerOptions are those of NewCaller.
type CallerOptions struct {
	// ReplyPrefix is where answers come: each connection subscribes to the
	// prefix, a dot and a number. It must be this process's alone.
	ReplyPrefix string
	// ClusterID is asked once for every frame, sent or received.
	ClusterID func() uint64
	// MaxInFlight is how many frames of a lane may be unanswered before calls
	// wait for each other. Default 2.
	MaxInFlight int
	// MaxQueued bounds, in bytes, what waits in a lane. Default 8 MiB.
	MaxQueued int
}

// Pending takes the outcome of a call.
type Pending interface {
	// Done is called exactly once: with the body of the answer, which aliases
	// the message, or with ErrTimeout, ErrDisconnected, ErrOverloaded,
	// ErrTooLarge or ErrClosed. It is called on the goroutine that receives
	// answers, on the one that watches deadlines, or from within Call (if the
	// caller is closed, or the answer was at hand in this process), and holds
	// that goroutine up, so it must not wait for anything. It may call Call, but
	// not without end, since Call may come back here. What may be put off until
	// more outcomes are known is added to b, unless that is nil.
	Done(body []byte, err error, b *Batch)
}

// Batch is what is put off until all answers of a frame were given out.
type Batch struct{ later []Flusher }

// Flusher is somebody who puts things off.
type Flusher interface {
	// Flush does what was put off. It is called once for each Add, on the same
	// goroutine, and must not wait for anything.
	Flush()
}

// Add has f flushed.
func (b *Batch) Add(f Flusher) { b.later = append(b.later, f) }

func (b *Batch) flush() {
	for _, f := range b.later {
		f.Flush()
	}
	clear(b.later)
	b.later = b.later[:0]
}

// Caller makes calls that wait for answers, from any number of goroutines. It
// costs no goroutine, channel or timer per call.
type Caller struct {
	b    *Bus
	o    CallerOptions
	main *link
	zero time.Time     // deadlines are kept as nanoseconds since then
	tick atomic.Uint32 // counts sweepPeriod while awake
	now  atomic.Int64  // when a frame came last, or deadlines were looked at; since zero

	lanes atomic.Pointer[[]*Lane] // the index is the lane's number; nil entries are forgotten
	idle  atomic.Bool             // the sweeper waits for wake
	wakes chan struct{}
	stop  chan struct{}
	done  chan struct{} // closed when the sweeper has ended

	departs sync.WaitGroup // the lanes' goroutines

	mu     sync.RWMutex
	closed bool
	byName map[string]*Lane
	links  map[string]*link // by address
	nlinks int              // links ever made, for their reply subjects
}

const (
	// sweepPeriod is how often deadlines are looked at. A frame without an
	// answer stops holding the next ones up after one or two of them.
	sweepPeriod = 5 * time.Millisecond
	flightTicks = 2
	// idleSweeps is how many sweeps find nothing before the sweeper rests.
	idleSweeps = 20

	defaultInFlight  = 2
	defaultMaxQueued = 8 << 20
	maxLanes         = 1 << 16
)

// NewCaller starts a caller. Close of the bus closes it too.
func (b *Bus) NewCaller(o CallerOptions) (*Caller, error) {
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = defaultInFlight
	}
	if o.MaxQueued <= 0 {
		o.MaxQueued = defaultMaxQueued
	}
	c := &Caller{
		b: b, o: o, zero: time.Now(),
		wakes:  make(chan struct{}, 1),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		byName: make(map[string]*Lane),
		links:  make(map[string]*link),
	}
	c.lanes.Store(new([]*Lane))
	c.main = &link{c: c, reply: o.ReplyPrefix + ".0", nc: b.nc}
	sub, err := b.Handle(c.main.reply, o.ClusterID, c.receiver())
	if err != nil {
		return nil, fmt.Errorf("new caller: %w", err)
	}
	c.main.sub = sub
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return nil, fmt.Errorf("new caller: %w", ErrClosed)
	}
	b.callers[c] = struct{}{}
	b.mu.Unlock()
	go c.sweeper()
	b.OnState(c.main.setUp)
	return c, nil
}

// Lane returns the lane of a name, made at the first call. addr is the host:port
// of the destination's own NATS server, to which a direct connection is kept;
// it is used while it is up, and the bus's own connection otherwise. An empty
// addr means the bus's own connection. A changed addr replaces the connection;
// lanes with the same addr share one. Each name has one lane.
func (c *Caller) Lane(name, addr string) *Lane {
	c.mu.RLock()
	l := c.byName[name]
	if l != nil && l.addr == addr {
		c.mu.RUnlock()
		return l
	}
	c.mu.RUnlock()

	var old *link
	c.mu.Lock()
	l = c.byName[name]
	switch {
	case l == nil:
		l = c.newLane(name, addr)
	case l.addr != addr:
		old = c.redirect(l, addr)
	}
	c.mu.Unlock()
	if old != nil {
		old.close()
	}
	return l
}

// newLane is called with mu held.
func (c *Caller) newLane(name, addr string) *Lane {
	lanes := *c.lanes.Load()
	l := &Lane{c: c, name: name, num: uint64(len(lanes)), addr: addr}
	l.closed = c.closed || len(lanes) == maxLanes
	if l.closed {
		return l
	}
	l.direct.Store(c.addLink(addr))
	l.leaving = make(chan struct{}, 1)
	c.departs.Add(1)
	go l.depart()
	grown := append(lanes[:len(lanes):len(lanes)], l)
	c.lanes.Store(&grown)
	c.byName[name] = l
	return l
}

// redirect gives a lane another address, and returns the link to close, if
// nobody else uses it. Called with mu held.
func (c *Caller) redirect(l *Lane, addr string) *link {
	l.addr = addr
	if c.closed {
		return nil
	}
	old := l.direct.Swap(c.addLink(addr))
	return c.dropLink(old)
}

// addLink finds or makes the link to an address. Called with mu held.
func (c *Caller) addLink(addr string) *link {
	if addr == "" || c.b.hub.has(addr) {
		return nil
	}
	l := c.links[addr]
	if l == nil {
		c.nlinks++
		l = newLink(c, addr, c.o.ReplyPrefix+"."+strconv.Itoa(c.nlinks))
		c.links[addr] = l
	}
	l.users++
	return l
}

// dropLink gives a link up and returns it if that was its last user. Called
// with mu held.
func (c *Caller) dropLink(l *link) *link {
	if l == nil {
		return nil
	}
	if l.users--; l.users > 0 {
		return nil
	}
	delete(c.links, l.addr)
	return l
}

// Forget closes the lane of a name, for a destination that is no more. Its
// calls end with ErrClosed.
func (c *Caller) Forget(name string) {
	c.mu.Lock()
	l := c.byName[name]
	if l == nil || c.closed {
		c.mu.Unlock()
		return
	}
	delete(c.byName, name)
	lanes := append([]*Lane(nil), *c.lanes.Load()...)
	lanes[l.num] = nil
	c.lanes.Store(&lanes)
	old := c.dropLink(l.direct.Swap(nil))
	c.mu.Unlock()
	l.close()
	if old != nil {
		old.close()
	}
}

// Close ends all calls with ErrClosed, and the direct connections.
func (c *Caller) Close() error {
	c.b.mu.Lock()
	delete(c.b.callers, c)
	c.b.mu.Unlock()
	c.shutdown()
	return nil
}

// shutdown is Close without telling the bus.
func (c *Caller) shutdown() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		<-c.done
		return
	}
	c.closed = true
	links := c.links
	c.links = nil
	c.mu.Unlock()
	for _, l := range *c.lanes.Load() {
		if l != nil {
			l.close()
		}
	}
	for _, l := range links {
		l.close()
	}
	c.departs.Wait()
	if err := c.main.sub.Close(); err != nil {
		c.b.log.Warn("bus: close caller", "err", err)
	}
	close(c.stop)
	<-c.done
}

// receiver returns what takes frames of answers, in one goroutine.
func (c *Caller) receiver() func(*Frame) {
	later := new(Batch)
	return func(f *Frame) {
		c.receive(f, later)
		later.flush()
	}
}

// receive takes a frame of answers.
func (c *Caller) receive(f *Frame, later *Batch) {
	c.now.Store(int64(time.Since(c.zero)))
	lanes := *c.lanes.Load()
	var batch [64]answer
	var lane *Lane
	n := 0
	for {
		id, body, ok := f.Next()
		num := id >> laneShift
		if n > 0 && (!ok || n == len(batch) || lane.num != num) {
			lane.answer(batch[:n], later)
			n = 0
		}
		if !ok {
			return
		}
		if num >= uint64(len(lanes)) || lanes[num] == nil {
			continue
		}
		lane = lanes[num]
		batch[n] = answer{id: id, body: body}
		n++
	}
}

// Now is when the frame came whose answers are told by Done, or else, where no
// frame came, when deadlines were looked at: a look at the clock for all of them.
// It is of use within Done.
func (c *Caller) Now() time.Time { return c.zero.Add(time.Duration(c.now.Load())) }

// sweeper looks at deadlines while calls are pending, and rests otherwise.
func (c *Caller) sweeper() {
	defer close(c.done)
	ticker := time.NewTicker(sweepPeriod)
	defer ticker.Stop()
	quiet := 0
	for {
		select {
		case <-c.stop:
			c.sweep()
			return
		case <-ticker.C:
		}
		if c.sweep() {
			quiet = 0
			continue
		}
		if quiet++; quiet < idleSweeps {
			continue
		}
		// A call that comes now either sees idle, or is seen by this sweep.
		c.idle.Store(true)
		if c.sweep() {
			c.idle.Store(false)
			continue
		}
		ticker.Stop()
		select {
		case <-c.stop:
			return
		case <-c.wakes:
		}
		c.idle.Store(false)
		ticker.Reset(sweepPeriod)
		quiet = 0
	}
}

// sweep looks through the lanes and tells whether any call is pending.
func (c *Caller) sweep() (busy bool) {
	tick := c.tick.Add(1)
	now := int64(time.Since(c.zero))
	c.now.Store(now)
	for _, l := range *c.lanes.Load() {
		if l != nil && l.sweep(tick, now) {
			busy = true
		}
	}
	return busy
}

// wake gets the sweeper going.
func (c *Caller) wake() {
	if c.idle.Load() && c.idle.CompareAndSwap(true, false) {
		select {
		case c.wakes <- struct{}{}:
		default:
		}
	}
}
