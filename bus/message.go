package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Bounds of what waits for a subscription's handler. What arrives beyond them
// is dropped and counted.
const (
	pendingMessages = 1 << 16
	pendingBytes    = 64 << 20
)

// Msg is a received message.
type Msg struct {
	Subject string
	Reply   string // the inbox where an answer is expected; empty if none is
	Data    []byte
}

// Sub is a subscription. Its handler is called from one goroutine, in the
// order of arrival. Up to 65,536 messages or 64 MiB wait for it; when more
// arrive, the new ones are dropped, counted by Dropped and logged at most once
// per ten seconds.
type Sub struct {
	b       *Bus
	subject string
	s       *nats.Subscription
	done    chan struct{}                              // closed when the handler's goroutine has ended
	local   *handOver                                  // of those that take frames, with a hub
	now     func(body []byte) (answer []byte, ok bool) // see HandleNow
	cluster func() uint64                              // of now
}

// Dropped is the number of messages that found the queue full.
func (s *Sub) Dropped() int {
	n, err := s.s.Dropped()
	if err != nil { // closed
		return 0
	}
	return n
}

// Close ends the subscription; what waits is not handled any more. It does not
// wait for the handler, which may call it. It may be called twice.
func (s *Sub) Close() error {
	s.part()
	err := s.s.Unsubscribe()
	if errors.Is(err, nats.ErrBadSubscription) || errors.Is(err, nats.ErrConnectionClosed) {
		return nil
	}
	return wrapNATS("unsubscribe", s.subject, err)
}

// Publish sends data to all subscribers. A nil error means that it was given to
// the connection, not that it arrived. data may be reused afterwards.
func (b *Bus) Publish(subject string, data []byte) error {
	if !b.connected.Load() {
		return fmt.Errorf("publish %s: %w", subject, b.downError())
	}
	return wrapNATS("publish", subject, b.nc.Publish(subject, data))
}

// downError says why there is no connection.
func (b *Bus) downError() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return ErrClosed
	}
	return ErrDisconnected
}

// Subscribe has h called with every message on a subject; * stands for any
// token and a last > for the rest. A remote member knows of a new subscription
// some milliseconds later.
func (b *Bus) Subscribe(subject string, h func(*Msg)) (*Sub, error) {
	return b.subscribe(subject, nil, func(m *nats.Msg) {
		h(&Msg{Subject: m.Subject, Reply: inboxOnly(m.Reply), Data: m.Data})
	})
}

func (b *Bus) subscribe(subject string, local *handOver, h nats.MsgHandler) (*Sub, error) {
	s := &Sub{b: b, subject: subject, local: local, done: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return nil, fmt.Errorf("subscribe %s: %w", subject, ErrClosed)
	}
	var err error
	if s.s, err = b.nc.Subscribe(subject, h); err != nil {
		return nil, wrapNATS("subscribe", subject, err)
	}
	b.subs[s] = struct{}{}
	s.s.SetClosedHandler(func(string) {
		b.mu.Lock()
		delete(b.subs, s)
		b.mu.Unlock()
		close(s.done)
	})
	if err := s.s.SetPendingLimits(pendingMessages, pendingBytes); err != nil {
		return nil, wrapNATS("subscribe", subject, err)
	}
	return s, nil
}

// Request sends data to whoever serves the subject and waits for the answer.
// It fails with ErrNoResponders, ErrForbidden, ErrTimeout (ctx's deadline passed),
// ErrDisconnected, or a *ServiceError if a service answered with one; in the
// last case the message is returned as well. A ctx without a deadline waits
// for five seconds.
func (b *Bus) Request(ctx context.Context, subject string, data []byte) (*Msg, error) {
	if !b.connected.Load() {
		return nil, fmt.Errorf("request %s: %w", subject, b.downError())
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
	}
	ctx, done := b.asked.expect(ctx, subject)
	defer done()
	m, err := b.nc.RequestWithContext(ctx, subject, data)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = nats.ErrTimeout
	case errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), ErrForbidden):
		err = ErrForbidden
	}
	if err != nil {
		return nil, wrapNATS("request", subject, err)
	}
	msg := &Msg{Subject: m.Subject, Reply: m.Reply, Data: m.Data}
	if what := m.Header.Get(micro.ErrorHeader); what != "" {
		return msg, fmt.Errorf("request %s: %w", subject,
			&ServiceError{Code: m.Header.Get(micro.ErrorCodeHeader), Description: what})
	}
	return msg, nil
}

// Flush returns when the member that we are connected to has processed all
// that was published and subscribed before. ctx needs a deadline.
func (b *Bus) Flush(ctx context.Context) error {
	if !b.connected.Load() {
		return fmt.Errorf("flush: %w", b.downError())
	}
	err := b.nc.FlushWithContext(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nats.ErrTimeout
	}
	return wrapNATS("flush", b.name, err)
}

// Handle has h called with every frame on a subject, as Subscribe does with
// messages. clusterID is asked for every frame; frames that name another ID are
// refused, as are malformed ones and those of another wire version: counted by
// Stats and, once meshID is known and not 0, logged at most once a minute.
func (b *Bus) Handle(subject string, clusterID func() uint64, h func(*Frame)) (*Sub, error) {
	return b.handle(subject, clusterID, h, nil)
}

func (b *Bus) handle(subject string, clusterID func() uint64, h func(*Frame), now func([]byte) ([]byte, bool)) (*Sub, error) {
	handle := b.frameHandler(clusterID, h)
	if b.hub == nil {
		return b.subscribe(subject, nil, handle)
	}
	q := newHandOver(b)
	s, err := b.subscribe(subject, q, func(m *nats.Msg) {
		q.one.Lock()
		defer q.one.Unlock()
		handle(m)
	})
	if err != nil {
		return nil, err
	}
	s.now, s.cluster = now, clusterID
	go q.run(handle)
	b.hub.add(s)
	return s, nil
}

// HandleNow is Handle for calls most of which can be answered without waiting. A
// call from within the process does not become part of a frame if now, which is
// called on the caller's goroutine, has the answer: one msgpack value that is not
// written to again. If now has none, the call takes the ordinary way.
func (b *Bus) HandleNow(subject string, clusterID func() uint64, h func(*Frame), now func(body []byte) (answer []byte, ok bool)) (*Sub, error) {
	return b.handle(subject, clusterID, h, now)
}

// part ends the hand-over within the process.
func (s *Sub) part() {
	if s.local != nil {
		s.b.hub.remove(s)
		s.local.close()
	}
}

// frameHandler decodes frames for h. The handler belongs to one subscription,
// so that it runs in one goroutine.
func (b *Bus) frameHandler(clusterID func() uint64, h func(*Frame)) nats.MsgHandler {
	last := new(scratch)
	return func(m *nats.Msg) {
		own := clusterID()
		f, err := parseFrame(m.Data, own, last)
		if err != nil {
			b.refused.Add(1)
			if own != 0 && b.frameLog.allow(time.Minute) {
				b.log.Warn("bus: frame refused", "subject", m.Subject, "bytes", len(m.Data), "err", err)
			}
			return
		}
		b.received.add(uint32(f.Len()), len(m.Data))
		f.Subject = m.Subject
		h(&f)
	}
}
