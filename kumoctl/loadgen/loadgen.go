// Package loadgen drives memcached servers with gets and sets and measures
// what they do: kumoctl bench. It speaks memcached's protocols, so that a gateway
// and memcached itself are measured alike.
package loadgen

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"
)

// Latency is a distribution, in microseconds.
type Latency struct {
	P50  int64 `json:"p50_us"`
	P90  int64 `json:"p90_us"`
	P99  int64 `json:"p99_us"`
	P999 int64 `json:"p999_us"`
	Max  int64 `json:"max_us"`
}

// Result is what was measured. A multi-get is one operation of many keys. With
// a pipeline the latency is that of a whole batch.
type Result struct {
	Addr       string  `json:"addr"`
	Operations int64   `json:"operations"`
	PerSecond  float64 `json:"per_second"`
	KeysPerSec float64 `json:"keys_per_second"` // of gets
	Hits       int64   `json:"hits"`
	Misses     int64   `json:"misses"`
	Errors     int64   `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	Latency    Latency `json:"latency"`
	CPU        float64 `json:"cpu_us,omitempty"` // of Options.PIDs, microseconds an operation
}

// Run fills and measures.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.Check(); err != nil {
		return Result{}, err
	}
	if _, err := cpuTime(o.PIDs); err != nil {
		return Result{}, err
	}
	clients := make([]*client, o.Connections)
	defer func() {
		for _, c := range clients {
			if c != nil {
				c.conn.Close()
			}
		}
	}()
	for i := range clients {
		var err error
		if clients[i], err = dial(ctx, o); err != nil {
			return Result{}, err
		}
	}
	// A context that ends cuts what is under way.
	stop := context.AfterFunc(ctx, func() {
		for _, c := range clients {
			c.conn.Close()
		}
	})
	defer stop()
	if o.Fill {
		if err := each(clients, func(i int, c *client) error { return c.fill(i, len(clients)) }); err != nil {
			return Result{}, fmt.Errorf("fill: %w", err)
		}
	}
	return drive(o, clients)
}

// drive measures, once everything is filled. CPU time counts from the end of the
// warm-up.
func drive(o Options, clients []*client) (Result, error) {
	work := (*client).measure
	if o.Rate > 0 {
		work = (*client).timetable
	}
	from := time.Now().Add(o.Warmup)
	var before time.Duration
	var beforeErr error
	warm := make(chan struct{})
	time.AfterFunc(o.Warmup, func() {
		before, beforeErr = cpuTime(o.PIDs)
		close(warm)
	})
	err := each(clients, func(i int, c *client) error { return work(c, i, from, from.Add(o.Time)) })
	if err != nil {
		return sum(o, clients), err
	}
	<-warm
	after, err := cpuTime(o.PIDs)
	r := sum(o, clients)
	if r.Operations > 0 {
		r.CPU = float64((after - before).Nanoseconds()) / 1e3 / float64(r.Operations)
	}
	return r, cmp.Or(beforeErr, err)
}

// each runs f for every client at the same time.
func each(clients []*client, f func(int, *client) error) error {
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { errs[i] = f(i, c) })
	}
	wg.Wait()
	return cmp.Or(errs...)
}

func sum(o Options, clients []*client) Result {
	r := Result{Addr: o.Addr}
	h := newHistogram()
	for _, c := range clients {
		h.Merge(c.latency)
		r.Operations += c.ops
		r.Hits += c.hits
		r.Misses += c.misses
		r.Errors += c.errors
		if r.FirstError == "" {
			r.FirstError = c.firstError
		}
	}
	r.PerSecond = float64(r.Operations) / o.Time.Seconds()
	r.KeysPerSec = float64(r.Hits+r.Misses) / o.Time.Seconds()
	r.Latency = Latency{h.ValueAtQuantile(50), h.ValueAtQuantile(90), h.ValueAtQuantile(99), h.ValueAtQuantile(99.9), h.Max()}
	return r
}
