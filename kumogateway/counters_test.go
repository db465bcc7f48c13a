package kumogateway

import (
	"reflect"
	"testing"
)

// Sums are made every second over ten thousand connections and more.
func TestCountersAddWithoutAllocating(t *testing.T) {
	var sum, one counters
	if n := reflect.TypeFor[counters]().NumField(); n != numCounters {
		t.Errorf("%d counters, and %d are added", n, numCounters)
	}
	for _, p := range one.all() {
		*p++
	}
	if allocs := testing.AllocsPerRun(9, func() { sum.add(&one) }); allocs != 0 {
		t.Errorf("a sum takes %v allocations", allocs)
	}
	for i, p := range sum.all() {
		if *p != 10 {
			t.Errorf("counter %d is %d after ten times 1", i, *p)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	all := make([]counters, 10_000)
	var sum counters
	for b.Loop() {
		for i := range all {
			sum.add(&all[i])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/connection")
}

// What a scrape asks of ten thousand connections.
func BenchmarkScrape(b *testing.B) {
	g := &Gateway{conns: map[*conn]struct{}{}}
	for range 10_000 {
		g.conns[new(conn)] = struct{}{}
	}
	for b.Loop() {
		g.count()
		g.tookAll()
	}
}
