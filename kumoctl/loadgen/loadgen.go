// Package loadgen drives memcached servers with gets and sets and measures
// what they do: kumoctl bench. It speaks the text protocol, so that a gateway
// and memcached itself are measured alike.
package loadgen

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Options say what load.
type Options struct {
	Addr        string        // of a memcached server, host:port
	Connections int           // each with one request, or Pipeline, under way
	Time        time.Duration // that is measured, after Warmup
	Warmup      time.Duration
	Keys        int     // key-0 to key-(Keys-1), drawn evenly
	Size        int     // bytes of a value
	Sets        float64 // share of sets among the operations, 0 to 1
	MultiGet    int     // keys of a get; 1 for plain gets
	Pipeline    int     // requests that are sent before the first answer is read
	Fill        bool    // set every key once before
}

// Defaults are gets of 1 KiB.
func Defaults() Options {
	return Options{
		Addr: "127.0.0.1:11211", Connections: 32, Time: 10 * time.Second, Warmup: time.Second,
		Keys: 100_000, Size: 1024, MultiGet: 1, Pipeline: 1, Fill: true,
	}
}

// Check says what cannot be.
func (o Options) Check() error {
	switch {
	case o.Connections < 1 || o.Connections > 10_000:
		return fmt.Errorf("%d connections: want 1 to 10000", o.Connections)
	case o.Time <= 0 || o.Warmup < 0:
		return errors.New("the time to measure must be positive")
	case o.Keys < 1 || o.Size < 0 || o.Size > 16<<20:
		return errors.New("want at least one key, and values of at most 16 MiB")
	case o.Sets < 0 || o.Sets > 1:
		return errors.New("the share of sets is a number from 0 to 1")
	case o.MultiGet < 1 || o.MultiGet > 1000 || o.Pipeline < 1 || o.Pipeline > 1000:
		return errors.New("multi-gets and pipelines: want 1 to 1000")
	}
	return nil
}

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
	KeysPerSec float64 `json:"keys_per_second"`
	Hits       int64   `json:"hits"`
	Misses     int64   `json:"misses"`
	Errors     int64   `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	Latency    Latency `json:"latency"`
}

const (
	ioTimeout = 30 * time.Second
	fillBatch = 64
	maxMicros = 60_000_000
)

// Run fills and measures.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.Check(); err != nil {
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
	from := time.Now().Add(o.Warmup)
	err := each(clients, func(_ int, c *client) error { return c.measure(from, from.Add(o.Time)) })
	return sum(o, clients), err
}

// each runs f for every client at the same time.
func each(clients []*client, f func(int, *client) error) error {
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { errs[i] = f(i, c) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
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

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxMicros, 3) }

// client is one connection. One goroutine at a time uses it.
type client struct {
	o       Options
	conn    net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	value   []byte
	random  *rand.Rand
	pending []bool // of the batch under way: whether a request is a set

	latency                   *hdrhistogram.Histogram
	ops, hits, misses, errors int64
	firstError                string
}

func dial(ctx context.Context, o Options) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	c := &client{
		o: o, conn: conn, r: bufio.NewReaderSize(conn, 64<<10), w: bufio.NewWriterSize(conn, 64<<10),
		value: make([]byte, o.Size), random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), latency: newHistogram(),
	}
	for i := range c.value {
		c.value[i] = 'a' + byte(c.random.IntN(26))
	}
	return c, nil
}
