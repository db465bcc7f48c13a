package cli

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

const (
	// tellEvery is how often it is looked whether there is something new to tell.
	tellEvery = 500 * time.Millisecond
	// maxStatus bounds STATUS=, in bytes.
	maxStatus = 200
)

// notifier tells systemd, or whoever else gave NOTIFY_SOCKET, how the daemon is:
// READY when it can serve, STATUS with what it does, WATCHDOG while its loops
// answer, STOPPING. Without a socket it does nothing.
type notifier struct {
	log      *slog.Logger
	watchdog time.Duration // 0: nobody waits for us
	stop     chan struct{}
	wg       sync.WaitGroup
	once     sync.Once

	mu     sync.Mutex
	ready  bool
	failed bool // to tell; said once
}

func newNotifier(log *slog.Logger) (*notifier, error) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("WATCHDOG_USEC, WATCHDOG_PID: %w", err)
	}
	return &notifier{log: log, watchdog: every, stop: make(chan struct{})}, nil
}

// tell sends a line, and reports whether somebody wants to hear any.
func (n *notifier) tell(state string) bool {
	sent, err := daemon.SdNotify(false, state)
	if err != nil {
		n.mu.Lock()
		said := n.failed
		n.failed = true
		n.mu.Unlock()
		if !said {
			n.log.Warn("the supervisor that NOTIFY_SOCKET names cannot be told how this daemon is", "err", err)
		}
	}
	return sent || err != nil
}

// start tells of the daemon until ctx ends, or close is called.
func (n *notifier) start(ctx context.Context, d Daemon) {
	r, ok := d.(Reporter)
	if !ok || !n.tell("STATUS=starting") {
		return
	}
	n.wg.Go(func() { n.follow(ctx, r) })
	if n.watchdog > 0 {
		n.wg.Go(func() { n.watch(ctx, r) })
	}
}

// follow tells what changes.
func (n *notifier) follow(ctx context.Context, r Reporter) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	said := ""
	for {
		state := r.Doing()
		if len(state) > maxStatus {
			state = state[:maxStatus]
		}
		if state != said {
			n.tell("STATUS=" + state)
			said = state
		}
		n.mu.Lock()
		first := !n.ready && r.CanServe()
		n.ready = n.ready || first
		n.mu.Unlock()
		if first {
			n.tell(daemon.SdNotifyReady)
		}
		select {
		case <-ctx.Done():
		case <-n.stop: // it ends by itself
		case <-tick.C:
			continue
		}
		n.tell(daemon.SdNotifyStopping + "\nSTATUS=stopping")
		return
	}
}

// watch has the daemon's loops answer, and says nothing while one does not.
func (n *notifier) watch(ctx context.Context, r Reporter) {
	every := n.watchdog / 3
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		within, cancel := context.WithTimeout(ctx, every)
		err := r.Alive(within)
		cancel()
		if err == nil || ctx.Err() != nil {
			n.tell(daemon.SdNotifyWatchdog)
		} else {
			n.log.Error("a loop of this daemon does not answer; the watchdog is not told that it lives", "err", err)
		}
		select {
		case <-ctx.Done(): // a stop has a bound of its own
			n.tell(daemon.SdNotifyWatchdog)
			return
		case <-n.stop:
			return
		case <-tick.C:
		}
	}
}

// reloading tells that the configuration is being read again while f does so.
func (n *notifier) reloading(f func() error) error {
	n.mu.Lock()
	ready := n.ready
	n.mu.Unlock()
	if !ready {
		return f()
	}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil {
		n.tell(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
		defer n.tell(daemon.SdNotifyReady)
	}
	return f()
}

func (n *notifier) close() {
	n.once.Do(func() { close(n.stop) })
	n.wg.Wait()
}
