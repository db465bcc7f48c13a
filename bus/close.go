package bus

import (
	"errors"
	"time"
)

// closeTimeout bounds what Close waits for handlers that are still at work.
const closeTimeout = 3 * time.Second

// Close stops services and callers, lets the subscriptions finish what they
// have received, disconnects and stops the embedded server. It takes at most
// about three seconds and returns an error if handlers were still at work by
// then. It may be called twice, and from several goroutines.
func (b *Bus) Close() error {
	b.mu.Lock()
	if b.closing {
		closed := b.closed
		b.mu.Unlock()
		<-closed
		return nil
	}
	b.security.leave(b)
	b.closing = true
	b.closed = make(chan struct{})
	callers, stops := b.callers, b.stops
	b.callers, b.stops = nil, nil
	b.mu.Unlock()
	defer close(b.closed)

	deadline := time.NewTimer(closeTimeout)
	defer deadline.Stop()
	for s := range stops {
		s.stop()
	}
	b.answers.close()
	for c := range callers {
		c.shutdown()
	}
	if b.joined {
		b.hub.join(b.clientAddr, -1)
	}
	subs := b.openSubs()
	for _, s := range subs {
		s.part()
	}
	err := b.disconnect(deadline.C)
	for _, s := range subs {
		if s.local == nil || err != nil {
			continue
		}
		select {
		case <-s.local.done:
		case <-deadline.C:
			err = errors.New("close bus: handler of " + s.subject + " is still at work")
		}
	}
	if b.srv != nil {
		b.srv.Shutdown()
		b.srv.WaitForShutdown()
	}
	return err
}

// disconnect drains and closes the connection, and waits for its goroutines.
func (b *Bus) disconnect(deadline <-chan time.Time) error {
	if b.nc == nil {
		b.cancelDial()
		return nil
	}
	if b.connected.Load() && b.nc.Drain() == nil {
		drained := time.NewTimer(drainTimeout + drainTimeout/2)
		select {
		case <-b.ncClosed:
		case <-drained.C:
		}
		drained.Stop()
	}
	b.cancelDial()
	b.nc.Close()
	b.setConnected(false)
	select {
	case <-b.ncClosed:
	case <-deadline:
		return errors.New("close bus: connection did not close in time")
	}
	for _, s := range b.openSubs() {
		select {
		case <-s.done:
		case <-deadline:
			return errors.New("close bus: handler of " + s.subject + " is still at work")
		}
	}
	return nil
}

// openSubs lists the subscriptions whose goroutine may still run.
func (b *Bus) openSubs() []*Sub {
	b.mu.Lock()
	defer b.mu.Unlock()
	subs := make([]*Sub, 0, len(b.subs))
	for s := range b.subs {
		subs = append(subs, s)
	}
	return subs
}
