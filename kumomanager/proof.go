package kumomanager

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
)

const (
	proofDial  = time.Second            // time-out of one dial
	proofPause = 250 * time.Millisecond // between attempts that proved nothing
	maxProofs  = maxMembers
)

// proofs keeps one connection to each server's proof listener, which nothing but
// the end of the process closes: a connection that the peer closed, and then a
// refused dial to the same address, show that the process is gone. Nothing else
// shows anything.
type proofs struct {
	ended func(ring.Process) // called once per process, from a goroutine of its own
	log   *slog.Logger
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu   sync.Mutex // guards held
	held map[ring.NodeID]*proof
}

// proof is the watch over one process.
type proof struct {
	process ring.Process
	addr    string
	stop    context.CancelFunc
}

func newProofs(log *slog.Logger, ended func(ring.Process)) *proofs {
	p := &proofs{ended: ended, log: log, held: map[ring.NodeID]*proof{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// watch begins to watch a process, in place of an earlier one of its store.
func (p *proofs) watch(process ring.Process, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.held[process.Store]
	if p.ctx.Err() != nil || addr == "" || old != nil && old.process == process && old.addr == addr {
		return
	}
	if old == nil && len(p.held) >= maxProofs {
		return
	}
	if old != nil {
		old.stop()
	}
	ctx, stop := context.WithCancel(p.ctx)
	w := &proof{process: process, addr: addr, stop: stop}
	p.held[process.Store] = w
	p.wg.Go(func() {
		if w.wait(ctx) {
			p.log.Debug("process has ended", "process", process, "proof", addr)
			p.ended(process)
		}
	})
}

// close ends all watches and waits for them.
func (p *proofs) close() {
	p.mu.Lock()
	p.stop()
	p.mu.Unlock()
	p.wg.Wait()
}

// wait returns true once the process is proved gone, false when ctx ends.
func (w *proof) wait(ctx context.Context) bool {
	defer w.stop()
	closed := false // the last connection was closed by the peer
	for ctx.Err() == nil {
		d := net.Dialer{Timeout: proofDial}
		conn, err := d.DialContext(ctx, "tcp", w.addr)
		if err != nil {
			if closed && errors.Is(err, syscall.ECONNREFUSED) {
				return true
			}
			closed = false
			pause(ctx, proofPause)
			continue
		}
		began := time.Now()
		closed = peerCloses(ctx, conn)
		if closed && time.Since(began) < proofPause {
			// The last moments of a process, or a listener that wants nobody:
			// quick for the first, and no busy loop with the second.
			pause(ctx, 5*time.Millisecond)
		}
	}
	return false
}

// peerCloses waits for the end of a connection and reports whether the peer
// closed it.
func peerCloses(ctx context.Context, conn net.Conn) bool {
	defer conn.Close()
	unhook := context.AfterFunc(ctx, func() { conn.Close() })
	defer unhook()
	_, err := io.Copy(io.Discard, conn)
	return ctx.Err() == nil && (err == nil || errors.Is(err, syscall.ECONNRESET))
}

// pause waits, or returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
