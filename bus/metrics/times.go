package metrics

import (
	"math/bits"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The bounds of Times: 32 µs, and twice as much each, to 16.8 s.
const (
	firstShift = 5  // 32 µs
	bounds     = 20 // finite ones
)

// Times counts how long things took, by powers of two. It has no lock: each
// connection has its own, under the connection's, and costs it a few
// nanoseconds. The zero value is ready.
type Times struct {
	count [bounds + 1]uint64
	sum   uint64 // nanoseconds
}

// Add counts a time; one below 0, of two clocks that are not quite the same,
// counts as 0.
func (t *Times) Add(d time.Duration) {
	d = max(d, 0)
	t.count[min(bits.Len64(uint64(d)/1000>>firstShift), bounds)]++
	t.sum += uint64(d)
}

// Merge adds what another has counted.
func (t *Times) Merge(o *Times) {
	for i, n := range o.count {
		t.count[i] += n
	}
	t.sum += o.sum
}

// Count is how many times were counted.
func (t *Times) Count() (n uint64) {
	for _, c := range t.count {
		n += c
	}
	return n
}

// Since is what was counted after an earlier look at the same times.
func (t *Times) Since(before *Times) Times {
	out := *t
	for i, n := range before.count {
		out.count[i] -= n
	}
	out.sum -= before.sum
	return out
}

// Quantile is about how long the quickest share q, of 0 to 1, of what was counted
// took at most; 0 if nothing was counted. It is right within a factor of two: times
// between two bounds are taken to lie evenly.
func (t *Times) Quantile(q float64) time.Duration {
	total := t.Count()
	if total == 0 {
		return 0
	}
	rank, below := q*float64(total), uint64(0)
	for i, n := range t.count {
		if n == 0 || float64(below+n) < rank {
			below += n
			continue
		}
		high := time.Duration(1<<(i+firstShift)) * time.Microsecond
		low := high / 2
		if i == 0 {
			low = 0
		}
		return low + time.Duration(max(0, rank-float64(below))/float64(n)*float64(high-low))
	}
	return time.Duration(1<<(bounds+firstShift)) * time.Microsecond
}

// metric makes Prometheus's histogram of it, in seconds.
func (t Times) metric(d *prometheus.Desc) prometheus.Metric {
	buckets, total := make(map[float64]uint64, bounds), uint64(0)
	for i := range bounds {
		total += t.count[i]
		buckets[float64(uint64(1)<<(i+firstShift))/1e6] = total
	}
	return prometheus.MustNewConstHistogram(d, total+t.count[bounds], float64(t.sum)/1e9, buckets)
}

// NewHistogram makes a histogram of seconds that many goroutines may observe,
// for what happens to many operations at a time: 16 µs to 8 s.
func NewHistogram(name, help string, labels ...string) prometheus.Histogram {
	with := prometheus.Labels{}
	for i := 0; i+1 < len(labels); i += 2 {
		with[labels[i]] = labels[i+1]
	}
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: name, Help: help, ConstLabels: with, Buckets: prometheus.ExponentialBuckets(16e-6, 2, 20),
	})
}
