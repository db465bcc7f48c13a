package kumogateway_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumogateway"
)

// Clients whose answers share buffers get their own, whatever becomes of others:
// these end in the midst of an answer, or take none.
func TestSharedBuffersStayApart(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers, func(o *kumogateway.Options) {
		o.MaxBuffered, o.MaxAnswers, o.StallTimeout = 1<<20, 1<<20, 50*time.Millisecond
	})
	const keys = 24
	value := func(i int) string { return strings.Repeat(fmt.Sprintf("%02d.", i), 1<<(i%18)/3+1) }
	first := dial(t, g)
	for i := range keys {
		v := value(i)
		first.do(fmt.Sprintf("set key%d 0 0 %d\r\n%s\r\n", i, len(v), v), "STORED\r\n")
	}
	one := func(i int) string { v := value(i); return fmt.Sprintf("VALUE key%d 0 %d\r\n%s\r\n", i, len(v), v) }
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			for range 8 {
				nc, err := net.Dial("tcp", g.Addrs()[0])
				if err != nil {
					t.Error(err)
					return
				}
				nc.SetDeadline(time.Now().Add(time.Minute))
				var ask, want strings.Builder
				for range 1 + r.IntN(40) {
					ask.WriteString("get")
					for range 1 + r.IntN(4) {
						i := r.IntN(keys)
						fmt.Fprintf(&ask, " key%d", i)
						want.WriteString(one(i))
					}
					ask.WriteString("\r\n")
					want.WriteString("END\r\n")
				}
				w := want.String()
				if _, err := io.WriteString(nc, ask.String()); err != nil {
					t.Error(err)
				}
				take := len(w)
				if n%2 == 1 {
					take = r.IntN(len(w))
				}
				got := make([]byte, take)
				k, err := io.ReadFull(bufio.NewReader(nc), got)
				if string(got[:k]) != w[:k] && !strings.Contains(string(got[:k]), "SERVER_ERROR") {
					t.Errorf("client %d got what it did not ask for", n)
				}
				if err != nil && n%2 == 0 {
					t.Logf("client %d: %v after %d of %d bytes", n, err, k, take)
				}
				nc.Close()
			}
		})
	}
	all.Wait()
	eventually(t, "nothing is held", func() bool {
		s := first.stats("")
		return s["curr_connections"] == "1" && s["answer_bytes_held"] == "0"
	})
}
