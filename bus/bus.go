package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Options are those of a member of the mesh.
type Options struct {
	Name           string   // unique in the mesh; no dots or spaces, e.g. "10-0-0-1-19800"
	Mesh           string   // the mesh's name; members of another mesh are refused
	Listen         string   // host:port for clients; port 0 takes a free one
	Advertise      string   // host:port as clients see it; empty: Listen; port 0: the one bound
	RouteListen    string   // host:port for routes; port 0 takes a free one
	RouteAdvertise string   // host:port as other members see it; empty: RouteListen
	Routes         []string // host:port of members to connect to; the rest is gossip; may name this one
	Hub            *Hub     // shared with others in this process; nil: none
	// Security has the credentials of members, and of who may connect; nil: whoever
	// reaches the ports may send and hear everything.
	Security *Security
	Log      *slog.Logger
}

// DialOptions are those of a client of the mesh.
type DialOptions struct {
	Name     string   // shown in the servers' connection lists
	URLs     []string // host:port of members, any of which will do
	Hub      *Hub     // shared with others in this process; nil: none
	Security *Security
	Log      *slog.Logger
}

// Bus is a connection to the mesh. Its methods may be called from any
// goroutine.
type Bus struct {
	name       string
	log        *slog.Logger
	hub        *Hub
	joined     bool           // the hub; not changed after Open
	srv        *server.Server // nil in a client
	srvOptions *server.Options
	security   *Security
	own        *ownIdentity // of a member with security
	answers    *answers     // of a member with security
	reloading  sync.Mutex   // guards srvOptions and rejoins, and has reloads wait for each other
	rejoins    int
	clientAddr string
	routeAddr  string
	nc         *nats.Conn
	ncClosed   chan struct{}      // closed when nc has told that it is closed
	dialCtx    context.Context    // of attempts to connect
	cancelDial context.CancelFunc // ends them
	trouble    atomic.Pointer[error]
	asked      asked
	connected  atomic.Bool
	slowLog    limiter
	frameLog   limiter
	refused    atomic.Uint64
	dropped    atomic.Uint64
	sent       flow
	received   flow
	carried    carried

	stateMu sync.Mutex // held while states are told, so that they hear in order

	mu      sync.Mutex
	heard   bool // nc has reported a state
	closing bool
	closed  chan struct{} // closed when Close is done; nil before it
	states  []func(bool)
	urls    map[string]bool
	subs    map[*Sub]struct{}
	callers map[*Caller]struct{}
	stops   map[*service]struct{}
}

// Open starts a member of the mesh. A port that cannot be opened is a
// *ListenError. Open does not wait for routes to other members.
func Open(o Options) (_ *Bus, err error) {
	b := newBus(o.Name, o.Log)
	o.Log, b.hub, b.security = b.log, o.Hub, o.Security
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	if err := b.startServer(o); err != nil {
		return nil, err
	}
	clientPort := b.srv.Addr().(*net.TCPAddr).Port
	b.clientAddr = seenAs(o.Advertise, o.Listen, clientPort)
	b.routeAddr = seenAs(o.RouteAdvertise, o.RouteListen, b.srv.ClusterAddr().Port)
	opts := localOptions(b.srv)
	if b.own != nil {
		opts = append(opts, b.own.options()...)
	}
	if err = b.connect(o.Name, nil, nil, opts...); err != nil {
		return nil, fmt.Errorf("connect to own bus member %s: %w", o.Name, err)
	}
	if b.answers != nil {
		if err = b.answers.connect(b); err != nil {
			return nil, fmt.Errorf("connect services to own bus member %s: %w", o.Name, err)
		}
	}
	b.security.join(b)
	b.warnOpen(b.srv.Addr().(*net.TCPAddr))
	b.hub.join(b.clientAddr, 1)
	b.joined = true
	return b, nil
}

// Dial makes a client of the mesh. Each address is tried once before it
// returns, for at most a second each; when none answers, it goes on trying in
// the background until Close.
func Dial(o DialOptions) (*Bus, error) {
	if len(o.URLs) == 0 {
		return nil, errors.New("dial bus: no address given")
	}
	b := newBus(o.Name, o.Log)
	b.hub, b.security = o.Hub, o.Security
	urls, err := natsURLs(o.URLs)
	if err != nil {
		return nil, fmt.Errorf("dial bus: %w", err)
	}
	for _, u := range o.URLs {
		b.urls[u] = true
	}
	if err := b.connect(o.Name, urls, newDialer(b.dialCtx, b.security), remoteOptions()...); err != nil {
		b.Close()
		return nil, fmt.Errorf("dial bus at %v: %w", o.URLs, err)
	}
	b.security.join(b)
	return b, nil
}

func newBus(name string, log *slog.Logger) *Bus {
	if log == nil {
		log = discardLog()
	}
	b := &Bus{
		name:     name,
		log:      log,
		ncClosed: make(chan struct{}),
		urls:     make(map[string]bool),
		subs:     make(map[*Sub]struct{}),
		callers:  make(map[*Caller]struct{}),
		stops:    make(map[*service]struct{}),
	}
	b.dialCtx, b.cancelDial = context.WithCancel(context.Background())
	return b
}

// connect makes the bus's own connection; d is nil for one within the process.
func (b *Bus) connect(name string, urls []string, d *dialer, more ...nats.Option) error {
	opts := append(clientOptions(name, b.setConnected),
		nats.ErrorHandler(b.asyncError),
		nats.ReconnectErrHandler(b.notConnected),
		nats.ClosedHandler(func(*nats.Conn) { close(b.ncClosed) }))
	if d != nil {
		opts = append(opts, d.options()...)
	}
	opts = append(opts, more...)
	nc, err := dialNATS(urls, opts)
	if err != nil {
		return err
	}
	b.nc = nc
	if d != nil {
		d.nc.Store(nc)
	}
	// The connection may have been lost again already; then it has said so.
	b.mu.Lock()
	if !b.heard {
		b.connected.Store(nc.IsConnected())
	}
	b.mu.Unlock()
	return nil
}

// setConnected is told by nc, one call after the other.
func (b *Bus) setConnected(up bool) {
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	b.mu.Lock()
	b.heard = true
	changed := b.connected.Swap(up) != up
	states := b.states
	b.mu.Unlock()
	if !changed {
		return
	}
	for _, f := range states {
		f(up)
	}
}

// asyncError is told of what goes wrong behind our back.
func (b *Bus) asyncError(_ *nats.Conn, s *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) && s != nil {
		b.overflow(s.Subject)
		return
	}
	if errors.Is(err, nats.ErrPermissionViolation) {
		b.asked.forbid(err)
	}
	b.notConnected(nil, err)
	if b.slowLog.allow(logPeriod) {
		b.log.Warn("bus: connection trouble", "err", err)
	}
}

// notConnected keeps why there is no connection.
func (b *Bus) notConnected(_ *nats.Conn, err error) { b.trouble.Store(&err) }

// Trouble is what last went wrong with the connection, or with an attempt to make
// one; nil: nothing yet.
func (b *Bus) Trouble() error {
	if err := b.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// overflow notes that a subscription's queue was full.
func (b *Bus) overflow(subject string) {
	b.dropped.Add(1)
	if b.slowLog.allow(logPeriod) {
		b.log.Warn("bus: receiver is too slow, messages were dropped", "subject", subject)
	}
}

// Connected tells whether there is a connection to the mesh. A member is
// always connected, to itself; see Peers.
func (b *Bus) Connected() bool { return b.connected.Load() }

// OnState calls f now with the present state, and whenever the connection
// comes or goes. f must not block, and must not call OnState.
func (b *Bus) OnState(f func(connected bool)) {
	b.stateMu.Lock()
	defer b.stateMu.Unlock()
	b.mu.Lock()
	b.states = append(b.states[:len(b.states):len(b.states)], f)
	up := b.connected.Load()
	b.mu.Unlock()
	f(up)
}

// Name is the name given to Open or Dial.
func (b *Bus) Name() string { return b.name }

// ClientAddr is the host:port that clients dial; empty in a client.
func (b *Bus) ClientAddr() string { return b.clientAddr }

// RouteAddr is the host:port that other members dial; empty in a client.
func (b *Bus) RouteAddr() string { return b.routeAddr }

// Peers names the members that this one has routes to; none in a client. It
// takes the server's locks, so ask now and then and not per message.
func (b *Bus) Peers() []string {
	if b.srv == nil {
		return nil
	}
	return peerNames(b.srv)
}

// Stats counts what went wrong since the start.
type Stats struct {
	RefusedFrames uint64 // malformed, of another version or of another cluster
	Overflows     uint64 // times that a subscription's queue began to overflow
}

// Stats returns the counters.
func (b *Bus) Stats() Stats {
	return Stats{RefusedFrames: b.refused.Load(), Overflows: b.dropped.Load()}
}

// AddURLs tells a client of more members that it may connect to. It does not
// leave the one that it is connected to.
func (b *Bus) AddURLs(urls []string) {
	if b.srv != nil {
		return
	}
	b.mu.Lock()
	var fresh []string
	for _, u := range urls {
		if !b.urls[u] {
			fresh = append(fresh, u)
		}
	}
	closing := b.closing
	b.mu.Unlock()
	if len(fresh) == 0 || closing {
		return
	}
	var pool []string
	for _, u := range fresh {
		more, err := natsURLs([]string{u})
		if err != nil {
			b.log.Warn("bus: address ignored", "err", err)
		}
		pool = append(pool, more...)
	}
	for _, s := range b.nc.ServerPool() {
		pool = append(pool, s.URL.String())
	}
	if err := b.nc.SetServerPool(pool); err != nil {
		b.log.Warn("bus: addresses ignored", "err", err)
		return
	}
	b.mu.Lock()
	for _, u := range fresh {
		b.urls[u] = true
	}
	b.mu.Unlock()
}
