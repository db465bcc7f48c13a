package quorum

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("voters=3/callers=%d", callers), func(b *testing.B) {
			g := newGroup(b, 3)
			g.timeout = DefaultHeartbeat
			overNATS(g)
			for _, name := range g.names {
				g.start(name, g.names...)
			}
			leader := g.leader()
			command := make([]byte, 200)
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan struct{})
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				go func() {
					defer func() { done <- struct{}{} }()
					for left.Add(-1) >= 0 {
						if _, err := leader.Propose(context.Background(), command); err != nil {
							b.Error(err)
							return
						}
					}
				}()
			}
			for range callers {
				<-done
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
			b.StopTimer()
		})
	}
}

// BenchmarkFailover measures from the loss of a leader, with the default time-outs, to the first command that another takes.
func BenchmarkFailover(b *testing.B) {
	for _, voters := range []int{3, 5} {
		b.Run(fmt.Sprintf("voters=%d", voters), func(b *testing.B) {
			g := newGroup(b, voters)
			g.timeout = DefaultHeartbeat
			for _, name := range g.names {
				g.start(name, g.names...)
			}
			var took []time.Duration
			for b.Loop() {
				leader := g.leader()
				gone := leader.opts.ID
				g.propose("before")
				rest := slices.DeleteFunc(slices.Clone(g.names), func(n string) bool { return n == gone })
				begin := time.Now()
				g.hub.split([]string{gone}, rest) // it is gone for the others from one moment to the next
				for ok := false; !ok; {
					for _, name := range rest {
						if q := g.nodes[name]; q.IsLeader() && !ok {
							_, err := q.Propose(g.ctx(), []byte("after"))
							ok = err == nil
						}
					}
					<-time.After(time.Millisecond)
				}
				took = append(took, time.Since(begin))
				b.StopTimer()
				g.hub.split()
				g.eventually("it is back", func() bool { return leader.raft.State().String() == "Follower" })
				g.agree(nil)
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
			b.ReportMetric(took[len(took)*9/10].Seconds()*1e3, "p90-ms")
			b.ReportMetric(took[len(took)-1].Seconds()*1e3, "max-ms")
		})
	}
}
