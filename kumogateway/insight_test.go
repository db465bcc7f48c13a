package kumogateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/subjects"
)

// asked asks a gateway an operator's question, as kumoctl does.
func asked[T any](t testing.TB, b *bus.Bus, g *kumogateway.Gateway, verb string, req any) (answer T, err error) {
	t.Helper()
	var body []byte
	if req != nil {
		if body, err = json.Marshal(req); err != nil {
			t.Fatal(err)
		}
	}
	var m *bus.Msg
	eventually(t, "the gateway answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		m, err = b.Request(ctx, testCluster.GatewayAdmin(g.Node(), verb), body)
		return !errors.Is(err, bus.ErrNoResponders)
	})
	if err != nil {
		t.Fatal(err)
	}
	var rep subjects.AdminReply
	if err := json.Unmarshal(m.Data, &rep); err != nil {
		t.Fatalf("%s: %v", m.Data, err)
	}
	if rep.Error != nil {
		return answer, rep.Error
	}
	if err := json.Unmarshal(rep.Data, &answer); err != nil {
		t.Fatalf("%s: %v", rep.Data, err)
	}
	return answer, nil
}

func slowLog(t testing.TB, n *node, g *kumogateway.Gateway, reset bool) subjects.SlowLog {
	t.Helper()
	l, err := asked[subjects.SlowLog](t, n.bus, g, subjects.NodeSlowLog, subjects.SlowLogRequest{Reset: reset})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Operations that take as long as the threshold are kept, the last ones, and
// others are not.
func TestSlowLog(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	n := nodes[0]
	const threshold = time.Hour / 2
	g := openGateway(t, servers, func(o *kumogateway.Options) {
		o.SlowThreshold, o.SlowSize, o.KeyPrefix, o.OpTimeout = threshold, 3, "p:", time.Minute
	})
	c := dial(t, g)
	c.do("set a 0 0 5\r\nhello\r\nget a\r\n", "STORED\r\nVALUE a 0 5\r\nhello\r\nEND\r\n")
	if l := slowLog(t, n, g, false); l.Total != 0 || len(l.Operations) != 0 || l.Room != 3 || l.Threshold != int64(threshold) {
		t.Errorf("nothing was slow: %+v", l)
	}

	// With the least threshold that there is, everything is slow.
	g = openGateway(t, servers, func(o *kumogateway.Options) {
		o.SlowThreshold, o.SlowSize, o.KeyPrefix = 1, 3, "p:"
	})
	c = dial(t, g)
	left := 2
	n.misbehave(func(bool, string) *subjects.Status {
		if left--; left >= 0 {
			return told(subjects.StatusRetry)
		}
		return nil
	})
	c.do("set b\x01 0 0 5\r\nhello\r\n", "STORED\r\n")
	c.do("get b\x01\r\n", "VALUE b\x01 0 5\r\nhello\r\nEND\r\n")
	c.do("incr none 1\r\n", "NOT_FOUND\r\n")
	l := slowLog(t, n, g, false)
	if l.Total != 3 || len(l.Operations) != 3 {
		t.Fatalf("%+v", l)
	}
	now := time.Now().UnixMilli()
	for i, want := range []subjects.SlowOp{
		{Verb: "incr", Key: "p:none", KeyBytes: 6, Outcome: "NOT_FOUND"},
		{Verb: "get", Key: `p:b\x01`, KeyBytes: 4, Size: 5, Outcome: "OK"},
		{Verb: "set", Key: `p:b\x01`, KeyBytes: 4, Size: 5, Retries: 2, Outcome: "OK"},
	} {
		got := l.Operations[i]
		if got.Time > now || got.Time < now-60_000 || got.Duration <= 0 {
			t.Errorf("%+v", got)
		}
		want.Time, want.Duration, want.Server = got.Time, got.Duration, n.bus.Name()
		if got != want {
			t.Errorf("operation %d:\n got %+v\nwant %+v", i, got, want)
		}
	}
	c.do("delete none\r\n", "NOT_FOUND\r\n")
	c.do("get "+strings.Repeat("k", 200)+"\r\n", "END\r\n")
	l = slowLog(t, n, g, true)
	if l.Total != 5 || len(l.Operations) != 3 || l.Operations[1].Verb != "delete" || l.Operations[2].Verb != "incr" {
		t.Errorf("the last three of five: %+v", l)
	}
	if o := l.Operations[0]; len(o.Key) > subjects.MaxSlowKey+len("…") || o.KeyBytes != 202 {
		t.Errorf("a long key: %+v", o)
	}
	if l := slowLog(t, n, g, false); l.Total != 0 || len(l.Operations) != 0 {
		t.Errorf("after a reset: %+v", l)
	}
	if _, err := asked[subjects.SlowLog](t, n.bus, g, subjects.NodeSlowLog, "nonsense"); !errors.Is(err, subjects.ErrBadRequest) {
		t.Errorf("nonsense is answered with %v", err)
	}
}

// An operation that never finds a server is slow, too, and says so.
func TestSlowLogWithoutServer(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	agree(nil, nodes...)
	g := openUnready(t, servers, timeout(100*time.Millisecond), func(o *kumogateway.Options) { o.SlowThreshold, o.SlowSize = 50*time.Millisecond, 10 })
	c := dial(t, g)
	c.send("get a\r\n")
	if got := c.line(); !strings.HasPrefix(got, "SERVER_ERROR") {
		t.Errorf("got %q", got)
	}
	l := slowLog(t, nodes[0], g, false)
	if len(l.Operations) != 1 || l.Operations[0].Server != "" || l.Operations[0].Duration < int64(50*time.Millisecond) || !strings.HasPrefix(l.Operations[0].Outcome, "SERVER_ERROR") {
		t.Errorf("%+v", l)
	}
	if g.Unready() == nil {
		t.Error("a gateway without a table is ready")
	}
}

// Without a threshold nothing is kept.
func TestSlowLogOff(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	for _, off := range []func(*kumogateway.Options){
		func(o *kumogateway.Options) { o.SlowThreshold = 0 },
		func(o *kumogateway.Options) { o.SlowThreshold, o.SlowSize = 1, 0 },
	} {
		g := openGateway(t, servers, off)
		dial(t, g).do("get a\r\n", "END\r\n")
		if l := slowLog(t, nodes[0], g, false); l.Total != 0 || l.Threshold != 0 || len(l.Operations) != 0 {
			t.Errorf("%+v", l)
		}
	}
}

// The key that is asked for most is found, whatever else is asked for.
func TestHotKeys(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	g := openGateway(t, servers)
	c := dial(t, g)
	const rounds = 2000
	for i := range rounds {
		c.send("get hot\r\nset warm 0 0 1\r\nx\r\nget hot\r\nget cold-%d\r\n", i)
		c.expect("END\r\nSTORED\r\nEND\r\nEND\r\n")
	}
	h, err := asked[subjects.HotKeys](t, nodes[0].bus, g, subjects.NodeHotKeys, nil)
	if err != nil {
		t.Fatal(err)
	}
	if h.Every < 2 || h.Seconds <= 0 || h.Samples == 0 || len(h.Keys) < 2 || len(h.Keys) > subjects.MaxHotKeys {
		t.Fatalf("%+v", h)
	}
	if n := int(h.Samples) * h.Every; n < 4*rounds/2 || n > 4*rounds*2 {
		t.Errorf("%d samples of %d operations, one of %d", h.Samples, 4*rounds, h.Every)
	}
	hot, warm := h.Keys[0], h.Keys[1]
	if hot.Key != "hot" || hot.Writes != 0 || warm.Key != "warm" || warm.Writes != warm.Count {
		t.Errorf("the first are %+v, %+v", hot, warm)
	}
}

// A gateway is ready while it can reach a server that leads.
func TestUnready(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 2)
	g := openGateway(t, servers)
	if err := g.Unready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	nodes[0].stop()
	eventually(t, "it goes on with the other", func() bool { return g.Unready() == nil })
	nodes[1].stop()
	eventually(t, "none can be reached", func() bool { return g.Unready() != nil })
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if g.Unready() == nil {
		t.Error("ready after its end")
	}
}

// value gathers the metrics and returns the sum of one over its labels, of a
// histogram its count.
func value(t *testing.T, g *kumogateway.Gateway, name string) (sum float64) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	for _, c := range g.Metrics() {
		if err := reg.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	list, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range list {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				found = true
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	if !found {
		t.Fatalf("there is no %s", name)
	}
	return sum
}

// What clients do is counted, also that of clients that have gone.
func TestMetrics(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 2)
	g := openGateway(t, servers)
	const ops = 30
	for i := range ops / 3 {
		c := dial(t, g)
		c.do(fmt.Sprintf("set k%d 0 0 1\r\nx\r\nget k%d\r\nget none\r\nquit\r\n", i, i), fmt.Sprintf("STORED\r\nVALUE k%d 0 1\r\nx\r\nEND\r\nEND\r\n", i))
		c.rest()
	}
	eventually(t, "all clients have gone", func() bool { return value(t, g, "kumofs_gateway_connections") == 0 })
	for name, want := range map[string]float64{
		"kumofs_gateway_operation_duration_seconds":    ops,
		"kumofs_gateway_requests_total":                ops,
		"kumofs_gateway_hits_total":                    ops / 3,
		"kumofs_gateway_misses_total":                  ops / 3,
		"kumofs_gateway_errors_total":                  0,
		"kumofs_gateway_connections_total":             ops / 3,
		"kumofs_gateway_connections_bound":             4096,
		"kumofs_gateway_waiting_operations":            0,
		"kumofs_gateway_request_held_bytes":            0,
		"kumofs_gateway_ring_revision":                 1,
		"kumofs_gateway_partitions_without_primary":    0,
		"kumofs_bus_connected":                         1,
		"kumofs_bus_frames_refused_total":              0,
		"kumofs_gateway_connections_rejected_total":    0,
		"kumofs_gateway_connections_idle_closed_total": 0,
		"kumofs_gateway_request_reading_bytes":         0,
		"kumofs_gateway_answer_held_bytes":             0,
		"kumofs_bus_lanes":                             4,
	} {
		if got := value(t, g, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if n := value(t, g, "kumofs_bus_frame_items_total"); n < 2*ops {
		t.Errorf("%v items in frames", n)
	}
}
