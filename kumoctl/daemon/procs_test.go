package daemon

import (
	"context"
	"runtime"
	"testing"
	"time"
)

func TestProcsFollowTheWork(t *testing.T) {
	p := &procs{least: 1, most: 4, now: 1}
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
			got = p.next(s.busy)
		}
		if got != s.want {
			t.Fatalf("step %d, %v busy %d times: %d processors, want %d", i, s.busy, s.times, got, s.want)
		}
	}
	two := &procs{least: 2, most: 2, now: 2}
	for range 100 {
		if n := two.next(0); n != 2 {
			t.Fatalf("%d processors, want at least 2", n)
		}
	}
}

// A process that gets work for more processors gets these.
func TestProcsAreSet(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	if before < 2 {
		t.Skip("there is one processor")
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); follow(ctx, 1) }()
	defer func() { cancel(); <-done }()
	await := func(n int) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for runtime.GOMAXPROCS(0) != n {
			if time.Now().After(deadline) {
				t.Fatalf("%d processors, want %d", runtime.GOMAXPROCS(0), n)
			}
			runtime.Gosched()
		}
	}
	await(1) // and by looking all the time there is work for another
	await(2)
}
