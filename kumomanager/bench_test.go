package kumomanager

import (
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
)

// BenchmarkFailover measures from the end of a server's process to the table
// without it, with 256 partitions: proof, decision, the log's disk.
func BenchmarkFailover(b *testing.B) {
	g := newGroup(b, 1, func(o *Options) { o.Partitions = 256 })
	g.leader()
	servers := []*server{newServer(b, g, 1), newServer(b, g, 2), newServer(b, g, 3)}
	eventually(b, "the servers are seen", func() bool { return len(g.leader().Table().Nodes) == 3 })
	g.attach()
	var total time.Duration
	n := 0
	for b.Loop() {
		g.full(3)
		s := servers[n%3]
		n++
		id, boot := s.id, s.boot
		began := time.Now()
		s.proof.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		for gone := false; !gone; {
			t := g.managers[0].Table()
			gone = true
			for _, c := range t.Partitions {
				gone = gone && c.Primary != (ring.Process{Store: id, Boot: boot})
			}
		}
		total += time.Since(began)
		s.kill()
		s.start()
	}
	b.ReportMetric(float64(total.Microseconds())/float64(n)/1000, "ms/fail-over")
}
