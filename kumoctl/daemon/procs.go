package daemon

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/etolabo/kumofs/kumoctl/cli"
)

// A daemon runs Go code on as many processors as its work fills (GOMAXPROCS). One
// that it leaves half idle costs more than it gives: a goroutine that becomes
// ready wakes it, and it finds nothing more to do. For a gateway with one busy
// processor's work that is a fifth of all processor time.
//
// A gateway begins with one. Others keep two at least, since a goroutine of theirs
// may hold one up in a page fault or a write to a disk that hangs.

// procs decides for how many processors there is work.
type procs struct {
	least, most int
	now         int
	low         int // looks in turn that one less would have been enough for
}

const (
	procsEvery = 250 * time.Millisecond
	// procsFull is the part of its processors with which a daemon gets as many again, and
	// procsSpare the part of one less with which it is content with that, for
	// procsCalm looks in turn.
	procsFull  = 0.85
	procsSpare = 0.7
	procsCalm  = 8
)

func leastProcs(role string) int {
	if role == "gateway" {
		return 1
	}
	return 2
}

// next says on how many processors to run after a time in which so many were busy.
func (p *procs) next(busy float64) int {
	switch {
	case busy > procsFull*float64(p.now):
		p.now, p.low = 2*p.now, 0 // a burst may need all, and one too many costs little
	case busy < procsSpare*float64(p.now-1):
		if p.low++; p.low >= procsCalm {
			p.now, p.low = p.now-1, 0
		}
	default:
		p.low = 0
	}
	p.now = max(p.least, min(p.now, p.most))
	return p.now
}

// adaptive is a daemon, alone in its process, that takes as many processors as it
// has work for.
type adaptive struct {
	cli.Daemon
	role string
}

// Run is the daemon's. Whoever sets GOMAXPROCS decides for himself.
func (a *adaptive) Run(ctx context.Context) error {
	if os.Getenv("GOMAXPROCS") != "" {
		return a.Daemon.Run(ctx)
	}
	tick := time.NewTicker(procsEvery)
	defer tick.Stop()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		follow(stop, leastProcs(a.role), tick.C, busySince())
	}()
	defer func() {
		close(stop)
		<-done
	}()
	return a.Daemon.Run(ctx)
}

// follow sets the processors at each tick, by how many were busy since the last.
func follow(stop <-chan struct{}, least int, tick <-chan time.Time, busy func() float64) {
	most := runtime.GOMAXPROCS(0) // the machine's, or what its cgroup may use
	p := &procs{least: min(least, most), most: most, now: min(least, most)}
	runtime.GOMAXPROCS(p.now)
	for {
		select {
		case <-stop:
			return
		case <-tick:
		}
		was := p.now
		if n := p.next(busy()); n != was {
			runtime.GOMAXPROCS(n)
		}
	}
}

// busySince returns a function that tells how many processors this process kept
// busy since it was called last.
func busySince() func() float64 {
	used, at := processorTime(), time.Now()
	return func() float64 {
		u, now := processorTime(), time.Now()
		busy := float64(u-used) / float64(now.Sub(at))
		used, at = u, now
		return busy
	}
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
