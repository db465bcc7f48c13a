package kumogateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

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
	hit := func(i int) int { return len(fmt.Sprintf("VALUE key-%d 0 1024\r\n", i)) + 1024 + 2 }
	get := func(w *bufio.Writer, i int) int {
		fmt.Fprintf(w, "get key-%d\r\n", i)
		return hit(i) + 5
	}
	set := func(w *bufio.Writer, i int) int {
		fmt.Fprintf(w, "set key-%d 0 0 1024\r\n%s\r\n", i, value)
		return len("STORED\r\n")
	}
	many := func(w *bufio.Writer, i int) int {
		w.WriteString("get")
		size := 5
		for j := range 100 {
			fmt.Fprintf(w, " key-%d", (i+j)%1000)
			size += hit((i + j) % 1000)
		}
		w.WriteString("\r\n")
		return size
	}
	for _, bench := range []struct {
		name           string
		clients, depth int
		ask            func(*bufio.Writer, int) int
	}{
		{"get/1", 1, 1, get}, {"get/32", 32, 1, get}, {"get/128", 128, 1, get},
		{"set/32", 32, 1, set}, {"set/128", 128, 1, set},
		{"get/32x16", 32, 16, get}, {"set/32x16", 32, 16, set}, {"get100/8", 8, 1, many},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var wg sync.WaitGroup
			for n := range bench.clients {
				nc, err := net.Dial("tcp", g.Addrs()[0])
				if err != nil {
					b.Fatal(err)
				}
				wg.Go(func() {
					defer nc.Close()
					w, r := bufio.NewWriterSize(nc, 1<<20), bufio.NewReaderSize(nc, 1<<20)
					i := n * 7919
					for left := b.N/bench.clients + 1; left > 0; left -= bench.depth {
						size := 0
						for range bench.depth {
							i++
							size += bench.ask(w, i%1000)
						}
						w.Flush()
						if _, err := io.CopyN(io.Discard, r, int64(size)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
