package testenv_test

import (
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

// asker speaks to servers as a gateway does.
type asker struct {
	t      *testing.T
	caller *bus.Caller
	table  *ring.Table
}

func newAsker(t *testing.T, c *testenv.Cluster) *asker {
	t.Helper()
	b, err := bus.Dial(bus.DialOptions{Name: "asker", URLs: []string{c.Addr("server1")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	a := &asker{t: t, table: c.Table()}
	a.caller, err = b.NewCaller(bus.CallerOptions{
		ReplyPrefix: subjects.Cluster(subjects.DefaultCluster).GatewayReply(ring.BootID(7)),
		ClusterID:   func() uint64 { return uint64(a.table.ClusterID) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// answerOf is an answer to come.
type answerOf struct {
	rep subjects.Reply
	err error
	in  chan struct{}
}

// Done implements bus.Pending.
func (a *answerOf) Done(body []byte, err error, _ *bus.Batch) {
	if a.err = err; err == nil {
		a.err = a.rep.Decode(body)
	}
	close(a.in)
}

// again reports whether the asker is told to ask again.
func (a *answerOf) again() bool {
	<-a.in
	return a.err == nil && a.rep.Status == subjects.StatusRetry
}

// ask sends a message about a key to its primary.
func (a *asker) ask(key, verb string, body []byte) *answerOf {
	p := a.table.Of([]byte(key))
	n, _ := a.table.Primary(p)
	ans := &answerOf{in: make(chan struct{})}
	a.caller.Lane(n.Name+verb, n.Addr).Call(subjects.Cluster(subjects.DefaultCluster).Part(n.Name, p, verb),
		time.Now().Add(testenv.Patience), body, ans)
	return ans
}

func (a *asker) epoch(key string) ring.Epoch {
	return a.table.Partitions[a.table.Of([]byte(key))].Epoch
}

func (a *asker) read(key string, ahead ring.Epoch) *answerOf {
	m := subjects.Read{Partition: a.table.Of([]byte(key)), Epoch: a.epoch(key) + ahead, Key: []byte(key)}
	return a.ask(key, subjects.VerbRead, m.Append(nil))
}

func (a *asker) write(key, value string, ahead ring.Epoch) *answerOf {
	m := subjects.Write{
		Partition: a.table.Of([]byte(key)), Epoch: a.epoch(key) + ahead, Key: []byte(key), Value: []byte(value), Verb: subjects.VerbSet,
		Op: subjects.OpID{Boot: 7, N: 1, Lowest: 1}, Attempt: 1, MaxItem: subjects.DefaultMaxItem,
	}
	return a.ask(key, subjects.VerbWrite, m.Append(nil))
}

func (a *asker) want(ans *answerOf, status subjects.Status, value string) {
	a.t.Helper()
	<-ans.in
	if ans.err != nil || ans.rep.Status != status || string(ans.rep.Value) != value {
		a.t.Errorf("%v %q, %v; want %v %q", ans.rep.Status, ans.rep.Value, ans.err, status, value)
	}
}

// Operations of a gateway whose ring is newer than the server's wait for the
// ring, rather than being sent back and coming again after ever longer times.
func TestOperationsWaitForTheRing(t *testing.T) {
	t.Parallel()
	c := testenv.New(t, testenv.Servers(1))
	c.Set("read", "old")
	c.Set("write", "old")
	a := newAsker(t, c)
	c.EventuallyState(c.AddServer(), "new")
	read, write := a.read("read", 1), a.write("write", "new", 1)
	a.want(a.read("read", 0), subjects.StatusOK, "old") // others do not wait behind them
	select {
	case <-read.in:
		t.Errorf("a read was answered before its epoch began: %+v", read.rep)
	case <-write.in:
		t.Errorf("a write was answered before its epoch began: %+v", write.rep)
	default:
	}
	c.Attach() // a copy more of everything: new epochs
	for read.again() {
		read = a.read("read", 1) // it took longer than operations wait
	}
	for write.again() {
		write = a.write("write", "new", 1)
	}
	a.want(read, subjects.StatusOK, "old")
	a.want(write, subjects.StatusOK, "")
	if v := c.Get("write"); v != "new" {
		t.Errorf("write is %q", v)
	}
	c.EventuallyWhole()
	a.table = c.Table()
	for _, ans := range []*answerOf{a.read("read", 1000), a.write("write", "never", 1000)} {
		a.want(ans, subjects.StatusRetry, "") // no such epoch comes
	}
	a.want(a.read("read", 0), subjects.StatusOK, "old")
	if v := c.Get("write"); v != "new" {
		t.Errorf("write is %q", v)
	}
}
