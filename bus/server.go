package bus

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// How the embedded servers behave.
const (
	// A route that was cut without a word is noticed after three intervals;
	// NATS's own default takes 84 s.
	routePingInterval = 250 * time.Millisecond
	maxPingsOut       = 2
	// A client that vanished holds its subscriptions for three intervals.
	clientPingInterval = 5 * time.Second
	// A connection whose peer takes nothing for so long, or that has so much
	// waiting to be written, is dropped.
	writeDeadline = 5 * time.Second
	maxPending    = 64 << 20
	// maxSubscriptions is how many a connection may have; daemons have some dozens.
	maxSubscriptions = 1000

	startTimeout = 5 * time.Second
)

// MaxPayload is the size in bytes of the largest message: the largest value that
// any daemon may be told to take, 16 MiB, and what travels with it. It is the same
// everywhere, whatever values a daemon takes, since one that would take no more than
// its own could not hand out those that it has from before, nor others' copies.
// (NATS's own default is 1 MiB.)
const MaxPayload = 16<<20 + 128<<10

// frameBytes is how many bytes are gathered in a frame. What is larger travels alone.
const frameBytes = 1<<20 + 64<<10

// startServer starts the embedded server and returns when its ports are open.
func (b *Bus) startServer(o Options) (err error) {
	so, err := serverOptions(o)
	if err != nil {
		return err
	}
	if o.Security != nil {
		h := o.Security.now.Load()
		if h.Member == nil {
			return fmt.Errorf("start bus member %s: these are credentials of a client", o.Name)
		}
		if b.own, err = newOwnIdentity(); err != nil {
			return err
		}
		if b.answers, err = newAnswers(); err != nil {
			return err
		}
		b.secure(so, h)
	}
	b.srvOptions = so.Clone() // for reload
	if err := probe("client", o.Listen); err != nil {
		return err
	}
	if err := probe("route", o.RouteListen); err != nil {
		return err
	}
	srv, err := server.NewServer(so)
	if err != nil {
		return fmt.Errorf("start bus member %s: %w", o.Name, err)
	}
	defer func() {
		if err != nil {
			srv.Shutdown()
			srv.WaitForShutdown()
		}
	}()
	logger := newServerLog(o.Log)
	srv.SetLoggerV2(logger, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) {
		// It may hold one of the two ports, which must not look taken then.
		srv.Shutdown()
		srv.WaitForShutdown()
		return startError(o, logger)
	}
	b.srv = srv
	return nil
}

// warnOpen says that anybody may come, if somebody from elsewhere can.
func (b *Bus) warnOpen(addr *net.TCPAddr) {
	if b.security == nil && !addr.IP.IsLoopback() {
		b.log.Warn("the bus is open: without credentials whoever reaches this port may read, change and command everything", "addr", addr)
	}
}

// startError tells why the server did not open its ports. They were free a
// moment ago, so that most likely somebody else was quicker.
func startError(o Options, l *serverLog) error {
	if err := probe("client", o.Listen); err != nil {
		return err
	}
	if err := probe("route", o.RouteListen); err != nil {
		return err
	}
	return fmt.Errorf("start bus member %s: not ready after %s: %s", o.Name, startTimeout, l.fatal())
}

// serverOptions turns our options into NATS's.
func serverOptions(o Options) (*server.Options, error) {
	if o.Name == "" || strings.ContainsAny(o.Name, ". \t*>") {
		return nil, fmt.Errorf("bus member name %q: must not be empty or have dots, spaces, * or >", o.Name)
	}
	if o.Mesh == "" || strings.ContainsAny(o.Mesh, " \t") {
		return nil, fmt.Errorf("mesh name %q: must not be empty or have spaces", o.Mesh)
	}
	host, port, err := splitListen(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("client address %q: %w", o.Listen, err)
	}
	routeHost, routePort, err := splitListen(o.RouteListen)
	if err != nil {
		return nil, fmt.Errorf("route address %q: %w", o.RouteListen, err)
	}
	so := &server.Options{
		ServerName:      o.Name,
		Host:            host,
		Port:            port,
		ClientAdvertise: o.Advertise,
		NoLog:           true, // no log file: serverLog is set instead
		NoSigs:          true,
		NoSystemAccount: true,
		MaxPayload:      MaxPayload,
		MaxPending:      maxPending,
		MaxSubs:         maxSubscriptions,
		WriteDeadline:   writeDeadline,
		PingInterval:    clientPingInterval,
		MaxPingsOut:     maxPingsOut,
		// One hung receiver must not slow the sender down for all the others:
		// what is meant for it is dropped instead.
		NoFastProducerStall:   true,
		ConnectErrorReports:   60,
		ReconnectErrorReports: 60,
		Cluster: server.ClusterOpts{
			Name:      o.Mesh,
			Host:      routeHost,
			Port:      routePort,
			Advertise: announced(o.RouteAdvertise, routeHost),
			// Explicit routes are tried for ever; this is for gossiped ones.
			ConnectRetries: math.MaxInt32,
			// All our traffic is in one account, and an account uses one
			// connection of a pool.
			PoolSize:      1,
			Compression:   server.CompressionOpts{Mode: server.CompressionOff},
			PingInterval:  routePingInterval,
			MaxPingsOut:   maxPingsOut,
			WriteDeadline: writeDeadline,
		},
	}
	for _, r := range o.Routes {
		if _, _, err := net.SplitHostPort(r); err != nil {
			return nil, fmt.Errorf("route %q: %w", r, err)
		}
		so.Routes = append(so.Routes, &url.URL{Scheme: "nats-route", Host: r})
	}
	return so, nil
}

// splitListen splits a listen address; port 0 becomes NATS's "any free port".
func splitListen(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 0 || port > math.MaxUint16 {
		return "", 0, fmt.Errorf("bad port %q", p)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if host == "" {
		host = server.DEFAULT_HOST
	}
	return host, port, nil
}

// probe opens and closes a listener, since NATS only logs why it cannot listen.
func probe(what, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return &ListenError{What: what, Addr: addr, Err: err}
	}
	if err := l.Close(); err != nil {
		return &ListenError{What: what, Addr: addr, Err: err}
	}
	return nil
}

// seenAs is the address that others use: the advertised one, with the port
// that was bound where it names none.
func seenAs(advertise, listen string, port int) string {
	addr := advertise
	if addr == "" {
		addr = listen
	}
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		host, p = addr, "0"
	}
	if p == "0" {
		p = strconv.Itoa(port)
	}
	return net.JoinHostPort(host, p)
}

// announced is the address that gossip gives to other members. Left to itself,
// NATS announces the source address of a route's connection, which on a machine
// with several addresses is another than the one that is listened on: the mesh
// would stay in pieces, or grow into somebody else's.
func announced(advertise, host string) string {
	if advertise != "" {
		return advertise
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return ""
	}
	return net.JoinHostPort(host, "0") // the port that is bound
}

// peerNames lists the members that srv has routes to.
func peerNames(srv *server.Server) []string {
	rz, err := srv.Routez(nil)
	if err != nil {
		return nil
	}
	seen := make(map[string]bool, len(rz.Routes))
	var names []string
	for _, r := range rz.Routes {
		if r.RemoteName != "" && !seen[r.RemoteName] {
			seen[r.RemoteName] = true
			names = append(names, r.RemoteName)
		}
	}
	return names
}

// discardLog is used where no logger is given.
func discardLog() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }
