// Package metrics is how daemons tell Prometheus of themselves: a Set of metrics
// that are read from one look at a daemon at each scrape, so that what is counted
// is counted as the daemon likes, and the metrics of the bus, which all have.
//
// Labels are constant: what a Set can tell is fixed when it is made, however many
// keys and clients there are.
package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Set is the metrics of a T, such as the counters of a server. It is a
// prometheus.Collector. It must not be added to once it is registered.
type Set[T any] struct {
	look func() *T
	list []metric[T]
}

type metric[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*T) float64
	times func(*T) Times
}

// New makes a set that looks at its daemon by look, once for each scrape. A look
// that returns nil has nothing to tell.
func New[T any](look func() *T) *Set[T] { return &Set[T]{look: look} }

// Gauge adds a value that goes up and down. Labels are names and values in turn.
func (s *Set[T]) Gauge(name, help string, value func(*T) float64, labels ...string) {
	s.list = append(s.list, metric[T]{desc: desc(name, help, labels), kind: prometheus.GaugeValue, value: value})
}

// Counter adds a value that grows, and begins anew with the daemon.
func (s *Set[T]) Counter(name, help string, value func(*T) float64, labels ...string) {
	s.list = append(s.list, metric[T]{desc: desc(name, help, labels), kind: prometheus.CounterValue, value: value})
}

// Histogram adds times that the daemon counts itself.
func (s *Set[T]) Histogram(name, help string, times func(*T) Times, labels ...string) {
	s.list = append(s.list, metric[T]{desc: desc(name, help, labels), times: times})
}

func desc(name, help string, labels []string) *prometheus.Desc {
	if len(labels)%2 != 0 {
		panic(fmt.Sprintf("metrics: %s has a label without a value", name))
	}
	with := prometheus.Labels{}
	for i := 0; i < len(labels); i += 2 {
		with[labels[i]] = labels[i+1]
	}
	return prometheus.NewDesc(name, help, nil, with)
}

// Describe implements prometheus.Collector.
func (s *Set[T]) Describe(to chan<- *prometheus.Desc) {
	for i := range s.list {
		to <- s.list[i].desc
	}
}

// Collect implements prometheus.Collector.
func (s *Set[T]) Collect(to chan<- prometheus.Metric) {
	t := s.look()
	if t == nil {
		return
	}
	for i := range s.list {
		if m := &s.list[i]; m.times != nil {
			to <- m.times(t).metric(m.desc)
		} else {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(t))
		}
	}
}

// Bool is 1 for true, as Prometheus has it.
func Bool(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
