package bus_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
)

// looper is a client of the kind that a gateway's connection is: it makes its
// next call when the last one is answered, from wherever that comes in.
type looper struct {
	l    *bus.Lane
	body []byte
	left *atomic.Int64
	bad  *atomic.Int64
	wg   *sync.WaitGroup
}

func (p *looper) Done(_ []byte, err error, _ *bus.Batch) {
	if err != nil {
		p.bad.Add(1)
	}
	if p.left.Add(-1) < 0 {
		p.wg.Done()
		return
	}
	p.l.Call("echo", time.Now().Add(5*time.Second), p.body, p)
}

// cpu is the time that this process has had on the processors. It is what to
// compare by on a machine that others use too.
func cpu(b testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCalls is calls of 1 KiB, answered alike, between two members of a
// mesh in one process.
func BenchmarkCalls(b *testing.B) {
	for _, bb := range []struct {
		name     string
		direct   bool
		inFlight int
	}{
		{"routed", false, 2},
		{"routed-not-coalesced", false, 1 << 20},
		{"direct-1", true, 1},
		{"direct", true, 2},
		{"direct-4", true, 4},
		{"direct-not-coalesced", true, 1 << 20},
	} {
		for _, callers := range []int{1, 32, 128, 512} {
			b.Run(fmt.Sprintf("%s/callers=%d", bb.name, callers), func(b *testing.B) {
				members := mesh(b, 2)
				echo(b, members[1], "echo")
				c := caller(b, members[0], bus.CallerOptions{MaxInFlight: bb.inFlight})
				addr := ""
				if bb.direct {
					addr = members[1].ClientAddr()
				}
				l := c.Lane("1", addr)
				ready(b, l, "echo")
				var left, bad atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				wg.Add(callers)
				b.ReportAllocs()
				b.ResetTimer()
				before := cpu(b)
				for range callers {
					p := &looper{l: l, left: &left, bad: &bad, wg: &wg,
						body: append([]byte{0xc5, 4, 0}, make([]byte, 1024)...)}
					p.Done(nil, nil, nil)
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
				if bad.Load() > 0 {
					b.Errorf("%d calls failed", bad.Load())
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
			})
		}
	}
}
