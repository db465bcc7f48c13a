package bus

import (
	"errors"
	"fmt"
	"net"

	"github.com/nats-io/nats.go"
)

// What Publish, Request and calls answer with, for errors.Is.
var (
	// ErrTimeout says that no answer came in time; whether the request was
	// carried out is not known.
	ErrTimeout = errors.New("bus: timeout")
	// ErrNoResponders says that the mesh knew of no subscriber when the request
	// arrived. It proves nothing about the subscriber itself.
	ErrNoResponders = errors.New("bus: no responders")
	// ErrClosed says that the bus, caller or lane has been closed.
	ErrClosed = errors.New("bus: closed")
	// ErrOverloaded says that the queue to a destination is full; the call was
	// not sent.
	ErrOverloaded = errors.New("bus: overloaded")
	// ErrDisconnected says that the connection broke, or is not up. A call that
	// had been sent may or may not be carried out.
	ErrDisconnected = errors.New("bus: disconnected")
	// ErrForbidden says that the credentials do not allow to send on a subject.
	ErrForbidden = errors.New("bus: the credentials do not allow that")
	// ErrTooLarge says that a message is larger than the mesh carries; it was
	// not sent.
	ErrTooLarge = errors.New("bus: message too large")
)

// ListenError says which listener could not be opened. It unwraps to the
// cause, such as syscall.EADDRINUSE.
type ListenError struct {
	What string // "client" or "route"
	Addr string // host:port
	Err  error
}

// Error names the port, as in "listen for clients on 127.0.0.1:19800: address
// already in use".
func (e *ListenError) Error() string {
	return fmt.Sprintf("listen for %ss on %s: %v", e.What, e.Addr, rootCause(e.Err))
}

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }

// rootCause strips net.OpError's and os.SyscallError's repetition of the
// address and the system call.
func rootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// ServiceError is the answer of a service endpoint that failed.
type ServiceError struct {
	Code        string // a number, as HTTP has them, e.g. "500"
	Description string
}

// Error returns the description.
func (e *ServiceError) Error() string { return e.Description }

// wrapNATS gives NATS's errors our names, with the operation and the subject.
func wrapNATS(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	ours := err
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		ours = ErrNoResponders
	case errors.Is(err, nats.ErrTimeout):
		ours = ErrTimeout
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		ours = ErrClosed
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected),
		errors.Is(err, nats.ErrConnectionReconnecting), isTimeout(err):
		ours = ErrDisconnected
	case errors.Is(err, nats.ErrMaxPayload):
		ours = ErrTooLarge
	}
	return fmt.Errorf("%s %s: %w", op, subject, ours)
}

// isTimeout tells whether err is an expired deadline of a socket: the peer took
// nothing for flushTimeout.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
