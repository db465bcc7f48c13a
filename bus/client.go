package bus

import (
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// How connections to a member behave.
const (
	dialTimeout = time.Second
	// A member that died without a word is noticed after three intervals. One
	// that is merely busy answers a PING late, hence not shorter.
	dialPingInterval = 500 * time.Millisecond
	// A write that a member does not take blocks the goroutines that send.
	flushTimeout = time.Second
	// Reconnects are tried for ever, at first soon and then at this pace.
	reconnectFirst = 20 * time.Millisecond
	reconnectMax   = time.Second
	drainTimeout   = time.Second
)

// clientOptions are those of every connection. onState is called from one
// goroutine whenever the connection comes or goes.
func clientOptions(name string, onState func(up bool)) []nats.Option {
	return []nats.Option{
		nats.Name(name),
		nats.Timeout(dialTimeout),
		nats.ReconnectBufSize(-1), // a message that waits for a connection is late already
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.ReconnectOnFlusherError(),
		nats.DrainTimeout(drainTimeout),
		nats.ConnectHandler(func(*nats.Conn) { onState(true) }),
		nats.ReconnectHandler(func(*nats.Conn) { onState(true) }),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { onState(false) }),
	}
}

// localOptions are those of connections to this process's own member. They cannot
// be cut, so that a write needs no deadline, which takes a timer each.
func localOptions(srv *server.Server) []nats.Option {
	return []nats.Option{nats.InProcessServer(srv), nats.FlusherTimeout(0)}
}

// remoteOptions are those of connections that leave the process. The in-process
// one cannot be cut, so that a late PONG means a busy machine and no more.
func remoteOptions() []nats.Option {
	return []nats.Option{
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // an identity that is not known yet may become so
		nats.FlusherTimeout(flushTimeout),
		nats.PingInterval(dialPingInterval),
		nats.MaxPingsOutstanding(maxPingsOut),
	}
}

// dialNATS connects. Without URLs, opts name an in-process server.
func dialNATS(urls []string, opts []nats.Option) (*nats.Conn, error) {
	o := nats.GetDefaultOptions()
	o.Servers = urls
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	return o.Connect()
}

// natsURLs turns host:port into what nats.go wants.
func natsURLs(addrs []string) ([]string, error) {
	urls := make([]string, len(addrs))
	for i, a := range addrs {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			return nil, fmt.Errorf("bus address %q: %w", a, err)
		}
		if host == "" {
			host = "127.0.0.1"
		}
		urls[i] = "nats://" + net.JoinHostPort(host, port)
	}
	return urls, nil
}

// reconnectDelay is how long to wait after all addresses were tried n times:
// doubling, and drawn at random from the upper half, so that the clients of a
// member that returns do not come all at once.
func reconnectDelay(n int) time.Duration {
	d := reconnectMax
	if n < 7 {
		d = min(d, reconnectFirst<<n)
	}
	return d/2 + rand.N(d/2) // #nosec G404 -- nothing secret is drawn
}
