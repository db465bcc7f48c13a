package daemon

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumoctl/cli"
)

func TestProcsFollowTheWork(t *testing.T) {
	p := &procs{most: 4, now: 1}
	steps := []struct {
		busy  float64
		times int
		want  int
	}{
		{0.1, 100, 1},
		{0.8, 100, 1},
		{0.9, 1, 2}, // full
		{1.2, 100, 2},
		{0.75, 100, 2}, // one would be nearly full
		{0.6, 7, 2},
		{0.75, 1, 2}, // not in turn
		{0.6, 7, 2},
		{0.6, 1, 1},
		{0.99, 1, 2},
		{1.9, 1, 4},
		{4, 100, 4}, // there are no more
		{0, 8, 3},
		{0, 8, 2},
		{0, 100, 1},
	}
	for i, s := range steps {
		got := 0
		for range s.times {
			got = p.next(use{busy: s.busy})
		}
		if got != s.want {
			t.Fatalf("step %d, %v busy %d times: %d processors, want %d", i, s.busy, s.times, got, s.want)
		}
	}
}

// Who waits for pages has a second processor meanwhile, and a while longer.
func TestProcsForPageFaults(t *testing.T) {
	p := &procs{most: 4, now: 1}
	for range 3 * procsCalm {
		if n := p.next(use{faults: true}); n != 2 {
			t.Fatalf("%d processors while pages are waited for, want 2", n)
		}
	}
	for i := range procsCalm {
		if n, want := p.next(use{}), 2-(i+1)/procsCalm; n != want {
			t.Fatalf("%d processors %d looks later, want %d", n, i+1, want)
		}
	}
	slow := &procs{most: 4, now: 1}
	if n := slow.next(use{syncs: 0.3}); n != 2 {
		t.Errorf("%d processors while syncs are waited for, want 2", n)
	}
	if n := (&procs{most: 4, now: 1}).next(use{syncs: 0.01}); n != 1 {
		t.Errorf("%d processors where syncs take no time, want 1", n)
	}
	alone := &procs{most: 1, now: 1}
	if n := alone.next(use{faults: true}); n != 1 {
		t.Errorf("%d processors where there is one", n)
	}
}

// A process that has work for more processors gets these, and gives them back.
func TestProcsAreSet(t *testing.T) {
	before := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(before)
	stop, done := make(chan struct{}), make(chan struct{})
	tick, busy := make(chan time.Time), make(chan float64)
	go func() {
		defer close(done)
		follow(stop, tick, func() use { return use{busy: <-busy} })
	}()
	defer func() { close(stop); <-done }()
	// What a tick changed can be seen when the next is taken.
	for _, step := range []struct {
		busy float64
		want int // before it
	}{{0.5, 1}, {1, 1}, {2, 2}, {3, 4}, {4, 4}} {
		tick <- time.Time{}
		if n := runtime.GOMAXPROCS(0); n != step.want {
			t.Fatalf("%d processors, want %d before %v are busy", n, step.want, step.busy)
		}
		busy <- step.busy
	}
	for range 3 * procsCalm {
		tick <- time.Time{}
		busy <- 0.1
	}
	tick <- time.Time{}
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Errorf("%d processors in the end, want 1", n)
	}
	busy <- 0
}

// What a process has used is measured.
func TestUseSince(t *testing.T) {
	since := useSince(func() time.Duration { return 0 })
	deadline := time.Now().Add(time.Minute)
	for {
		for n := 0; n < 1e8; n++ {
		}
		switch b := since().busy; {
		case b > 0:
			return
		case b < 0 || time.Now().After(deadline):
			t.Fatalf("%v processors were busy", b)
		}
	}
}

// What a server waits for its disk is known through all that is put around it.
func TestWaitsOfAServerAreKnown(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs many loopback addresses")
	}
	addr := fmt.Sprintf("127.%d.%d.1:19800", 1+rand.IntN(253), rand.IntN(256))
	args := []string{"server", "-l", addr, "-m", "127.0.0.1:1", "-s", t.TempDir(), "--http", "127.0.0.1:0"}
	d, err := Open(args, slog.New(slog.DiscardHandler), nil, cli.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if waited := d.(running).waited(); waited == 0 {
		t.Error("its log is on the disk, and it has waited for no sync")
	}
}
