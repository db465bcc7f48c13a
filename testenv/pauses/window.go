package pauses

import (
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Window is what clients saw of some partitions in a stretch of time.
type Window struct {
	Reads, Writes time.Duration // the longest latency
	Operations    int
	Errors        int
}

// Window returns what was seen of operations that were scheduled in a stretch
// of time, or under way when it began, once all of them are answered. in says
// which partitions count.
func (p *Prober) Window(from time.Time, length time.Duration, in func(ring.Partition) bool) Window {
	return p.window(from, length, in, false)
}

// Before returns what was seen in the stretch of time before a fault: of
// operations that the fault caught, only what they had waited until then.
func (p *Prober) Before(fault time.Time, length time.Duration, in func(ring.Partition) bool) Window {
	return p.window(fault.Add(-length), length, in, true)
}

func (p *Prober) window(from time.Time, length time.Duration, in func(ring.Partition) bool, cut bool) Window {
	p.answered(from.Add(length))
	begin, end := from.Sub(p.began), from.Sub(p.began)+length
	var win Window
	for _, w := range p.workers {
		if !in(w.partition) {
			continue
		}
		w.mu.Lock()
		for i := len(w.samples) - 1; i >= 0; i-- {
			s := w.samples[i]
			if s.at >= end {
				continue
			}
			if s.at+s.took < begin {
				break
			}
			if cut && s.at+s.took > end {
				s.took, s.failed = end-s.at, false
			}
			win.add(s, w.writes)
		}
		w.mu.Unlock()
	}
	return win
}

func (win *Window) add(s sample, write bool) {
	win.Operations++
	if s.failed {
		win.Errors++
	}
	if write {
		win.Writes = max(win.Writes, s.took)
	} else {
		win.Reads = max(win.Reads, s.took)
	}
}

// answered waits until everything that was scheduled before a time has an
// answer, or has failed.
func (p *Prober) answered(before time.Time) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	edge := int64(before.Sub(p.began) - p.o.Every)
	for _, w := range p.workers {
		for w.at.Load() <= edge {
			<-tick.C
		}
	}
}

// Wait returns at a time. Clients go on meanwhile.
func (p *Prober) Wait(until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	<-timer.C
}

// Everywhere is for windows over all partitions.
func Everywhere(ring.Partition) bool { return true }
