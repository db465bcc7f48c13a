package metrics_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/etolabo/kumofs/bus/metrics"
)

// gather returns a registry's metrics by name.
func gather(t *testing.T, c prometheus.Collector) map[string]*dto.MetricFamily {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	list, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.MetricFamily{}
	for _, f := range list {
		all[f.GetName()] = f
	}
	return all
}

type node struct {
	ops, bytes uint64
	times      metrics.Times
}

func TestSet(t *testing.T) {
	n := &node{ops: 3, bytes: 9}
	looks := 0
	s := metrics.New(func() *node { looks++; return n })
	s.Counter("ops_total", "Operations.", func(n *node) float64 { return float64(n.ops) }, "kind", "a")
	s.Counter("ops_total", "Operations.", func(n *node) float64 { return float64(2 * n.ops) }, "kind", "b")
	s.Gauge("size_bytes", "Size.", func(n *node) float64 { return float64(n.bytes) })
	all := gather(t, s)
	if looks != 1 {
		t.Errorf("%d looks for a scrape", looks)
	}
	ops := all["ops_total"].GetMetric()
	if len(ops) != 2 || ops[0].GetCounter().GetValue() != 3 || ops[1].GetCounter().GetValue() != 6 || ops[1].GetLabel()[0].GetValue() != "b" {
		t.Errorf("%v", ops)
	}
	if g := all["size_bytes"].GetMetric(); len(g) != 1 || g[0].GetGauge().GetValue() != 9 {
		t.Errorf("%v", g)
	}
	n = nil
	if all := gather(t, s); len(all) != 0 {
		t.Errorf("nothing to tell, and told %v", all)
	}
}

// Each time is counted in a bucket that holds it, and in no lower one.
func TestTimes(t *testing.T) {
	n := &node{}
	var sum time.Duration
	times := []time.Duration{
		-time.Second, 0, time.Microsecond, 31 * time.Microsecond, 33 * time.Microsecond, 63 * time.Microsecond,
		time.Millisecond, 999 * time.Millisecond, 10 * time.Second, 16 * time.Second, 17 * time.Second, time.Hour,
	}
	for _, d := range times {
		var one metrics.Times
		one.Add(d)
		n.times.Merge(&one)
		sum += max(0, d)
	}
	if n.times.Count() != uint64(len(times)) {
		t.Errorf("%d counted of %d", n.times.Count(), len(times))
	}
	s := metrics.New(func() *node { return n })
	s.Histogram("took_seconds", "Times.", func(n *node) metrics.Times { return n.times })
	h := gather(t, s)["took_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != uint64(len(times)) || math.Abs(h.GetSampleSum()-sum.Seconds()) > 1e-6 {
		t.Errorf("%d, %v s", h.GetSampleCount(), h.GetSampleSum())
	}
	for _, b := range h.GetBucket() {
		want := uint64(0)
		for _, d := range times {
			if d.Seconds() < b.GetUpperBound() {
				want++
			}
		}
		if b.GetCumulativeCount() != want {
			t.Errorf("%d below %v, want %d", b.GetCumulativeCount(), b.GetUpperBound(), want)
		}
	}
	if n := len(h.GetBucket()); n != 20 || h.GetBucket()[0].GetUpperBound() != 32e-6 {
		t.Errorf("%d buckets from %v", n, h.GetBucket()[0].GetUpperBound())
	}
}

func TestHistogram(t *testing.T) {
	h := metrics.NewHistogram("flush_seconds", "Flushes.", "file", "log")
	h.Observe(0.001)
	f := gather(t, h)["flush_seconds"]
	if m := f.GetMetric()[0]; m.GetHistogram().GetSampleCount() != 1 || !strings.Contains(m.String(), "log") {
		t.Errorf("%v", f)
	}
}

func BenchmarkTimes(b *testing.B) {
	var t metrics.Times
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		t.Add(time.Duration(i&0xfffff) * 10)
	}
}

func TestQuantiles(t *testing.T) {
	var times, none metrics.Times
	if q := times.Quantile(0.5); q != 0 {
		t.Errorf("the median of nothing is %s", q)
	}
	for range 90 {
		times.Add(100 * time.Microsecond)
	}
	before := times
	for range 10 {
		times.Add(40 * time.Millisecond)
	}
	times.Add(time.Hour)
	within := func(name string, got, least, most time.Duration) {
		t.Helper()
		if got < least || got > most {
			t.Errorf("%s: %s, want %s to %s", name, got, least, most)
		}
	}
	within("median", times.Quantile(0.5), 64*time.Microsecond, 128*time.Microsecond)
	within("p95", times.Quantile(0.95), 32768*time.Microsecond, 65536*time.Microsecond)
	within("most", times.Quantile(1), 16*time.Second, 34*time.Second)
	if late := times.Since(&before); late.Count() != 11 {
		t.Errorf("%d were counted since, want 11", late.Count())
	} else {
		within("median since", late.Quantile(0.5), 32768*time.Microsecond, 65536*time.Microsecond)
	}
	if all := times.Since(&none); all != times {
		t.Error("since the start is not all")
	}
}
