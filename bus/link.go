package bus

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// link is a connection that calls leave by and answers come back by: the bus's
// own, or a direct one to a destination. Each has a reply subject of its own,
// since one that was subscribed to at two members would deliver twice.
type link struct {
	c     *Caller
	addr  string // empty for the bus's own
	reply string
	users int // lanes; guarded by c.mu
	sub   *Sub
	up    atomic.Bool

	cancel context.CancelFunc
	done   chan struct{} // closed when the connection is made, or never will be

	mu         sync.Mutex
	nc         *nats.Conn
	connected  bool
	subscribed bool
	ncClosed   chan struct{}
}

// newLink makes a direct connection, in the background: the first attempt of
// nats.go waits for its outcome.
func newLink(c *Caller, addr, reply string) *link {
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{
		c: c, addr: addr, reply: reply, cancel: cancel,
		done: make(chan struct{}), ncClosed: make(chan struct{}),
	}
	go l.connect(ctx)
	return l
}

func (l *link) connect(ctx context.Context) {
	defer close(l.done)
	urls, err := natsURLs([]string{l.addr})
	if err != nil {
		l.c.b.log.Warn("bus: no direct connection", "err", err)
		return
	}
	d := newDialer(ctx, l.c.b.security)
	opts := append(clientOptions(l.c.b.name, l.onState),
		// The connection is to this member or to none.
		nats.IgnoreDiscoveredServers(),
		nats.ErrorHandler(l.c.b.asyncError),
		nats.ReconnectErrHandler(l.c.b.notConnected),
		nats.ClosedHandler(func(*nats.Conn) { close(l.ncClosed) }))
	opts = append(opts, d.options()...)
	opts = append(opts, remoteOptions()...)
	nc, err := dialNATS(urls, opts)
	if err != nil {
		l.c.b.log.Warn("bus: no direct connection", "addr", l.addr, "err", err)
		return
	}
	d.nc.Store(nc)
	handler := l.c.b.frameHandler(l.c.o.ClusterID, l.c.receiver())
	sub, err := nc.Subscribe(l.reply, handler)
	if err == nil {
		err = sub.SetPendingLimits(pendingMessages, pendingBytes)
	}
	l.mu.Lock()
	l.nc = nc
	l.subscribed = err == nil
	// A state that was reported before is not reported again.
	l.connected = l.connected || nc.IsConnected()
	l.mu.Unlock()
	if err != nil {
		l.c.b.log.Warn("bus: direct connection not used", "addr", l.addr, "err", err)
	}
	l.update()
}

// onState is told by nats.go, one call after the other.
func (l *link) onState(up bool) {
	l.mu.Lock()
	l.connected = up
	l.mu.Unlock()
	l.update()
}

// update derives up.
func (l *link) update() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setUp(l.connected && l.subscribed)
}

// setUp says whether the link can be used. When it breaks, the calls that it
// carried are lost.
func (l *link) setUp(up bool) {
	if l.up.Swap(up) && !up {
		for _, lane := range *l.c.lanes.Load() {
			if lane != nil {
				lane.linkDown(l)
			}
		}
	}
}

// publish sends a frame. It may wait for the socket, for flushTimeout at most;
// then the member is taken for dead, and the calls after this one leave by the
// bus's own connection.
func (l *link) publish(subject string, data []byte) error {
	if !l.up.Load() {
		return ErrDisconnected
	}
	if done, err := l.c.b.hand(subject, data); done {
		return err
	}
	err := l.nc.Publish(subject, data)
	if isTimeout(err) {
		if err := l.nc.ForceReconnect(); err != nil {
			l.c.b.log.Warn("bus: direct connection", "addr", l.addr, "err", err)
		}
	}
	return wrapNATS("publish", subject, err)
}

// reconnect makes a direct connection anew; calls that it carried are lost.
func (l *link) reconnect() {
	l.mu.Lock()
	nc := l.nc
	l.mu.Unlock()
	if nc == nil {
		return // it is being made
	}
	if err := nc.ForceReconnect(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		l.c.b.log.Warn("bus: direct connection", "addr", l.addr, "err", err)
	}
}

// close ends a direct connection and waits for it.
func (l *link) close() {
	l.cancel()
	<-l.done
	l.mu.Lock()
	nc := l.nc
	l.subscribed = false
	l.mu.Unlock()
	l.update()
	if nc != nil {
		nc.Close()
		<-l.ncClosed
		l.c.b.carried.leave(nc)
	}
}
