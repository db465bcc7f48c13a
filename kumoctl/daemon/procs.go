package daemon

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

// A daemon runs Go code on as many processors as its work fills (GOMAXPROCS). One
// that it leaves half idle costs more than it gives: a goroutine that becomes
// ready wakes it, and it finds nothing more to do. For a gateway with one busy
// processor's work that is a fifth of all processor time.
//
// A goroutine that waits for a page of a file which is mapped (bbolt's) holds its
// processor up, and one in a system call does so for up to 20 ms, until Go's monitor
// looks (cli.KeepMonitor). A daemon that waited for its disk lately keeps two at
// least. The first such wait after a while of none may hold all of it up: a disk
// that hangs just then makes a server silent, which others notice.

// procs decides for how many processors there is work.
type procs struct {
	most int
	now  int
	low  int // looks in turn that one less would have been enough for
}

const (
	procsEvery = 250 * time.Millisecond
	// procsFull is the part of its processors with which a daemon gets as many again, and
	// procsSpare the part of one less with which it is content with that, for
	// procsCalm looks in turn.
	procsFull  = 0.85
	procsSpare = 0.7
	procsCalm  = 8
	// procsSyncs is the part of the time for which a disk may be waited for on one
	// processor. A fast disk's syncs take less, and a second processor costs more.
	procsSyncs = 0.02
)

// use is what a process did in a time: how many processors it kept busy, whether
// it waited for pages from a disk, and for which part of the time for syncs.
type use struct {
	busy   float64
	faults bool
	syncs  float64
}

// next says on how many processors to run after a time of such use.
func (p *procs) next(u use) int {
	least := 1
	if u.faults || u.syncs > procsSyncs {
		least = 2
	}
	switch {
	case u.busy > procsFull*float64(p.now):
		p.now, p.low = 2*p.now, 0 // a burst may need all, and one too many costs little
	case u.busy < procsSpare*float64(p.now-1) && p.now > least:
		if p.low++; p.low >= procsCalm {
			p.now, p.low = p.now-1, 0
		}
	default:
		p.low = 0
	}
	p.now = min(max(p.now, least), p.most)
	return p.now
}

// adaptive is a daemon, alone in its process, that takes as many processors as it
// has work for.
type adaptive struct{ running }

// Run is the daemon's. Whoever sets GOMAXPROCS decides for himself.
func (a *adaptive) Run(ctx context.Context) error {
	if os.Getenv("GOMAXPROCS") != "" {
		return a.running.Run(ctx)
	}
	tick := time.NewTicker(procsEvery)
	defer tick.Stop()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		follow(stop, tick.C, useSince(a.waited))
	}()
	defer func() {
		close(stop)
		<-done
	}()
	return a.running.Run(ctx)
}

// follow sets the processors at each tick, by the use since the last.
func follow(stop <-chan struct{}, tick <-chan time.Time, since func() use) {
	// All that the machine has, or what its cgroup may use.
	p := &procs{most: runtime.GOMAXPROCS(0), now: 1}
	var r rest
	runtime.GOMAXPROCS(p.now)
	for {
		select {
		case <-stop:
			return
		case <-tick:
		}
		was, u := p.now, since()
		if n := p.next(u); n != was {
			runtime.GOMAXPROCS(n)
		}
		if r.begins(u.busy) {
			debug.FreeOSMemory()
		}
	}
}

// useSince returns a function that tells how this process was used since it was
// called last; waited is how long it has waited for syncs so far.
func useSince(waited func() time.Duration) func() use {
	was, waits, at := usage(), waited(), time.Now()
	return func() use {
		is, more, now := usage(), waited(), time.Now()
		u := use{
			busy:   float64(is.cpu-was.cpu) / float64(now.Sub(at)),
			faults: is.faults > was.faults,
			syncs:  float64(more-waits) / float64(now.Sub(at)),
		}
		was, waits, at = is, more, now
		return u
	}
}

// used is what a process has used so far.
type used struct {
	cpu    time.Duration
	faults int64 // pages that came from a disk
}

func usage() used {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return used{}
	}
	return used{time.Duration(r.Utime.Nano() + r.Stime.Nano()), int64(r.Majflt)}
}
