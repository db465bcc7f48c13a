package kumogateway_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumogateway"
)

// Slow clients, pipelines of which nobody reads the answers, and bad requests, all
// at once, take no more memory than the bounds say, and others are served. (task
// crowd does so with many more, and measures.)
func TestCrowdStaysWithinBounds(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	const (
		held, answers, share = 4 << 20, 1 << 20, 128 << 10
		slow, deaf           = 200, 16
		perConn              = 48 << 10 // two ends of it, both of this process, and its goroutine
		rest                 = 16 << 20 // what else the process needs meanwhile
	)
	g := openGateway(t, servers, func(o *kumogateway.Options) {
		o.MaxHeld, o.MaxAnswers, o.MaxBuffered, o.MaxConnections = held, answers, share, slow+deaf+10
	})
	good := dial(t, g)
	value := strings.Repeat("v", 20_000)
	answer := fmt.Sprintf("VALUE big 0 %d\r\n%s\r\nEND\r\n", len(value), value)
	good.do(fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(value), value), "STORED\r\n")
	var most, wereHeld, wereAnswers int
	look := func() {
		s := good.stats("")
		for name, to := range map[string]*int{"request_bytes_held": &wereHeld, "answer_bytes_held": &wereAnswers} {
			var n int
			fmt.Sscan(s[name], &n)
			*to = max(*to, n)
		}
		good.do("get big\r\n", answer)
	}
	// weigh looks at what is in use, while nobody makes garbage.
	weigh := func() {
		look()
		var mem runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&mem)
		most = max(most, int(mem.HeapAlloc))
	}
	weigh()
	before := most
	for range slow {
		dial(t, g).send("get %s", strings.Repeat("x", 200))
	}
	var sending sync.WaitGroup
	var clients []*client
	ask := []byte(strings.Repeat("get big\r\n", 50_000))
	for range deaf {
		c := dial(t, g)
		clients = append(clients, c)
		sending.Go(func() {
			for range 10 { // 4 MiB, if they are taken
				if _, err := c.nc.Write(ask); err != nil {
					return
				}
			}
		})
	}
	bad := dial(t, g)
	eventually(t, "what the deaf do not take has reached the bound", func() bool { look(); return wereAnswers > answers/2 })
	for i := range 40 {
		var send, want strings.Builder
		for j := range 250 {
			n := 250*i + j
			fmt.Fprintf(&send, "nonsense%d\r\nget %s%d\r\nincr k%d x\r\nmg k%d Z\r\n", n, strings.Repeat("x", 300), n, n, n)
			want.WriteString("ERROR\r\nCLIENT_ERROR bad command line format\r\nCLIENT_ERROR invalid numeric delta argument\r\nCLIENT_ERROR invalid flag\r\n")
		}
		bad.do(send.String(), want.String())
		if i%10 == 9 {
			weigh()
		}
	}
	for _, c := range clients {
		c.nc.SetWriteDeadline(time.Unix(1, 0))
	}
	sending.Wait()
	if wereHeld > held+1<<20 || wereAnswers > 4*answers+deaf*share {
		t.Errorf("%d bytes of requests and %d of answers were held, of %d and %d", wereHeld, wereAnswers, held, answers)
	}
	if bound := before + held + 4*answers + (slow+deaf)*perConn + rest; most > bound {
		t.Errorf("the heap had %d bytes, of %d", most, bound)
	}
	t.Logf("the heap had %d bytes at first and %d at most, with %d and %d of requests and answers", before, most, wereHeld, wereAnswers)
}
