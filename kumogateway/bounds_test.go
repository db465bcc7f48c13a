package kumogateway_test

import (
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/subjects"
)

// A client that sends and never reads holds up nobody but itself, and not more
// memory than its share.
func TestClientThatNeverReads(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.MaxBuffered = 1 << 20 })
	good, bad := dial(t, g), dial(t, g)
	value := strings.Repeat("v", 100_000)
	good.do(fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(value), value), "STORED\r\n")
	stopped := make(chan struct{})
	var sent int
	go func() {
		defer close(stopped)
		ask := strings.Repeat("get big\r\n", 1000)
		for {
			n, err := bad.nc.Write([]byte(ask))
			sent += n
			if err != nil {
				return
			}
		}
	}()
	// Once its socket is full and its share used up, the gateway reads no more.
	eventually(t, "the share is used up", func() bool {
		conns := good.stats(" conns")
		for _, i := range []string{"0", "1"} {
			var n int
			fmt.Sscan(conns[i+":buffered_bytes"], &n)
			if n > 3<<20 {
				t.Fatalf("%d bytes are buffered", n)
			}
			if n > 500_000 {
				return true
			}
		}
		return false
	})
	for range 20 {
		within(t, 10*time.Second, func() {
			good.do("get big\r\n", fmt.Sprintf("VALUE big 0 %d\r\n%s\r\nEND\r\n", len(value), value))
		})
	}
	bad.nc.Close()
	<-stopped
	t.Logf("the bad client got rid of %d bytes", sent)
}

// Many clients that never read share one bound; others are served all the same.
func TestManyClientsThatNeverRead(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	const bound, share = 768 << 10, 128 << 10 // with 20 shares others get no errors yet
	g := openGateway(t, servers, func(o *kumogateway.Options) {
		o.MaxAnswers, o.MaxBuffered = bound, share
		// Of TCP the kernel may take all that is asked for here, where it has met fast
		// connections before.
		o.Listen = []string{"unix:" + filepath.Join(t.TempDir(), "s")}
	})
	good := dial(t, g)
	value := strings.Repeat("v", 4000)
	good.do(fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(value), value), "STORED\r\n")
	held := func() (n int) {
		fmt.Sscan(good.stats("")["answer_bytes_held"], &n)
		return n
	}
	for range 20 {
		bad := dial(t, g)
		bad.send("%s", strings.Repeat("get big\r\n", 500))
	}
	eventually(t, "the bound is reached", func() bool { return held() > bound })
	for range 20 {
		within(t, 10*time.Second, func() {
			good.do("get big\r\n", fmt.Sprintf("VALUE big 0 %d\r\n%s\r\nEND\r\n", len(value), value))
		})
		// Each may have had its share under way when the bound was reached.
		if n := held(); n > bound+20*share {
			t.Fatalf("%d bytes are held", n)
		}
	}
}

// Clients that take nothing are ended: when they are idle for too long, and sooner
// when their answers take more memory than they should. Others go on.
func TestStalledClientsAreEnded(t *testing.T) {
	for name, set := range map[string]func(*kumogateway.Options){
		"idle":   func(o *kumogateway.Options) { o.IdleTimeout = 2 * time.Second },
		"memory": func(o *kumogateway.Options) { o.MaxAnswers, o.StallTimeout = 256<<10, 100*time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			_, servers := startNodes(t, 1)
			g := openGateway(t, servers, set)
			good, bad := dial(t, g), dial(t, g)
			value := strings.Repeat("v", 20_000)
			good.do(fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(value), value), "STORED\r\n")
			bad.nc.(*net.TCPConn).SetReadBuffer(4 << 10)
			bad.send("%s", strings.Repeat("get big\r\n", 1000))
			kicks := func() string {
				good.do("get big\r\n", fmt.Sprintf("VALUE big 0 %d\r\n%s\r\nEND\r\n", len(value), value))
				return good.stats("")["idle_kicks"]
			}
			eventually(t, "the stalled client is ended", func() bool { return kicks() == "1" })
			eventually(t, "its answers are given up", func() bool { return good.stats("")["answer_bytes_held"] == "0" })
		})
	}
}

// Clients of small answers that ask for many large ones while a server is silent,
// and then take none, get errors instead of what the memory would not hold.
func TestSmallAnswersThenLargeOnes(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	const bound = 256 << 10
	g := openGateway(t, servers, func(o *kumogateway.Options) {
		o.MaxAnswers = bound
		o.OpTimeout = 2 * time.Minute // a busy machine takes its time
	})
	good := dial(t, g)
	value := strings.Repeat("v", 20_000)
	good.do(fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(value), value), "STORED\r\n")
	held := func() (n int) {
		fmt.Sscan(good.stats("")["answer_bytes_held"], &n)
		return n
	}
	bad := dial(t, g)
	// Small answers have it think that all are.
	bad.do(strings.Repeat("get none\r\n", 200), strings.Repeat("END\r\n", 200))
	begun, silent := make(chan struct{}), make(chan struct{})
	var once sync.Once
	nodes[0].misbehave(func(bool, string) *subjects.Status {
		once.Do(func() { close(begun) })
		<-silent
		return nil
	})
	const asked = 300
	bad.send("%s", strings.Repeat("get big\r\n", asked))
	<-begun
	underWay := func() (n int) {
		conns := good.stats(" conns")
		for _, i := range []string{"0", "1"} {
			var open int
			fmt.Sscan(conns[i+":outstanding"], &open)
			n = max(n, open)
		}
		return n
	}
	eventually(t, "all requests are under way", func() bool { return underWay() == asked })
	close(silent)
	most := 0
	eventually(t, "all is answered", func() bool { most = max(most, held()); return underWay() <= 1 })
	if most > 2*bound+512<<10 {
		t.Errorf("%d bytes are held, of a bound of %d", most, bound)
	}
	good.do("get big\r\n", fmt.Sprintf("VALUE big 0 %d\r\n%s\r\nEND\r\n", len(value), value))
	values, errors := 0, 0
	for range asked {
		switch l := bad.line(); l {
		case "SERVER_ERROR too many requests are waiting":
			errors++
		default:
			values++
			bad.expect(value + "\r\nEND\r\n")
		}
	}
	if values == 0 || errors == 0 {
		t.Errorf("%d values and %d errors", values, errors)
	}
	bad.do("get big\r\n", fmt.Sprintf("VALUE big 0 %d\r\n%s\r\nEND\r\n", len(value), value))
}

// Clients that send the half of a large value each do not fill the memory: those
// beyond the bound are refused, and can go on with something else.
func TestManyHalfValues(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	const bound = 3 << 20
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.MaxHeld = bound })
	good := dial(t, g)
	value := strings.Repeat("v", 1_000_000)
	head := fmt.Sprintf("set big 0 0 %d\r\n", len(value))
	read := func() (n int) {
		fmt.Sscan(good.stats("")["request_bytes_read"], &n)
		return n
	}
	var slow []*client
	for range 3 {
		c := dial(t, g)
		c.send("%s", head+value[:900_000])
		slow = append(slow, c)
	}
	eventually(t, "three buffers are in use", func() bool { return read() > 2_900_000 })
	for range 5 {
		c := dial(t, g)
		c.send("%s", head+value[:500_000])
		c.expect("SERVER_ERROR too many requests are waiting\r\n")
		c.send("%s", value[500_000:]+"\r\n")
		c.do("set small 0 0 1\r\nx\r\nget small\r\n", "STORED\r\nVALUE small 0 1\r\nx\r\nEND\r\n")
	}
	if n := read(); n > bound {
		t.Errorf("%d bytes are in use", n)
	}
	for _, c := range slow {
		c.do(value[900_000:]+"\r\n", "STORED\r\n")
		c.nc.Close()
	}
	eventually(t, "the buffers are given back", func() bool { return read() == 0 })
	good.do(head+value+"\r\n", "STORED\r\n")
}

// Those who never end their large values give way to others, though a byte comes
// now and then; while there is room for all they are waited for.
func TestHalfValuesGiveWay(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.MaxHeld, o.StallTimeout = 3<<20, 100*time.Millisecond })
	good := dial(t, g)
	value := strings.Repeat("v", 1_000_000)
	head := fmt.Sprintf("set big 0 0 %d\r\n", len(value))
	alone := dial(t, g)
	alone.send("%s", head+value[:900_000])
	kicks := func() string { return good.stats("")["idle_kicks"] }
	eventually(t, "a second has passed", func() bool { return good.stats("")["uptime"] != "0" && good.stats("")["request_bytes_read"] != "0" })
	if n := kicks(); n != "0" {
		t.Fatalf("%s were ended while there was room", n)
	}
	for range 2 {
		dial(t, g).send("%s", head+value[:900_000])
	}
	eventually(t, "a half value gives way", func() bool { return kicks() != "0" })
	eventually(t, "there is room for another", func() bool {
		c := dial(t, g)
		c.send("%s", head+value+"\r\n")
		return c.line() == "STORED"
	})
}

// A half line that is waited for has no read buffer, and is taken up where it was.
func TestHalfLinesTakeNoBuffer(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers)
	good := dial(t, g)
	good.do("set abcdef 0 0 1\r\nx\r\n", "STORED\r\n")
	heap := func() int {
		var mem runtime.MemStats
		runtime.GC()
		runtime.GC() // what a pool holds goes with the second
		runtime.ReadMemStats(&mem)
		return int(mem.HeapAlloc)
	}
	const slow = 400
	var clients []*client
	for range slow {
		c := dial(t, g)
		c.send("mn\r\n")
		clients = append(clients, c)
	}
	for _, c := range clients {
		c.expect("MN\r\n")
	}
	before := heap()
	for _, c := range clients {
		c.send("get abc")
	}
	eventually(t, "all has been read", func() bool {
		n := 0
		fmt.Sscan(good.stats("")["bytes_read"], &n)
		return n >= slow*(len("get abc")+len("mn\r\n"))
	})
	if more := heap() - before; more > slow*(8<<10) {
		t.Errorf("half lines of %d clients take %d bytes", slow, more)
	}
	for _, c := range clients {
		c.do("def\r\n", "VALUE abcdef 0 1\r\nx\r\nEND\r\n")
	}
}

// Who only announces large values takes no memory for them, and so refuses
// nobody who sends one.
func TestAnnouncedValuesTakeNoMemory(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.MaxHeld = 3 << 20 })
	good := dial(t, g)
	value := strings.Repeat("v", 1_000_000)
	head := fmt.Sprintf("set big 0 0 %d\r\n", len(value))
	read := func() (n int) {
		fmt.Sscan(good.stats("")["request_bytes_read"], &n)
		return n
	}
	for range 50 {
		c := dial(t, g)
		c.do("mn\r\n"+head+"v", "MN\r\n")
	}
	if n := read(); n > 0 {
		t.Errorf("%d bytes are in use for values that did not come", n)
	}
	c := dial(t, g)
	c.send("%s", head+value[:100_000])
	eventually(t, "a part has come", func() bool { return read() > 50_000 })
	if n := read(); n > 2*100_000+64<<10 {
		t.Errorf("%d bytes are in use for a part of 100,000", n)
	}
	c.do(value[100_000:]+"\r\n", "STORED\r\n")
	good.do(head+value+"\r\n", "STORED\r\n")
}

// What never ends costs no memory: a line is cut off, a value over the limit is
// passed over while it comes.
func TestEndlessRequests(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers)
	good := dial(t, g)
	heap := func() (n int) {
		runtime.GC()
		fmt.Sscan(good.stats("")["heap_bytes"], &n)
		return n
	}
	block := []byte(strings.Repeat("x", 1<<20))
	before := heap()
	for _, first := range []string{"x", "set ", "get "} {
		c := dial(t, g)
		c.send("%s", first)
		sent := 0
		for sent < 256<<20 {
			n, err := c.nc.Write(block)
			sent += n
			if err != nil {
				break
			}
		}
		if sent >= 256<<20 {
			t.Errorf("%q: a line of 256 MiB was taken", first)
		}
	}
	const size = 512 << 20
	c := dial(t, g)
	c.send("set huge 0 0 %d\r\n", size)
	for range size >> 20 {
		if _, err := c.nc.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if n := heap(); n > before+16<<20 {
		t.Errorf("the heap went from %d to %d bytes", before, n)
	}
	c.do("\r\nmn\r\n", "SERVER_ERROR object too large for cache\r\nMN\r\n")
}

// What a client takes of a large output counts as it takes it, so that one that is
// slow is not thought to take nothing.
func TestSlowClientIsSeenToTakeSome(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	g := openGateway(t, servers, func(o *kumogateway.Options) { o.MaxBuffered, o.MaxAnswers = 64<<20, 64<<20 })
	good, slow := dial(t, g), dial(t, g)
	value := strings.Repeat("v", 1<<20)
	good.do(fmt.Sprintf("set big 0 0 %d\r\n%s\r\n", len(value), value), "STORED\r\n")
	held := func() (n int) {
		for name, value := range good.stats(" conns") {
			var bytes int
			if strings.HasSuffix(name, ":buffered_bytes") {
				fmt.Sscan(value, &bytes)
			}
			n = max(n, bytes)
		}
		return n
	}
	// More than what the kernel takes from the gateway before the client does.
	const asked = 16
	slow.nc.(*net.TCPConn).SetReadBuffer(256 << 10)
	slow.send("%s", strings.Repeat("get big\r\n", asked))
	eventually(t, "all answers are there", func() bool { return good.stats("")["get_hits"] == fmt.Sprint(asked) })
	answer := fmt.Sprintf("VALUE big 0 %d\r\n%s\r\nEND\r\n", len(value), value)
	for left := asked - 1; left >= asked/2; left-- {
		slow.expect(answer)
		eventually(t, "what was taken is held no more", func() bool { return held() <= left*len(answer)+256<<10 })
	}
	slow.expect(strings.Repeat(answer, asked/2))
}
