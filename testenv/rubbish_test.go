package testenv_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

// rubbish makes messages that nobody in order would send.
type rubbish struct {
	*rand.Rand
	cluster ring.ClusterID
	nodes   []ring.Node
	biggest int
}

func (r *rubbish) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// number is a msgpack integer, small most of the time.
func (r *rubbish) number(b []byte) []byte {
	if r.IntN(3) > 0 {
		return append(b, byte(r.IntN(128)))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), r.Uint64()>>r.IntN(64))
}

// value is one msgpack value of any kind.
func (r *rubbish) value(b []byte, depth int) []byte {
	switch k := r.IntN(8); {
	case k == 0 && depth < 4:
		n := r.IntN(6)
		b = append(b, 0x90|byte(n))
		for range n {
			b = r.value(b, depth+1)
		}
		return b
	case k < 3:
		n := r.IntN(40)
		return append(append(b, 0xc4, byte(n)), r.bytes(n)...)
	case k == 3:
		return append(b, 0xc2|byte(r.IntN(2)))
	}
	return r.number(b)
}

// item is an array like those of the data plane, of a kind and partition and
// rubbish. It is of epoch 0 or 1, which no partition has any more, so that it
// would be a lie to take it.
func (r *rubbish) item(b []byte) []byte {
	n := 6 + r.IntN(14)
	b = append(b, 0xdc, 0, byte(n), byte(r.IntN(11)), byte(r.IntN(40)), byte(r.IntN(2)))
	for range n - 3 {
		b = r.value(b, 0)
	}
	return b
}

// frame is a frame of this cluster with rubbish in it, or cut.
func (r *rubbish) frame() []byte {
	b := binary.BigEndian.AppendUint64([]byte{0x94, bus.WireVersion, 0xcf}, uint64(r.cluster))
	reply := []string{"", "kumodata.nobody", "a b\r\nPUB x 1\r\ny\r\n", "kumo.>", ".", strings.Repeat("x", 31)}[r.IntN(6)]
	b = append(append(b, 0xa0|byte(len(reply))), reply...)
	n := r.IntN(5)
	b = append(b, 0x90|byte(n))
	for range n {
		b = r.item(r.number(append(b, 0x92)))
	}
	if r.IntN(3) == 0 {
		b = b[:r.IntN(len(b))]
	}
	return b
}

func (r *rubbish) text() []byte {
	list := []string{
		"", "null", "{}", "[]", "0", `"`, `{"cluster":"kumo"}`, `{"have":-1,"from":-9}`, `{"from":99999}`,
		`{"cluster":"kumo","role":"server","node":"x"}`, `{"cluster":"kumo","role":"server","node":"x","id":"0000000000000001"}`,
		`{"cluster":"other","role":"server","node":"x","id":"0000000000000001","boot":"0000000000000002"}`,
		`{"revision":18446744073709551615,"size":16384,"changed":[]}`,
		`{"base":1,"revision":99999,"head":{"cluster":"kumo","cluster_id":"0000000000000001"},"size":-1}`,
		`{"changes":[{"partition":65535,"epoch":1,"primary":{"node":"0000000000000001","boot":"0000000000000001"},"isr":[]}]}`,
		fmt.Sprintf(`{"cluster":"%s","changes":[{"partition":16383},{}]}`, r.cluster),
		`{"partitions":[65535,0,1,16383]}`, `{"partition":16383,"accept_loss":true}`, `{"nodes":["nobody"]}`,
		`{"kind":"refused","process":{"node":"0000000000000001","boot":"0000000000000001"}}`,
		strings.Repeat("[", 100_000), `{"node":"` + strings.Repeat("x", 100_000) + `"}`,
	}
	return []byte(list[r.IntN(len(list))])
}

func (r *rubbish) message() []byte {
	switch r.IntN(20) {
	case 0:
		return r.bytes(r.biggest)
	case 1, 2, 3:
		return r.bytes(r.IntN(80))
	case 4, 5:
		return r.text()
	case 6:
		// An array that says that it is long.
		return append(r.frame(), 0xdd, 0xff, 0xff, 0xff, 0xff)
	case 7:
		return bytes.Repeat([]byte{0x91}, 1+r.IntN(r.biggest))
	}
	return r.frame()
}

// Rubbish on every subject of the bus harms nobody: the processes go on, no client
// sees anything of it, memory stays.
func TestRubbishOnTheBus(t *testing.T) {
	variation(t)
	t.Parallel()
	c := testenv.New(t, testenv.Processes(), testenv.Managers(3))
	c.EventuallyWhole()
	l, table := c.Layout(), c.Table()
	b, err := bus.Dial(bus.DialOptions{Name: "stranger", URLs: l.Addrs(subjects.RoleManager)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := &rubbish{Rand: rand.New(rand.NewPCG(seed, 1)), cluster: table.ClusterID, nodes: table.Nodes, biggest: 1<<20 + 64<<10}
	cluster := subjects.Cluster(l.Cluster)
	to := []string{
		cluster.Heartbeat("x"), cluster.Ring(), cluster.RingGet(), cluster.RingLatest(), cluster.RingChange(),
		cluster.Event(subjects.EventRefused), cluster.Event("x"),
	}
	for _, n := range table.Nodes {
		to = append(to, cluster.Lease(n.Name), cluster.ServerReply(n.Name), cluster.NodeAdmin(n.Name, subjects.NodeCopies), cluster.NodeAdmin(n.Name, subjects.NodeStat), cluster.Heartbeat(n.Name))
		for _, verb := range []string{subjects.VerbRead, subjects.VerbWrite, subjects.VerbPrepare, subjects.VerbEpoch, subjects.VerbStream} {
			to = append(to, cluster.Part(n.Name, 0, verb), cluster.Part(n.Name, 16383, verb), cluster.Part(n.Name, 3, verb))
		}
	}
	for _, addr := range l.Addrs(subjects.RoleManager) {
		name := subjects.NodeName(addr)
		for _, rpc := range []string{"append", "heartbeat", "vote", "prevote", "snapshot", "timeout", "reply", "x"} {
			to = append(to, cluster.Raft(name, rpc))
		}
	}
	for _, verb := range []string{subjects.AdminStatus, subjects.AdminRecover, subjects.AdminSet, subjects.AdminReplace} {
		to = append(to, cluster.Admin(verb))
	}
	pids, sizes := map[string]int{}, map[string]int{}
	names := append(c.Names(subjects.RoleServer), append(c.Names(subjects.RoleManager), c.Names(subjects.RoleGateway)...)...)
	for _, n := range names {
		pids[n] = c.PID(n)
	}
	load := c.Load()
	load.GoesOn()
	for round := range 6 {
		for range 1500 {
			subject := to[r.IntN(len(to))]
			m := r.message()
			if strings.Contains(subject, ".admin.") && !bytes.HasPrefix(m, []byte{0x94}) {
				m = r.bytes(r.IntN(80)) // a command that is well formed is obeyed
			}
			if err := b.Publish(subject, m); err != nil {
				t.Fatal(err)
			}
		}
		load.GoesOn()
		for _, n := range names {
			if round == 1 {
				sizes[n] = resident(t, pids[n])
			} else if now := resident(t, pids[n]); round > 1 && now > 2*sizes[n]+200<<10 {
				t.Errorf("%s has grown from %d to %d KiB", n, sizes[n], now)
			}
		}
	}
	load.Stop()
	load.NoErrors()
	load.Verify()
	for _, n := range names {
		if c.PID(n) != pids[n] {
			t.Errorf("%s is another process", n)
		}
		if s := c.LogOf(n); strings.Contains(s, "panic:") {
			t.Errorf("%s has panicked:\n%s", n, s)
		}
	}
	c.EventuallyWhole()
	if now := c.Table(); len(now.Nodes) != len(table.Nodes) {
		t.Errorf("the ring has %d servers, it had %d", len(now.Nodes), len(table.Nodes))
	}
}

// resident is the memory of a process, in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A gateway that takes larger values than the servers gets them refused, and costs
// no partition its primary.
func TestGatewayTakesLargerValues(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Args(subjects.RoleGateway, "--max-item-size", fmt.Sprint(8<<20)))
	c.EventuallyWhole()
	big := strings.Repeat("x", 900_000)
	c.Set("k", big)
	before := c.Table().Partitions[c.Table().Of([]byte("k"))]
	if got, err := c.Client(0).Store("append", "k", big); err == nil && got == "STORED" {
		t.Errorf("appended: %s", got)
	} else {
		t.Logf("append: %q %v", got, err)
	}
	if got := c.Get("k"); got != big {
		t.Errorf("k has %d bytes", len(got))
	}
	if now := c.Table().Partitions[c.Table().Of([]byte("k"))]; now.Epoch != before.Epoch {
		t.Errorf("epoch %d, was %d", now.Epoch, before.Epoch)
	}
}
