package kumogateway_test

import (
	"bufio"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// allocsMost is how many allocations an operation may cost where 16 or more travel
// together, those of the bus and of the node that answers among them.
const allocsMost = 2

// BenchmarkGateway runs clients against a gateway and three nodes that answer
// from memory, all in one process: what the gateway and the bus cost.
func BenchmarkGateway(b *testing.B) {
	nodes, servers := startNodes(b, 3)
	g := openGateway(b, servers)
	c := dial(b, g)
	value := strings.Repeat("v", 1024)
	for i := range 1000 {
		c.do(fmt.Sprintf("set key-%d 0 0 1024\r\n%s\r\n", i, value), "STORED\r\n")
	}
	for _, n := range nodes {
		n.done = nil // nothing is repeated here, and it would only grow
	}
	// What is asked is made before, so that the clients allocate nothing.
	type request struct {
		text []byte
		size int // of its answer
		keys int
	}
	requests := func(make func(i int) request) (list [1000]request) {
		for i := range list {
			list[i] = make(i)
		}
		return list
	}
	hit := func(i int) int { return len(fmt.Sprintf("VALUE key-%d 0 1024\r\n", i)) + 1024 + 2 }
	get := requests(func(i int) request { return request{fmt.Appendf(nil, "get key-%d\r\n", i), hit(i) + 5, 1} })
	set := requests(func(i int) request {
		return request{fmt.Appendf(nil, "set key-%d 0 0 1024\r\n%s\r\n", i, value), len("STORED\r\n"), 1}
	})
	many := requests(func(i int) request {
		r := request{[]byte("get"), 5, 100}
		for j := range r.keys {
			r.text = fmt.Appendf(r.text, " key-%d", (i+j)%1000)
			r.size += hit((i + j) % 1000)
		}
		r.text = append(r.text, "\r\n"...)
		return r
	})
	for _, bench := range []struct {
		name           string
		clients, depth int
		ask            *[1000]request
		budget         bool
	}{
		{"get/1", 1, 1, &get, false}, {"get/32", 32, 1, &get, false}, {"get/128", 128, 1, &get, false},
		{"set/32", 32, 1, &set, false}, {"set/128", 128, 1, &set, false},
		{"get/32x16", 32, 16, &get, true}, {"set/32x16", 32, 16, &set, false}, {"get100/8", 8, 1, &many, true},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var wg sync.WaitGroup
			start := make(chan struct{})
			for n := range bench.clients {
				nc, err := net.Dial("tcp", g.Addrs()[0])
				if err != nil {
					b.Fatal(err)
				}
				w, r, skip := bufio.NewWriterSize(nc, 1<<20), bufio.NewReaderSize(nc, 64<<10), make([]byte, 64<<10)
				wg.Go(func() {
					defer nc.Close()
					<-start
					i := n * 7919
					for left := b.N/bench.clients + 1; left > 0; left -= bench.depth {
						size := 0
						for range bench.depth {
							i++
							ask := &bench.ask[i%1000]
							w.Write(ask.text)
							size += ask.size
						}
						w.Flush()
						for size > 0 {
							n, err := r.Read(skip[:min(size, len(skip))])
							if err != nil {
								b.Error(err)
								return
							}
							size -= n
						}
					}
				})
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			b.ResetTimer()
			close(start)
			wg.Wait()
			b.StopTimer()
			runtime.ReadMemStats(&after)
			keys := max(b.N, bench.clients*bench.depth) * bench.ask[0].keys
			each := float64(after.Mallocs-before.Mallocs) / float64(keys)
			b.ReportMetric(each, "allocs/key")
			if bench.budget && keys > 100_000 && each > allocsMost {
				b.Errorf("%.2f allocations for a key, want %d at most", each, allocsMost)
			}
		})
	}
}
