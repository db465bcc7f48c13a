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

// The bounds of the gateway that a crowd comes to, and how large the crowd is.
const (
	crowdHeld, crowdAnswers, crowdShare = 4 << 20, 1 << 20, 128 << 10
	crowdSlow, crowdDeaf                = 200, 16
)

// crowdWatch is a good client of a gateway, and the most that it has seen in use.
type crowdWatch struct {
	*client
	answer              string // to get big
	held, answers, heap int
}

func watchCrowd(t *testing.T, g *kumogateway.Gateway) *crowdWatch {
	value := strings.Repeat("v", 20_000)
	w := &crowdWatch{client: dial(t, g), answer: fmt.Sprintf("VALUE big 0 %d\r\n%s\r\nEND\r\n", len(value), value)}
	w.do(fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(value), value), "STORED\r\n")
	return w
}

// look asks the gateway what it holds, and is served.
func (w *crowdWatch) look() {
	s := w.stats("")
	for name, to := range map[string]*int{"request_bytes_held": &w.held, "answer_bytes_held": &w.answers} {
		var n int
		fmt.Sscan(s[name], &n)
		*to = max(*to, n)
	}
	w.do("get big\r\n", w.answer)
}

// weigh looks at what is in use, while nobody makes garbage.
func (w *crowdWatch) weigh() {
	w.look()
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	w.heap = max(w.heap, int(mem.HeapAlloc))
}

// Slow clients, pipelines of which nobody reads the answers, and bad requests, all
// at once, take no more memory than the bounds say, and others are served. (task
// crowd does so with many more, and measures.)
func TestCrowdStaysWithinBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("weighs memory, of which the race detector takes its own")
	}
	noLeaks(t)
	_, servers := startNodes(t, 1)
	const (
		perConn = 48 << 10 // two ends of it, both of this process, and its goroutine
		rest    = 16 << 20 // what else the process needs meanwhile
	)
	g := openGateway(t, servers, func(o *kumogateway.Options) {
		o.MaxHeld, o.MaxAnswers, o.MaxBuffered, o.MaxConnections = crowdHeld, crowdAnswers, crowdShare, crowdSlow+crowdDeaf+10
	})
	w := watchCrowd(t, g)
	w.weigh()
	before := w.heap
	for range crowdSlow {
		dial(t, g).send("get %s", strings.Repeat("x", 200))
	}
	hush := askDeafly(t, g)
	bad := dial(t, g)
	eventually(t, "what the deaf do not take has reached the bound", func() bool { w.look(); return w.answers > crowdAnswers/2 })
	for i := range 40 {
		sendNonsense(bad, i)
		if i%10 == 9 {
			w.weigh()
		}
	}
	hush()
	if w.held > crowdHeld+1<<20 || w.answers > 4*crowdAnswers+crowdDeaf*crowdShare {
		t.Errorf("%d bytes of requests and %d of answers were held, of %d and %d", w.held, w.answers, crowdHeld, crowdAnswers)
	}
	if bound := before + crowdHeld + 4*crowdAnswers + (crowdSlow+crowdDeaf)*perConn + rest; w.heap > bound {
		t.Errorf("the heap had %d bytes, of %d", w.heap, bound)
	}
	t.Logf("the heap had %d bytes at first and %d at most, with %d and %d of requests and answers", before, w.heap, w.held, w.answers)
}

// askDeafly has clients ask for large values and read none, until hush.
func askDeafly(t *testing.T, g *kumogateway.Gateway) (hush func()) {
	var sending sync.WaitGroup
	var clients []*client
	ask := []byte(strings.Repeat("get big\r\n", 50_000))
	for range crowdDeaf {
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
	return func() {
		for _, c := range clients {
			c.nc.SetWriteDeadline(time.Unix(1, 0))
		}
		sending.Wait()
	}
}

// sendNonsense sends the i-th thousand of bad requests, no two of which are alike.
func sendNonsense(c *client, i int) {
	var send, want strings.Builder
	for j := range 250 {
		n := 250*i + j
		fmt.Fprintf(&send, "nonsense%d\r\nget %s%d\r\nincr k%d x\r\nmg k%d Z\r\n", n, strings.Repeat("x", 300), n, n, n)
		want.WriteString("ERROR\r\nCLIENT_ERROR bad command line format\r\nCLIENT_ERROR invalid numeric delta argument\r\nCLIENT_ERROR invalid flag\r\n")
	}
	c.do(send.String(), want.String())
}
