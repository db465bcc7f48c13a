package bus

import (
	"time"

	"github.com/nats-io/nats.go"
)

// answers is the connection within the process on which a member with credentials
// serves: it may send to inboxes alone. NATS's services answer some questions, those
// below $SRV, by themselves and wherever the one who asks wants it, which must not be
// in the member's name.
type answers struct {
	own    *ownIdentity
	nc     *nats.Conn    // nil before connect
	closed chan struct{} // closed when nc has told that it is closed
	log    limiter       // its own, or whoever asks so would keep other warnings back
}

func newAnswers() (*answers, error) {
	own, err := newOwnIdentity()
	return &answers{own: own, closed: make(chan struct{})}, err
}

func (a *answers) connect(b *Bus) (err error) {
	opts := append(clientOptions(b.name+" services", func(bool) {}), localOptions(b.srv)...)
	opts = append(opts,
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			if s == nil && a.log.allow(logPeriod) {
				b.log.Warn("bus: an answer was not sent: somebody wants it where no answers go", "err", err)
			}
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(a.closed) }))
	a.nc, err = dialNATS(nil, append(opts, a.own.options()...))
	return err
}

// close has what is being answered leave; of none it does nothing.
func (a *answers) close() {
	if a == nil || a.nc == nil {
		return
	}
	if a.nc.Drain() == nil {
		drained := time.NewTimer(drainTimeout + drainTimeout/2)
		select {
		case <-a.closed:
		case <-drained.C:
		}
		drained.Stop()
	}
	a.nc.Close()
	<-a.closed
}
