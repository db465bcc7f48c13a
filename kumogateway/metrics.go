package kumogateway

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etolabo/kumofs/bus/metrics"
	"github.com/etolabo/kumofs/subjects"
)

// times are how long operations took.
type times struct{ read, write metrics.Times }

func (t *times) add(write bool, d time.Duration) {
	if write {
		t.write.Add(d)
	} else {
		t.read.Add(d)
	}
}

func (t *times) merge(o *times) {
	t.read.Merge(&o.read)
	t.write.Merge(&o.write)
}

var (
	errNoTable  = errors.New("no partition table yet")
	errNoServer = errors.New("no server can be reached")
	errClosed   = errors.New("stopping")
)

// Unready tells why the gateway cannot serve its clients: it has no partition
// table, or can reach no server that leads a partition.
func (g *Gateway) Unready() error {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	rs := g.router.routes.Load()
	switch {
	case closed:
		return errClosed
	case rs == nil:
		return errNoTable
	}
	for i := range rs.parts {
		if l := rs.parts[i].read; l != nil && l.Up() {
			return nil
		}
	}
	return errNoServer
}

// view is one look at a gateway for its metrics.
type view struct {
	g        *Gateway
	counters counters
	times    times
	open     int
	revision uint64
	waiting  int
	lost     int // partitions without a primary
}

func (g *Gateway) view() *view {
	v := &view{g: g}
	v.counters, v.open = g.count()
	v.revision, v.waiting = g.router.state()
	v.times = g.tookAll()
	led, all := g.router.led()
	v.lost = all - led
	return v
}

// tookAll sums the times of all connections, those that ended among them.
func (g *Gateway) tookAll() times {
	g.mu.Lock()
	defer g.mu.Unlock()
	sum := g.pastTook
	for c := range g.conns {
		c.mu.Lock()
		sum.merge(&c.took)
		c.mu.Unlock()
	}
	return sum
}

// since is what heartbeats tell of operations after an earlier look.
func (t *times) since(old *times) subjects.Took {
	read, write := t.read.Since(&old.read), t.write.Since(&old.write)
	return subjects.Took{
		Read50: read.Quantile(0.5).Microseconds(), Read99: read.Quantile(0.99).Microseconds(),
		Write50: write.Quantile(0.5).Microseconds(), Write99: write.Quantile(0.99).Microseconds(),
	}
}

// Metrics are what Prometheus is told, described in docs/metrics.md.
func (g *Gateway) Metrics() []prometheus.Collector {
	s := metrics.New(g.view)
	requests(s)
	clients(s)
	s.Histogram("kumofs_gateway_operation_duration_seconds", "Time of an operation on a key from the request to the answer, all attempts. Measured once per frame of answers.",
		func(v *view) metrics.Times { return v.times.read }, "operation", "read")
	s.Histogram("kumofs_gateway_operation_duration_seconds", "Time of an operation on a key from the request to the answer, all attempts. Measured once per frame of answers.",
		func(v *view) metrics.Times { return v.times.write }, "operation", "write")
	s.Counter("kumofs_gateway_slow_operations_total", "Operations that took as long as --slowlog-threshold or longer.",
		func(v *view) float64 { return float64(v.g.slow.count()) })
	s.Counter("kumofs_gateway_local_cache_hits_total", "Requests that the local cache answered (--local-cache).",
		func(v *view) float64 { return float64(v.g.cache.served()) })
	s.Gauge("kumofs_gateway_local_cache_bytes", "Bytes, about, of values in the local cache.",
		func(v *view) float64 { return float64(v.g.cache.held()) })
	s.Gauge("kumofs_gateway_local_cache_bound_bytes", "Bound of local_cache_bytes: --local-cache; 0 without one.",
		func(v *view) float64 { return float64(v.g.o.LocalCache) })
	s.Gauge("kumofs_gateway_waiting_operations", "Operations that wait for a newer partition table or for their next attempt.",
		func(v *view) float64 { return float64(v.waiting) })
	s.Gauge("kumofs_gateway_ring_revision", "Revision of the partition table that the gateway goes by; 0 for none.",
		func(v *view) float64 { return float64(v.revision) })
	s.Gauge("kumofs_gateway_partitions_without_primary", "Partitions that the gateway knows no live primary of.",
		func(v *view) float64 { return float64(v.lost) })
	return []prometheus.Collector{s, metrics.OfBus(g.bus, "gateway")}
}

// requests tells of what clients asked for and what came of it.
func requests(s *metrics.Set[view]) {
	count := func(name, help, label, value string, of func(*counters) uint64) {
		s.Counter(name, help, func(v *view) float64 { return float64(of(&v.counters)) }, label, value)
	}
	const total = "kumofs_gateway_requests_total"
	const help = "Requests by what memcached counts them as; one with both, such as gat, counts as both."
	count(total, help, "command", "get", func(c *counters) uint64 { return c.get })
	count(total, help, "command", "set", func(c *counters) uint64 { return c.set })
	count(total, help, "command", "touch", func(c *counters) uint64 { return c.touch })
	count(total, help, "command", "delete", func(c *counters) uint64 { return c.delete })
	count(total, help, "command", "incr", func(c *counters) uint64 { return c.incrHits + c.incrMisses })
	count(total, help, "command", "decr", func(c *counters) uint64 { return c.decrHits + c.decrMisses })
	count(total, help, "command", "flush_all", func(c *counters) uint64 { return c.flush })
	count(total, help, "command", "auth", func(c *counters) uint64 { return c.auth })
	const hits = "kumofs_gateway_hits_total"
	const hitsHelp = "Requests that found their key."
	const misses = "kumofs_gateway_misses_total"
	const missesHelp = "Requests that did not find their key."
	for _, c := range []struct {
		command string
		hit     func(*counters) uint64
		miss    func(*counters) uint64
	}{
		{"get", func(c *counters) uint64 { return c.getHits }, func(c *counters) uint64 { return c.getMisses }},
		{"touch", func(c *counters) uint64 { return c.touchHits }, func(c *counters) uint64 { return c.touchMisses }},
		{"delete", func(c *counters) uint64 { return c.deleteHits }, func(c *counters) uint64 { return c.deleteMisses }},
		{"incr", func(c *counters) uint64 { return c.incrHits }, func(c *counters) uint64 { return c.incrMisses }},
		{"decr", func(c *counters) uint64 { return c.decrHits }, func(c *counters) uint64 { return c.decrMisses }},
		{"cas", func(c *counters) uint64 { return c.casHits }, func(c *counters) uint64 { return c.casMisses }},
	} {
		count(hits, hitsHelp, "command", c.command, c.hit)
		count(misses, missesHelp, "command", c.command, c.miss)
	}
	const failed = "kumofs_gateway_errors_total"
	const failedHelp = "Requests that ended in an error, by its reason."
	count(failed, failedHelp, "reason", "timed_out", func(c *counters) uint64 { return c.timedOut })
	count(failed, failedHelp, "reason", "outcome_unknown", func(c *counters) uint64 { return c.unsure })
	count(failed, failedHelp, "reason", "too_large", func(c *counters) uint64 { return c.tooLarge })
	count(failed, failedHelp, "reason", "no_memory", func(c *counters) uint64 { return c.noMemory })
	count(failed, failedHelp, "reason", "auth", func(c *counters) uint64 { return c.authErrors })
	count(failed, failedHelp, "reason", "not_allowed", func(c *counters) uint64 { return c.denied })
}

// expiry is when the certificate expires, as a metric has it.
func expiry(s *secure) int64 {
	if t := s.expires(); !t.IsZero() {
		return t.Unix()
	}
	return 0
}

// clients tells of connections, and of memory that their requests take.
func clients(s *metrics.Set[view]) {
	counter := func(name, help string, of func(*view) uint64) {
		s.Counter(name, help, func(v *view) float64 { return float64(of(v)) })
	}
	gauge := func(name, help string, of func(*view) int64) {
		s.Gauge(name, help, func(v *view) float64 { return float64(of(v)) })
	}
	counter("kumofs_gateway_connections_total", "Clients that have come.", func(v *view) uint64 { return v.g.accepted.Load() })
	counter("kumofs_gateway_connections_rejected_total", "Clients that were turned away, since there were --max-connections.", func(v *view) uint64 { return v.g.rejected.Load() })
	counter("kumofs_gateway_connections_idle_closed_total", "Clients that were closed because of --idle-timeout.", func(v *view) uint64 { return v.counters.idleKicks })
	gauge("kumofs_gateway_connections", "Clients that are connected.", func(v *view) int64 { return int64(v.open) })
	gauge("kumofs_gateway_connections_bound", "Clients that may be connected at a time: --max-connections.", func(v *view) int64 { return v.g.lim.conns.Load() })
	gauge("kumofs_gateway_tls_connections", "Clients that are connected with TLS.", func(v *view) int64 { return v.g.secure.open.Load() })
	counter("kumofs_gateway_tls_handshake_errors_total", "Clients that should have begun with TLS and did not, or whose certificate is not as it should be.", func(v *view) uint64 { return v.g.secure.failed.Load() })
	gauge("kumofs_gateway_tls_expiry_seconds", "When the certificate that clients are shown expires, as a Unix time; 0 without TLS.", func(v *view) int64 { return expiry(&v.g.secure) })
	counter("kumofs_gateway_client_read_bytes_total", "Bytes that clients sent.", func(v *view) uint64 { return v.counters.bytesRead })
	counter("kumofs_gateway_client_written_bytes_total", "Bytes that clients were sent.", func(v *view) uint64 { return v.counters.bytesWritten })
	gauge("kumofs_gateway_request_held_bytes", "Bytes, about, of requests that wait for their answer.", func(v *view) int64 { return v.g.held.Load() })
	gauge("kumofs_gateway_request_reading_bytes", "Bytes of buffers for large requests that have half come.", func(v *view) int64 { return v.g.reading.Load() })
	gauge("kumofs_gateway_request_bound_bytes", "Bound of request_held_bytes and of request_reading_bytes; beyond it requests are refused.", func(v *view) int64 { return int64(v.g.o.MaxHeld) })
	gauge("kumofs_gateway_answer_held_bytes", "Bytes, about, of answers that clients have not taken.", func(v *view) int64 { return v.g.answers.Load() })
	gauge("kumofs_gateway_answer_bound_bytes", "Bound of answer_held_bytes; beyond it each connection gets one answer at a time.", func(v *view) int64 { return int64(v.g.o.MaxAnswers) })
}
