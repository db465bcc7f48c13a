package bus

import (
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/micro"
)

// ServiceOptions describe a NATS micro service, which the nats command finds
// with "nats service ls" (https://github.com/nats-io/nats.go/tree/main/micro).
type ServiceOptions struct {
	Name        string // letters, digits, - and _
	Version     string // semantic version, e.g. "1.0.0"
	Description string
	Metadata    map[string]string
	Endpoints   []Endpoint
}

// Endpoint is one subject of a service. Where several instances serve the same
// subject, one of them gets each request.
type Endpoint struct {
	Name    string // letters, digits, - and _
	Subject string
	// Handler is called from one goroutine per endpoint. An error is answered
	// in NATS's error headers, with a *ServiceError's code, or "500", and
	// comes out of Request as a *ServiceError.
	Handler func(req []byte, subject string) ([]byte, error)
}

// service is a running micro service.
type service struct {
	b    *Bus
	svc  micro.Service
	once sync.Once
	err  error
}

// Service starts serving; stop ends it and may be called twice. Close of the
// bus ends it too.
func (b *Bus) Service(o ServiceOptions) (stop func() error, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return nil, fmt.Errorf("service %s: %w", o.Name, ErrClosed)
	}
	nc := b.nc
	if b.answers != nil {
		nc = b.answers.nc
	}
	svc, err := micro.AddService(nc, micro.Config{
		Name:        o.Name,
		Version:     o.Version,
		Description: o.Description,
		Metadata:    o.Metadata,
	})
	if err != nil {
		return nil, fmt.Errorf("service %s: %w", o.Name, err)
	}
	s := &service{b: b, svc: svc}
	for _, e := range o.Endpoints {
		err := svc.AddEndpoint(e.Name, b.endpoint(e), micro.WithEndpointSubject(e.Subject))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("service %s, endpoint %s: %w", o.Name, e.Name, err), svc.Stop())
		}
	}
	if b.answers != nil { // others are told of the service by the bus's connection
		if err := nc.FlushTimeout(startTimeout); err != nil {
			return nil, errors.Join(fmt.Errorf("service %s: %w", o.Name, err), svc.Stop())
		}
	}
	b.stops[s] = struct{}{}
	return func() error {
		b.mu.Lock()
		delete(b.stops, s)
		b.mu.Unlock()
		return s.stop()
	}, nil
}

func (s *service) stop() error {
	s.once.Do(func() {
		if err := s.svc.Stop(); err != nil {
			s.err = fmt.Errorf("stop service %s: %w", s.svc.Info().Name, err)
		}
	})
	return s.err
}

// endpoint adapts a handler.
func (b *Bus) endpoint(e Endpoint) micro.Handler {
	return micro.HandlerFunc(func(r micro.Request) {
		if inboxOnly(r.Reply()) == "" {
			return
		}
		answer, err := e.Handler(r.Data(), r.Subject())
		if err != nil {
			code := "500"
			var se *ServiceError
			if errors.As(err, &se) && se.Code != "" {
				code = se.Code
			}
			err = r.Error(code, err.Error(), answer)
		} else {
			err = r.Respond(answer)
		}
		if err != nil && b.slowLog.allow(logPeriod) {
			b.log.Warn("bus: answer not sent", "subject", r.Subject(), "err", err)
		}
	})
}
