package testenv_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

// tally counts the answers to reads.
type tally struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	values int // that came
	again  int // that were told to ask again
	errs   []error
}

// Done implements bus.Pending.
func (y *tally) Done(body []byte, err error, _ *bus.Batch) {
	defer y.wg.Done()
	y.mu.Lock()
	defer y.mu.Unlock()
	var rep subjects.Reply
	if err == nil {
		err = rep.Decode(body)
	}
	switch {
	case err != nil:
		y.errs = append(y.errs, err)
	case rep.Status == subjects.StatusOK:
		y.values++
	case rep.Status == subjects.StatusRetry:
		y.again++
	default:
		y.errs = append(y.errs, fmt.Errorf("status %v", rep.Status))
	}
}

// A frame of reads is not answered with more than the mesh can carry: the
// answers would be dropped, asked for again, and keep everybody else waiting.
// Small values are answered even in a frame that asks for too many large ones.
func TestFrameOfReadsIsAnsweredInPart(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Servers(1))
	c.Set("big", strings.Repeat("v", 1<<20))
	c.Set("small", "value")
	table := c.Table()
	b, err := bus.Dial(bus.DialOptions{Name: "reader", URLs: []string{c.Addr("server1")}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	caller, err := b.NewCaller(bus.CallerOptions{
		ReplyPrefix: subjects.Cluster(subjects.DefaultCluster).GatewayReply(ring.BootID(1)),
		ClusterID:   func() uint64 { return uint64(table.ClusterID) },
	})
	if err != nil {
		t.Fatal(err)
	}
	read := func(key string, y *tally) {
		p := table.Of([]byte(key))
		n, _ := table.Primary(p)
		m := subjects.Read{Partition: p, Epoch: table.Partitions[p].Epoch, Key: []byte(key)}
		y.wg.Add(1)
		caller.Lane(n.Name, n.Addr).Call(subjects.Cluster(subjects.DefaultCluster).Part(n.Name, p, subjects.VerbRead),
			time.Now().Add(20*time.Second), m.Append(nil), y)
	}
	var big, small tally
	for range 100 {
		read("big", &big)
	}
	read("small", &small)
	big.wg.Wait()
	small.wg.Wait()
	if len(big.errs) > 0 || big.again == 0 || big.values == 0 {
		t.Errorf("large values: %d came, %d are to be asked for again, errors %v", big.values, big.again, big.errs)
	}
	if small.values != 1 {
		t.Errorf("the small value was kept out: %v", small.errs)
	}
}
