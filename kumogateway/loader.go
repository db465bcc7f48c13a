package kumogateway

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumogateway/memcache"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Loader stores records in a cluster, as a gateway does for its clients, without
// being one: nobody can connect to it, and it does not show in status. Its methods
// may be called from any goroutine.
type Loader struct {
	o      Options
	bus    *bus.Bus
	router *router

	mu  sync.Mutex
	ops map[*op]func(error) // guarded by mu; those that are under way
}

// OpenLoader connects to a cluster. It does not wait for it. Of the options it
// looks at Cluster, Managers, Security, MaxItemSize, OpTimeout and Log.
func OpenLoader(o Options) (_ *Loader, err error) {
	o.Listen, o.Bus, o.KeyPrefix = []string{"none"}, nil, ""
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("open loader: %w", err)
	}
	l := &Loader{o: o, ops: make(map[*op]func(error))}
	boot := newBootID()
	l.bus, err = bus.Dial(bus.DialOptions{
		Name: "loader-" + boot.String(), URLs: o.Managers, Security: o.Security, Log: o.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("open loader: %w", err)
	}
	if l.router, err = openRouter(&l.o, newLimits(&l.o), l.bus, boot, l.underWay); err != nil {
		l.bus.Close()
		return nil, err
	}
	return l, nil
}

// Store stores a record under its key, whatever was there: value, flags, expiry
// (Unix seconds; 0: never) and, where a client had chosen it, the CAS token. The
// record may be used again. done is called once, on any goroutine, and must not
// wait: with nil when the record is stored as a gateway's STORED says, and with what
// a client would be told otherwise. The caller bounds how many are under way.
func (l *Loader) Store(r *subjects.Record, done func(error)) {
	req := memcache.Request{Op: memcache.OpSet, Value: r.Value, Flags: r.Flags, Exptime: r.Expiry}
	if r.Token != 0 {
		req.Meta = &memcache.Meta{Mint: true, Token: r.Token}
	}
	o := &op{
		r: l.router, owner: l, try: new(attempt), req: memcache.Request{Op: req.Op}, hash: ring.Hash(r.Key),
		verb: subjects.VerbSet, lasts: l.o.OpTimeout, deadline: time.Now().Add(l.o.OpTimeout),
	}
	l.mu.Lock()
	l.ops[o] = done
	l.mu.Unlock()
	l.router.send(o, &req, r.Key)
}

// finish implements owner.
func (l *Loader) finish(o *op, a *memcache.Reply, _ *bus.Batch) {
	l.mu.Lock()
	done := l.ops[o]
	delete(l.ops, o)
	l.mu.Unlock()
	var err error
	if a.Status != memcache.StatusOK {
		err = errors.New(a.Status.String())
	}
	done(err)
}

// underWay calls f with what is under way; see openRouter.
func (l *Loader) underWay(f func(*op)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for o := range l.ops {
		f(o)
	}
}

// Close ends what is under way with an error, and hangs up. It may be called once.
func (l *Loader) Close() error {
	l.router.close()
	return l.bus.Close()
}
