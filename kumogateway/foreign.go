package kumogateway

import (
	"bytes"
	"sync"
	"time"

	"github.com/etolabo/kumofs/kumogateway/memcache"
)

// foreignEvery is how often clients that speak something else are logged.
const foreignEvery = time.Minute

// foreign tells a client that speaks another protocol so.
func (c *conn) foreign(begin []byte) {
	c.stranger(begin)
	c.answer(&memcache.Request{Op: memcache.OpError, Close: true}, memcache.Reply{Status: memcache.StatusNoSyntax})
}

// stranger logs a client that speaks another protocol. What it sent names the
// protocol in the log.
func (c *conn) stranger(begin []byte) {
	c.g.strangers.note(func(unsaid int) {
		c.g.o.Log.Warn("a client does not speak memcached's protocol: connection closed",
			"client", c.nc.RemoteAddr(), "looks_like", guess(begin), "unlogged", unsaid)
	})
}

// guess names the protocol that begins like this.
func guess(begin []byte) string {
	switch {
	case bytes.HasPrefix(begin, []byte{0x16, 0x03}):
		return "TLS"
	case bytes.HasPrefix(begin, []byte("*")):
		return "Redis"
	case bytes.Contains(begin, []byte(" HTTP/")):
		return "HTTP"
	}
	return "unknown"
}

// sometimes lets through one call in a while.
type sometimes struct {
	mu     sync.Mutex
	last   time.Time
	unsaid int
}

// note calls f with the number of calls that it left out before, or leaves this
// one out.
func (s *sometimes) note(f func(unsaid int)) {
	s.mu.Lock()
	now := time.Now()
	if !s.last.IsZero() && now.Sub(s.last) < foreignEvery {
		s.unsaid++
		s.mu.Unlock()
		return
	}
	unsaid := s.unsaid
	s.last, s.unsaid = now, 0
	s.mu.Unlock()
	f(unsaid)
}
