package kumogateway

import (
	"bytes"
	"time"

	"github.com/etolabo/kumofs/kumogateway/memcache"
)

// rights are what a user may do, and what an operation needs.
type rights uint8

const (
	mayRead  rights = 1 << iota
	mayWrite        // which alone tells whether a key is there, and no value
	mayAll          // of an operation: what concerns other users, too; needs both, and no prefix
	free            // of an operation: anybody may, who he is or not
	anyUser         // of an operation: everybody who is in the file
)

// needs is what each operation needs. One that is not here nobody may.
var needs = [memcache.NumOps]rights{
	memcache.OpGet:         mayRead,
	memcache.OpDebug:       mayRead,
	memcache.OpGetAndTouch: mayRead | mayWrite,
	memcache.OpFetch:       mayRead | mayWrite,
	memcache.OpSet:         mayWrite,
	memcache.OpAdd:         mayWrite,
	memcache.OpReplace:     mayWrite,
	memcache.OpAppend:      mayWrite,
	memcache.OpPrepend:     mayWrite,
	memcache.OpCAS:         mayWrite,
	memcache.OpDelete:      mayWrite,
	memcache.OpTouch:       mayWrite,
	memcache.OpIncr:        mayRead | mayWrite, // they tell the value
	memcache.OpDecr:        mayRead | mayWrite,
	memcache.OpFlushAll:    mayAll,
	memcache.OpStats:       anyUser, // but see need
	memcache.OpVerbosity:   anyUser,
	memcache.OpShutdown:    anyUser, // which is refused to all
	memcache.OpListEnd:     anyUser, // asks for no key
	memcache.OpNoop:        anyUser,
	memcache.OpVersion:     free,
	memcache.OpQuit:        free,
	memcache.OpAuth:        free,
	memcache.OpMechanisms:  free,
	memcache.OpError:       free,
}

// need is what a request needs.
func need(r *memcache.Request) rights {
	if r.Op == memcache.OpStats {
		// Where others come from is not for everybody, nor that their counts begin anew.
		switch word := bytes.Fields(r.Args); {
		case len(word) > 0 && (string(word[0]) == "reset" || string(word[0]) == "conns"):
			return mayAll
		}
	}
	return needs[r.Op]
}

// allowed tells whether the client may do what it asks for, and if not, what to
// answer instead. It is the one place that decides: everything that a client asks
// for goes through it.
func (c *conn) allowed(r *memcache.Request) memcache.Status {
	if c.g.users == nil {
		return memcache.StatusOK
	}
	need := need(r)
	if need == free {
		return memcache.StatusOK
	}
	if c.grant = nil; c.user != nil {
		c.grant = c.user.grant.Load()
	}
	switch g := c.grant; {
	case g == nil: // not in the file any more, or never: parsers let nobody so far
		r.Close = true
		return memcache.StatusUnauthenticated
	case need == 0, need&mayAll != 0 && (g.prefix != "" || g.rights != mayRead|mayWrite):
		if r.Op == memcache.OpFlushAll {
			return memcache.StatusFlushDisabled
		}
		return memcache.StatusNotAllowed
	case need&mayRead&^g.rights != 0:
		return memcache.StatusReadNotAllowed
	case need&mayWrite&^g.rights != 0:
		return memcache.StatusWriteNotAllowed
	}
	return memcache.StatusOK
}

// prefix is put before the key of the request that is carried out.
func (c *conn) prefix() (outer, inner string) {
	if outer = c.g.o.KeyPrefix; c.grant != nil {
		inner = c.grant.prefix
	}
	return outer, inner
}

const (
	// loginFor is how long a client may take until it is known who it is.
	loginFor = time.Minute
	// maxTries is how often a connection may name a wrong password before it is
	// closed; each time it waits twice as long as before, from firstWait on.
	maxTries  = 5
	firstWait = 100 * time.Millisecond
)

// authenticate answers a client that named a user and a password, and lets it in
// if they are right.
func (c *conn) authenticate(r *memcache.Request) {
	c.aside(func() { c.user = c.g.users.check(r.Key, r.Value) })
	if c.user != nil {
		c.tries = 0
		c.parser.Admit()
		c.answer(r, memcache.Reply{Value: []byte("Authenticated")})
		return
	}
	c.g.refused.note(func(unsaid int) { // the name may be a password, where it should not be
		c.g.o.Log.Warn("a client names a wrong user or password", "client", client(c.nc), "unlogged", unsaid)
	})
	c.aside(func() { c.g.rest(firstWait << c.tries) })
	c.tries++
	r.Close = c.tries == maxTries
	c.answer(r, memcache.Reply{Status: memcache.StatusAuthFailed})
}
