package proof

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// MaxWatched bounds the slots of a watcher.
const MaxWatched = 4096

const (
	dialTimeout = time.Second            // of one dial
	pauseBefore = 250 * time.Millisecond // the next attempt, when one proved nothing
	// After a connection that was closed at once: short, since a process has its
	// last moments, but a listener that wants nobody must not keep us busy.
	pauseShort = 5 * time.Millisecond
)

// Watcher keeps one connection to the listener of each process that it watches.
// Its methods may be called from any goroutine.
type Watcher[K comparable] struct {
	ended func(K)
	log   *slog.Logger
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu   sync.Mutex // guards held
	held map[uint64]*watch[K]
}

// watch is the watch over one process.
type watch[K comparable] struct {
	process K
	addr    string
	stop    context.CancelFunc
}

// NewWatcher returns a watcher that calls ended once for each watched process
// that is proved gone, from a goroutine of its own. Close waits for the call,
// which so must not wait for Close.
func NewWatcher[K comparable](log *slog.Logger, ended func(K)) *Watcher[K] {
	w := &Watcher[K]{ended: ended, log: log, held: map[uint64]*watch[K]{}}
	w.ctx, w.stop = context.WithCancel(context.Background()) // #nosec G118 -- Close calls it
	return w
}

// Watch begins to watch a process whose listener is at addr, host:port, in place
// of an earlier one of the same slot, which is a place that one process at a
// time can have, such as a store. The same process again is nothing new, even if
// it was proved gone; an empty addr is nothing to watch. Beyond MaxWatched slots
// nothing is watched.
func (w *Watcher[K]) Watch(slot uint64, process K, addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.held[slot]
	if w.ctx.Err() != nil || addr == "" || old != nil && old.process == process && old.addr == addr {
		return
	}
	if old == nil && len(w.held) >= MaxWatched {
		w.log.Warn("too many processes to watch, one is not", "process", process, "proof", addr)
		return
	}
	if old != nil {
		old.stop()
	}
	ctx, stop := context.WithCancel(w.ctx)
	p := &watch[K]{process: process, addr: addr, stop: stop}
	w.held[slot] = p
	w.wg.Go(func() {
		defer stop()
		if waitEnd(ctx, addr) {
			w.log.Debug("process has ended", "process", process, "proof", addr)
			w.ended(process)
		}
	})
}

// Forget ends the watch of a slot, if there is one. A proof that was found
// already may still be told.
func (w *Watcher[K]) Forget(slot uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.held[slot]; old != nil {
		old.stop()
		delete(w.held, slot)
	}
}

// Close ends all watches and waits for them. It may be called twice; Watch does
// nothing any more.
func (w *Watcher[K]) Close() {
	w.mu.Lock()
	w.stop()
	w.mu.Unlock()
	w.wg.Wait()
}

// waitEnd returns true once the process that listens on addr is proved gone,
// false when ctx ends.
func waitEnd(ctx context.Context, addr string) bool {
	var seen evidence
	for ctx.Err() == nil {
		d := net.Dialer{Timeout: dialTimeout}
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			wait, gone := seen.failed(err)
			if gone {
				return true
			}
			pause(ctx, wait)
			continue
		}
		began := time.Now()
		seen.closed = peerCloses(ctx, conn)
		if seen.closed && time.Since(began) < pauseBefore {
			pause(ctx, pauseShort)
		}
	}
	return false
}

// evidence is what the attempts to connect to a process have shown so far.
type evidence struct {
	closed bool // the last connection was closed by the peer
}

// failed takes the error of a dial. It tells whether the process is gone, and
// otherwise after how long to dial again. A dial that is reset was accepted by
// the kernel and closed at once: the process is about to end. Any other error,
// a lack of file descriptors here or a lost packet, tells nothing and takes
// nothing back.
func (e *evidence) failed(err error) (again time.Duration, gone bool) {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return pauseBefore, e.closed
	case errors.Is(err, syscall.ECONNRESET):
		e.closed = true
		return pauseShort, false
	}
	return pauseBefore, false
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
