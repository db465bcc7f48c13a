package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/daemon"
)

// running is a daemon that was started.
type running interface {
	// pid of the process that it is or lives in.
	pid() int
	// ended is closed when it is no more; err tells why, nil after stop.
	ended() <-chan struct{}
	err() error
	// stop asks it to end in good order. It does not wait.
	stop()
	// signal is for processes only.
	signal(syscall.Signal) error
}

// ErrNoProcess says that a daemon without a process cannot be killed or paused.
var ErrNoProcess = errors.New("the daemon is no process of its own")

// inProcess is a daemon as goroutines.
type inProcess struct {
	cancel context.CancelFunc
	done   chan struct{}
	failed error // written before done is closed
}

// startInProcess opens a daemon and runs it.
func startInProcess(args []string, log *slog.Logger, hub *bus.Hub, m cli.Memory) (*inProcess, error) {
	d, err := daemon.Open(args, log, hub, m)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &inProcess{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer cancel()
		err := d.Run(ctx)
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		p.failed = errors.Join(err, d.Close())
	}()
	return p, nil
}

func (p *inProcess) pid() int               { return os.Getpid() }
func (p *inProcess) ended() <-chan struct{} { return p.done }
func (p *inProcess) stop()                  { p.cancel() }
func (p *inProcess) err() error             { <-p.done; return p.failed }

func (p *inProcess) signal(s syscall.Signal) error {
	return fmt.Errorf("signal %s: %w", s, ErrNoProcess)
}
