package kumogateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumogateway/memcache"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Gateway serves memcached clients; see Open.
type Gateway struct {
	o         Options
	lim       *limits
	boot      ring.BootID
	bus       *bus.Bus
	ownBus    bool
	router    *router
	beat      *heart
	asked     []*bus.Sub // operators' questions
	slow      *slowLog
	hot       *hotKeys
	cache     *localCache // nil: none
	listeners []entrance
	started   time.Time
	buffers   sync.Pool // of *readBuf
	outs      sync.Pool // of *outBuf
	users     *users    // nil: clients need not authenticate
	secure    secure    // TLS
	strangers sometimes // clients that speak something else
	refused   sometimes // clients that name no user of ours

	held     atomic.Int64 // bytes, about, of requests that wait for answers
	reading  atomic.Int64 // bytes of buffers for large requests that are being read
	answers  atomic.Int64 // bytes, about, of answers that clients have not taken; see conn.count
	accepted atomic.Uint64
	rejected atomic.Uint64
	tasks    sync.WaitGroup // accepting and connections

	mu       sync.Mutex
	closed   bool
	closing  chan struct{} // closed when Close begins
	ended    chan struct{} // closed when Close is done
	conns    map[*conn]struct{}
	past     counters // of connections that ended
	pastTook times
	delayed  *time.Timer
	load     loadCache
}

type (
	readBuf [readBuffer]byte
	outBuf  [outBuffer]byte
)

// Open starts a gateway. It does not wait for the ring: requests that come
// before it wait, as they do through a fail-over; see Ready. An address that
// cannot be listened on is an error that names it.
func Open(o Options) (_ *Gateway, err error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("open gateway: %w", err)
	}
	g := &Gateway{
		o: o, lim: newLimits(&o), boot: newBootID(), started: time.Now(),
		conns: make(map[*conn]struct{}), closing: make(chan struct{}), ended: make(chan struct{}),
		slow: newSlowLog(o.SlowThreshold, o.SlowSize), hot: newHotKeys(time.Now()),
		cache: newLocalCache(o.LocalCache, o.LocalCacheTTL),
	}
	g.buffers.New = func() any { return new(readBuf) }
	g.outs.New = func() any { return new(outBuf) }
	defer func() {
		if err != nil {
			g.release()
		}
	}()
	if err = g.openClients(); err != nil {
		return nil, err
	}
	if g.bus = o.Bus; g.bus == nil {
		g.ownBus = true
		g.bus, err = bus.Dial(bus.DialOptions{
			Name: "gateway-" + g.boot.String(), URLs: o.Managers, Hub: o.Hub, Security: o.Security, Log: o.Log,
		})
		if err != nil {
			return nil, fmt.Errorf("open gateway: %w", err)
		}
	}
	if g.router, err = openRouter(&g.o, g.lim, g.bus, g.boot, g.underWay); err != nil {
		return nil, err
	}
	if err = g.answerOperators(); err != nil {
		return nil, fmt.Errorf("open gateway: %w", err)
	}
	g.beat = startHeart(g)
	for _, l := range g.listeners {
		g.tasks.Go(func() { g.accept(l) })
	}
	return g, nil
}

// openClients reads who clients are to be and how they are to come, and listens.
func (g *Gateway) openClients() (err error) {
	o := &g.o
	if o.AuthFile != "" {
		if g.users, err = openUsers(o.AuthFile, o.KeyPrefix, o.Log, g.closing); err != nil {
			return err
		}
	}
	if g.secure.files = o.TLS; o.TLS.on() {
		if err := g.secure.read(); err != nil {
			return err
		}
	}
	for _, addr := range o.Listen {
		l, err := listen(addr, o.SocketMode)
		if err != nil {
			return err
		}
		l.tls = l.tls && o.TLS.on()
		g.listeners = append(g.listeners, l)
	}
	return nil
}

// answerOperators subscribes to the questions that kumoctl asks a node.
func (g *Gateway) answerOperators() error {
	for verb, answer := range map[string]func(*bus.Msg){
		subjects.NodeStat: g.answerStat, subjects.NodeSlowLog: g.answerSlowLog,
		subjects.NodeHotKeys: func(m *bus.Msg) { g.reply(m, g.hot.read(time.Now()), nil) },
	} {
		s, err := g.bus.Subscribe(g.o.Cluster.GatewayAdmin(g.Node(), verb), answer)
		if err != nil {
			return err
		}
		g.asked = append(g.asked, s)
	}
	return nil
}

func newBootID() ring.BootID {
	var b [8]byte
	rand.Read(b[:])
	return ring.BootID(binary.LittleEndian.Uint64(b[:]) | 1) // never 0
}

// cause strips the address and the system call, which the caller names.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// Ready waits until the gateway knows a ring in which every partition has a
// primary.
func (g *Gateway) Ready(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !g.router.complete() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the partition table: %w", ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// accept takes connections until the listener is closed.
func (g *Gateway) accept(l entrance) {
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, mostly: some connection has to end first.
			g.o.Log.Warn("accept", "addr", l.Addr(), "err", err)
			if !g.pause(100 * time.Millisecond) {
				return
			}
			continue
		}
		g.accepted.Add(1)
		if err := g.take(nc, l.tls); err != nil {
			g.rejected.Add(1)
			nc.Close()
		}
	}
}

// rest waits, or until the gateway closes.
func (g *Gateway) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-g.closing:
	}
}

// pause waits, and tells whether the gateway still runs.
func (g *Gateway) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.closed
}

var errTooMany = errors.New("too many connections")

// take starts to serve a connection.
func (g *Gateway) take(nc net.Conn, secure bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return net.ErrClosed
	}
	if int64(len(g.conns)) >= g.lim.conns.Load() {
		if !secure {
			nc.SetWriteDeadline(time.Now().Add(time.Millisecond))
			nc.Write([]byte(memcache.StatusTooManyConns.String() + "\r\n"))
		}
		return errTooMany
	}
	c, err := newConn(g, nc, secure)
	if err != nil {
		return err
	}
	g.conns[c] = struct{}{}
	g.tasks.Go(func() {
		c.serve()
		g.mu.Lock()
		delete(g.conns, c)
		c.mu.Lock()
		g.past.add(&c.stats)
		g.pastTook.merge(&c.took)
		c.mu.Unlock()
		g.mu.Unlock()
	})
	return nil
}

// Run serves until ctx ends and closes the gateway.
func (g *Gateway) Run(ctx context.Context) error {
	<-ctx.Done()
	return g.Close()
}

// Close stops accepting, lets what is outstanding end for at most the close
// time-out, and closes everything. It may be called twice.
func (g *Gateway) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		<-g.ended
		return nil
	}
	g.closed = true
	close(g.closing)
	if g.delayed != nil {
		g.delayed.Stop()
	}
	g.mu.Unlock()
	for _, l := range g.listeners {
		l.Close()
	}
	g.each((*conn).shut)
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		g.tasks.Wait()
	}()
	select {
	case <-idle:
	case <-time.After(g.o.CloseTimeout):
		g.o.Log.Warn("requests are still waiting at the end of the close time-out")
		g.each((*conn).abort)
	}
	g.release()
	<-idle
	close(g.ended)
	return nil
}

// underWay calls f with every connection's operations; see conn.underWay.
func (g *Gateway) underWay(f func(*op)) {
	g.each(func(c *conn) { c.underWay(f) })
}

func (g *Gateway) each(f func(*conn)) {
	g.mu.Lock()
	conns := make([]*conn, 0, len(g.conns))
	for c := range g.conns {
		conns = append(conns, c)
	}
	g.mu.Unlock()
	for _, c := range conns {
		f(c)
	}
}

// release gives back what Open acquired, as far as it came.
func (g *Gateway) release() {
	for _, l := range g.listeners {
		l.Close()
	}
	if g.beat != nil {
		g.beat.close()
	}
	for _, s := range g.asked {
		s.Close()
	}
	if g.router != nil {
		g.router.close()
	}
	if g.ownBus && g.bus != nil {
		g.bus.Close()
	}
}
