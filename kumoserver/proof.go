package kumoserver

import (
	"io"
	"log/slog"
	"net"
	"sync"
)

// proof is a listener that says nothing and that only the end of the process
// closes: a connection to it that was closed, followed by a refused one, proves
// to a peer that the process is gone. It is opened before anything is granted
// to this process, and nothing but Close, the last step of a stop, ends it.
type proof struct {
	l     net.Listener
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// maxProofs bounds the connections; every manager and server keeps one.
const maxProofs = 4096

func openProof(listen string, log *slog.Logger) (*proof, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, err
	}
	p := &proof{l: l, conns: map[net.Conn]struct{}{}}
	p.wg.Go(func() { p.accept(log) })
	return p, nil
}

func (p *proof) addr() string { return p.l.Addr().String() }

func (p *proof) accept(log *slog.Logger) {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		full := len(p.conns) >= maxProofs
		if !full {
			p.conns[c] = struct{}{}
		}
		p.mu.Unlock()
		if full {
			log.Warn("too many proof connections, one is refused", "from", c.RemoteAddr())
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

func (p *proof) close() {
	p.l.Close()
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}
