package kumogateway_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// timeout makes operations fail soon.
func timeout(d time.Duration) func(*kumogateway.Options) {
	return func(o *kumogateway.Options) { o.OpTimeout = d }
}

// A node that is asked too early, too late or in vain is asked again, and the
// client sees a pause.
func TestRepeatsUntilAnswered(t *testing.T) {
	for name, status := range map[string]subjects.Status{
		"not the primary": subjects.StatusNotPrimary,
		"retry":           subjects.StatusRetry,
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			nodes, servers := startNodes(t, 2)
			c := dial(t, openGateway(t, servers))
			for _, n := range nodes {
				left := 3
				n.misbehave(func(bool, string) *subjects.Status {
					if left--; left >= 0 {
						return told(status)
					}
					return nil
				})
			}
			c.do("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n")
		})
	}
}

// A request, or its answer, that was lost on the way is repeated.
func TestLostMessage(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers))
	left := 1
	nodes[0].misbehave(func(bool, string) *subjects.Status {
		if left--; left >= 0 {
			return told(0)
		}
		return nil
	})
	c.do("get a\r\n", "END\r\n")
}

// Every attempt carries the same operation ID, and the lowest open one moves on.
func TestAttemptsShareAnOperationID(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	n := nodes[0]
	c := dial(t, openGateway(t, servers))
	c.do("set a 0 0 1\r\nx\r\n", "STORED\r\n")
	left := 2
	n.misbehave(func(bool, string) *subjects.Status {
		if left--; left >= 0 {
			return told(subjects.StatusRetry)
		}
		return nil
	})
	c.do("set a 0 0 1\r\ny\r\n", "STORED\r\n")
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.answers) != 2 {
		t.Fatalf("carried out: %+v", n.answers)
	}
	first, second := n.answers[0], n.answers[1]
	if first.N != 1 || first.Lowest != 1 || second.N != 2 || second.Lowest != 2 || first.Boot != second.Boot || first.Boot == 0 {
		t.Errorf("operation IDs %+v, %+v", first, second)
	}
	if n.attempt[0] != 1 || n.attempt[1] != 3 {
		t.Errorf("attempts %v, want 1 and 3", n.attempt)
	}
}

// When a server dies its clients wait for the new ring, and for no longer.
func TestFailOver(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 3)
	c := dial(t, openGateway(t, servers))
	for i := range 30 {
		c.do(fmt.Sprintf("set k%d 0 0 1\r\nx\r\n", i), "STORED\r\n")
	}
	nodes[2].stop()
	var ask strings.Builder
	for i := range 30 {
		fmt.Fprintf(&ask, "set k%d 0 0 1\r\ny\r\n", i)
	}
	c.send("%s", ask.String())
	left := nodes[:2]
	table := tableOf(2, left...)
	agree(table, left...)
	left[0].publish(table)
	within(t, 3*time.Second, func() { c.expect(strings.Repeat("STORED\r\n", 30)) })
}

// A server that hangs without a broken connection is noticed by the ring
// alone, and what it was asked goes to its successor at once.
func TestHungServer(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 2)
	c := dial(t, openGateway(t, servers))
	asked := make(chan struct{}, 1000)
	nodes[1].misbehave(func(bool, string) *subjects.Status {
		asked <- struct{}{}
		return told(0)
	})
	for i := range 30 {
		c.send("set k%d 0 0 1\r\nx\r\nget m%d\r\n", i, i)
	}
	<-asked
	table := tableOf(2, nodes[0])
	agree(table, nodes...)
	nodes[0].publish(table)
	within(t, firstAttempt, func() { c.expect(strings.Repeat("STORED\r\nEND\r\n", 30)) })
}

// What was sent to a primary that the ring then says is gone goes to its
// successor at once. One that lives and lost only the lead keeps its writes for a
// moment, since it will answer them.
func TestWritesToTheDeadDoNotWait(t *testing.T) {
	noLeaks(t)
	const grace = 250 * time.Millisecond
	took := func(lives bool) time.Duration {
		nodes, servers := startNodes(t, 2)
		c := dial(t, openGateway(t, servers))
		asked := make(chan struct{}, 1)
		nodes[1].misbehave(func(bool, string) *subjects.Status {
			asked <- struct{}{}
			return told(0)
		})
		table := tableOf(2, nodes...)
		for p := range table.Partitions {
			table.Partitions[p].Primary = nodes[0].proc
		}
		i, _ := table.Node(nodes[1].proc.Store)
		for n := range table.Nodes {
			table.Nodes[n].Up = lives || table.Nodes[n].ID != i.ID
		}
		key := "a"
		for ring.Of([]byte(key), testSize)%2 == 0 {
			key += "a"
		}
		c.send("set %s 0 0 1\r\nx\r\n", key)
		<-asked
		agree(table, nodes...)
		began := time.Now()
		nodes[0].publish(table)
		c.expect("STORED\r\n")
		return time.Since(began)
	}
	if d := took(true); d < grace {
		t.Errorf("a write was taken from a primary that lives after %v", d)
	}
	best := time.Hour
	for range 10 { // a loaded machine is slow, but not each time
		if best = min(best, took(false)); best < grace {
			return
		}
	}
	t.Errorf("a write to a primary that is gone went on after %v, at best", best)
}

// firstAttempt is how long the gateway would wait for an answer that is lost.
const firstAttempt = time.Second

// A gateway that starts before there is a ring keeps its clients waiting.
func TestStartsBeforeTheRing(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	agree(nil, nodes...)
	c := dial(t, openUnready(t, servers))
	c.send("set a 0 0 1\r\nx\r\nget a\r\n")
	agree(tableOf(1, nodes...), nodes...)
	c.expect("STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n")
}

// A gateway that reaches nobody says so to its clients in the end.
func TestNobodyThere(t *testing.T) {
	noLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	c := dial(t, openUnready(t, []string{addr}, timeout(300*time.Millisecond)))
	c.do("get a b\r\n", "SERVER_ERROR timed out\r\n")
	// Nothing was sent, so the outcome is known.
	c.do("set a 0 0 1\r\nx\r\n", "SERVER_ERROR timed out\r\n")
	c.do("mn\r\n", "MN\r\n")
}

func TestOutcomeUnknown(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers, timeout(300*time.Millisecond)))
	nodes[0].misbehave(func(bool, string) *subjects.Status { return told(0) })
	c.do("set a 0 0 1\r\nx\r\n", "SERVER_ERROR outcome unknown\r\n")
	c.do("get a b c\r\n", "SERVER_ERROR timed out\r\n")
	nodes[0].misbehave(func(bool, string) *subjects.Status { return told(subjects.StatusRetry) })
	c.do("set a 0 0 1\r\nx\r\n", "SERVER_ERROR timed out\r\n")
	nodes[0].misbehave(nil)
	c.do("get a\r\n", "END\r\n")
}

// An error within a list ends the answer, and only that answer.
func TestErrorInAList(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers))
	c.do("set a 0 0 1\r\nx\r\n", "STORED\r\n")
	nodes[0].misbehave(func(_ bool, key string) *subjects.Status {
		if key == "bad" {
			return told(subjects.StatusCorrupt)
		}
		return nil
	})
	c.do("get a bad a a\r\nget a\r\nget bad\r\nget a bad\r\nget a\r\n",
		"VALUE a 0 1\r\nx\r\nSERVER_ERROR stored value is damaged\r\n"+
			"VALUE a 0 1\r\nx\r\nEND\r\n"+
			"SERVER_ERROR stored value is damaged\r\n"+
			"VALUE a 0 1\r\nx\r\nSERVER_ERROR stored value is damaged\r\n"+
			"VALUE a 0 1\r\nx\r\nEND\r\n")
}

func TestNoSpace(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	c := dial(t, openGateway(t, servers))
	nodes[0].misbehave(func(write bool, _ string) *subjects.Status {
		if write {
			return told(subjects.StatusNoSpace)
		}
		return nil
	})
	c.do("set a 0 0 1\r\nx\r\n", "SERVER_ERROR out of memory storing object\r\n")
}

// A client that reads in the end gets everything, in order.
func TestClientThatReadsLate(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 3)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.MaxBuffered = 1 << 20 })
	c := dial(t, g)
	value := strings.Repeat("v", 50_000)
	c.do(fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(value), value), "STORED\r\n")
	const count = 1000
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range count {
			fmt.Fprintf(c.nc, "get big k%d\r\n", i)
		}
	}()
	want := fmt.Sprintf("VALUE big 0 %d\r\n%s\r\nEND\r\n", len(value), value)
	for range count {
		c.expect(want)
	}
	<-sent
}

func TestCloseLetsRequestsEnd(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	g := openGateway(t, servers)
	c := dial(t, g)
	asked := make(chan struct{})
	var once sync.Once
	hold := make(chan struct{})
	nodes[0].misbehave(func(bool, string) *subjects.Status {
		once.Do(func() { close(asked) })
		select {
		case <-hold:
			return nil
		default:
			return told(subjects.StatusRetry)
		}
	})
	c.send("set a 0 0 1\r\nx\r\n")
	<-asked
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		g.Close()
	}()
	eventually(t, "nobody listens", func() bool {
		nc, err := net.Dial("tcp", g.Addrs()[0])
		if err == nil {
			nc.Close()
		}
		return err != nil
	})
	close(hold)
	if got := c.rest(); got != "STORED\r\n" {
		t.Errorf("got %q", got)
	}
	<-closed
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.CloseTimeout = 100 * time.Millisecond })
	nodes[0].misbehave(func(bool, string) *subjects.Status { return told(0) })
	c := dial(t, g)
	c.send("set a 0 0 1\r\nx\r\nget a b c\r\n")
	eventually(t, "the request is under way", func() bool {
		return dial(t, g).stats("")["request_bytes_held"] != "0"
	})
	within(t, 5*time.Second, func() { g.Close() })
}

// Clients that vanish in the middle of everything leave nothing behind.
func TestClientsThatVanish(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 2)
	g := openGateway(t, servers)
	value := strings.Repeat("v", 10_000)
	for i := range 50 {
		c := dial(t, g)
		c.send("set k%d 0 0 %d\r\n%s\r\nget k1 k2 k3\r\nset half 0 0 100\r\nxx", i, len(value), value)
		c.nc.(*net.TCPConn).SetLinger(0)
		c.nc.Close()
	}
	c := dial(t, g)
	eventually(t, "all are forgotten", func() bool {
		s := c.stats("")
		return s["curr_connections"] == "1" && s["request_bytes_held"] == "0"
	})
}

// Many clients change the same counters while primaries move back and forth;
// no update is lost, and none is done twice, since a repeat has the same ID.
func TestManyClientsThroughMoves(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 2)
	// Both nodes keep one set of items, as if hand-offs were perfect.
	nodes[1].items, nodes[1].done = nodes[0].items, nodes[0].done
	var items sync.Mutex
	for _, n := range nodes {
		n.lock = &items
	}
	g := openGateway(t, servers)
	c := dial(t, g)
	const counters, clients, each = 8, 16, 200
	for i := range counters {
		c.do(fmt.Sprintf("set n%d 0 0 1\r\n0\r\n", i), "STORED\r\n")
	}
	stop := make(chan struct{})
	moved := make(chan int, 1)
	go func() {
		revision := uint64(1)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				moved <- int(revision)
				return
			case <-tick.C:
			}
			revision++
			table := tableOf(revision, nodes...)
			for p := range table.Partitions {
				n := nodes[(uint64(p)+revision)%2]
				table.Partitions[p].Primary = n.proc
				table.Partitions[p].ISR = []ring.NodeID{n.proc.Store}
			}
			agree(table, nodes...)
			nodes[0].publish(table)
		}
	}()
	var wg sync.WaitGroup
	for i := range clients {
		cl := dial(t, g)
		wg.Go(func() {
			for j := range each {
				fmt.Fprintf(cl.nc, "incr n%d 1\r\n", (i+j)%counters)
			}
			for range each {
				if l, err := cl.r.ReadString('\n'); err != nil || strings.Contains(l, "E") {
					t.Errorf("incr: %q, %v", l, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	t.Logf("%d revisions", <-moved)
	for i := range counters {
		c.send("get n%d\r\n", i)
		c.line()
		if got, want := c.line(), fmt.Sprint(clients*each/counters); got != want {
			t.Errorf("n%d is %s, want %s", i, got, want)
		}
		c.expect("END\r\n")
	}
}
