package proof

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// MaxConns bounds the connections that a listener keeps, one for each watcher.
const MaxConns = 4096

// acceptAgain is the pause after a failure to accept, such as a lack of file
// descriptors. Meanwhile the kernel accepts for the process.
const acceptAgain = 100 * time.Millisecond

// Listener says nothing, and only the end of the process closes it, or Close.
// It is opened before anything is granted to the process.
type Listener struct {
	l    net.Listener
	log  *slog.Logger
	done chan struct{} // closed by Close
	wg   sync.WaitGroup

	mu     sync.Mutex // guards the rest
	conns  map[net.Conn]struct{}
	closed bool
}

// Listen listens on a free TCP port of the host, which is the address of this
// machine as others see it.
func Listen(host string, log *slog.Logger) (*Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, fmt.Errorf("listen on %s for proof of this process's end: %w", host, err)
	}
	p := &Listener{l: l, log: log, done: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is what others watch, host:port. It is empty, which is nothing to watch,
// if the host named no address in particular: others would dial themselves, and
// take the end of another process for the end of this one.
func (p *Listener) Addr() string {
	if a, ok := p.l.Addr().(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		return ""
	}
	return p.l.Addr().String()
}

func (p *Listener) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			select {
			case <-p.done:
				return
			case <-time.After(acceptAgain):
				p.log.Debug("proof connection not accepted", "addr", p.l.Addr(), "err", err)
				continue
			}
		}
		if !p.keep(c) {
			c.Close()
			continue
		}
		p.wg.Go(func() {
			_, _ = io.Copy(io.Discard, c) // ends when the peer does
			c.Close()
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
		})
	}
}

// keep takes a connection among those that Close ends.
func (p *Listener) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if len(p.conns) >= MaxConns {
		p.log.Warn("too many proof connections, one is refused", "from", c.RemoteAddr())
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

// Close tells all watchers that the process is gone: it is the last step of a
// stop, after which nothing is done that was granted to the process. It may be
// called twice.
func (p *Listener) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.mu.Unlock()
	var err error
	if first {
		close(p.done)
		err = p.l.Close() // before the connections: who dials again must be refused
		p.mu.Lock()
		for c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
	}
	p.wg.Wait()
	return err
}
