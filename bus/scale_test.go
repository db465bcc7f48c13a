package bus_test

import (
	"flag"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
)

var meshSize = flag.Int("mesh", 12, "members of the large mesh")

// within is eventually for what takes longer than most.
func within(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(d)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// member is one of a large mesh. It counts by sender what it has heard.
type member struct {
	*bus.Bus
	heard []atomic.Int32
}

// whole reports whether it has heard each member, itself among them.
func (m *member) whole() bool {
	for i := range m.heard {
		if m.heard[i].Load() == 0 {
			return false
		}
	}
	return true
}

// largeMesh opens n members, one after the other and without waiting, of which
// each is told of the first three only, as servers are told of managers.
func largeMesh(t testing.TB, n int) []*member {
	t.Helper()
	var known []string
	for range min(3, n) {
		known = append(known, freePort(t))
	}
	members := make([]*member, n)
	for i := range members {
		o := options(t, fmt.Sprint("member-", i))
		if o.Routes = known; i < len(known) {
			o.RouteListen = known[i]
		}
		m := &member{Bus: open(t, o), heard: make([]atomic.Int32, n)}
		members[i] = m
		if _, err := m.Subscribe("hello.*", func(msg *bus.Msg) {
			if from, err := strconv.Atoi(string(msg.Data)); err == nil && from < n {
				m.heard[from].Add(1)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	return members
}

// fill waits until every member has a route to every other. Two that dial each
// other at once may both lose their route; they then join again, as servers do
// that miss a route for some seconds. It returns how often that was needed.
func fill(t testing.TB, members []*member) (rejoined int) {
	t.Helper()
	since := time.Now()
	within(t, 2*time.Minute, "the mesh is full", func() bool {
		for i, m := range members {
			n := len(m.Peers()) // not often: it takes the server's locks
			if n == len(members)-1 {
				continue
			}
			if time.Since(since) > 4*time.Second {
				rejoined++
				since = time.Now()
				t.Logf("member %d has %d routes and joins again", i, n)
				if err := m.Rejoin(); err != nil {
					t.Fatal(err)
				}
			}
			return false
		}
		return true
	})
	return rejoined
}

// talk has every member hear every other. Those that have not heard yet what the
// others want say it again.
func talk(t testing.TB, members []*member) {
	t.Helper()
	var said time.Time
	for i, m := range members {
		within(t, time.Minute, fmt.Sprintf("member %d has heard all", i), func() bool {
			if time.Since(said) > time.Second {
				said = time.Now()
				for i, o := range members {
					if err := o.Publish("hello."+o.Name(), []byte(strconv.Itoa(i))); err != nil {
						t.Fatal(err)
					}
				}
			}
			return m.whole()
		})
	}
}

// resident is the bytes of memory in use by the heap and by stacks.
func resident() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc + s.StackInuse
}

// A mesh of as many members as a large cluster has: it grows full by gossip from
// three that all know, everybody hears everybody, and nothing is left of it.
func TestLargeMesh(t *testing.T) {
	if testing.Short() {
		t.Skip("many members of a mesh in one process")
	}
	noLeaks(t)
	members := largeMesh(t, *meshSize)
	start := time.Now()
	rejoined := fill(t, members)
	t.Logf("%d members are a full mesh %v after the last began, %d times one joined again",
		len(members), time.Since(start).Round(time.Millisecond), rejoined)
	talk(t, members)
}

// BenchmarkMesh is what the mesh costs a member: memory, goroutines, and
// processor time while nobody says anything. An operation is 100 ms of rest.
func BenchmarkMesh(b *testing.B) {
	for _, n := range []int{3, 10, 30, 60, 100} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			memory, goroutines := resident(), runtime.NumGoroutine()
			members := largeMesh(b, n)
			fill(b, members)
			talk(b, members)
			before := cpu(b)
			for b.Loop() {
				<-time.After(100 * time.Millisecond)
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.Elapsed())/float64(n)*100, "%core/member")
			b.ReportMetric(float64(resident()-memory)/float64(n)/1024, "KiB/member")
			b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/float64(n), "goroutines/member")
			b.ReportMetric(float64(n*(n-1)/2), "routes")
		})
	}
}
