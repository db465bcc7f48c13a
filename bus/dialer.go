package bus

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// dialer makes the connections that leave the process: of one nats.Conn, which calls
// it from one goroutine at a time. It dials until its context ends: nats.go holds the
// connection's lock while it dials, so that Close would wait for the dial.
type dialer struct {
	ctx      context.Context
	security *Security
	key      nkeys.KeyPair             // that this attempt connects with
	nc       atomic.Pointer[nats.Conn] // nil during the first attempt
}

func newDialer(ctx context.Context, s *Security) *dialer { return &dialer{ctx: ctx, security: s} }

// options have a connection use the dialer.
func (d *dialer) options() []nats.Option {
	opts := []nats.Option{nats.SetCustomDialer(d)}
	if d.security == nil {
		return opts
	}
	h := d.security.now.Load()
	d.key = h.key
	opts = append(opts, nats.Nkey(h.public, func(nonce []byte) ([]byte, error) { return d.key.Sign(nonce) }))
	if h.Inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(h.Inbox))
	}
	return opts
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, addr string) (net.Conn, error) {
	nd := net.Dialer{Timeout: dialTimeout}
	conn, err := nd.DialContext(d.ctx, network, addr)
	if err != nil || d.security == nil {
		return conn, err
	}
	h := d.security.now.Load()
	// Who is at the other end is known by the name that all members' certificates are
	// for: their addresses are not known when these are made.
	secured := tls.Client(conn, &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{h.Certificate},
		RootCAs:      h.Authorities,
		ServerName:   h.MemberName,
	})
	ctx, cancel := context.WithTimeout(d.ctx, tlsTimeout*time.Second)
	defer cancel()
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	// nats.go has no other way to connect with another key: it reads this one next,
	// under the lock that it holds now.
	if nc := d.nc.Load(); nc != nil {
		d.key, nc.Opts.Nkey = h.key, h.public
	}
	return secured, nil
}

// SkipTLSHandshake tells nats.go that it was made here.
func (d *dialer) SkipTLSHandshake() bool { return d.security != nil }
