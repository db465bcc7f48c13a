package loadgen

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	ioTimeout = 30 * time.Second
	fillBatch = 64
	maxMicros = 60_000_000
)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxMicros, 3) }

// client is one connection. One goroutine at a time uses it.
type client struct {
	o       Options
	conn    net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	wire    wire
	draw    *draw
	pending []bool // of the batch under way: whether a request is a set
	names   []byte
	keys    [][]byte

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
	if conn, err = secure(ctx, conn, o); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &client{
		o: o, conn: conn, r: bufio.NewReaderSize(conn, 64<<10), w: bufio.NewWriterSize(conn, 64<<10),
		wire: newWire(o.Protocol), draw: newDraw(o), latency: newHistogram(),
	}, nil
}

// secure makes a connection one with TLS, if it is to be. It is closed on an error.
func secure(ctx context.Context, conn net.Conn, o Options) (net.Conn, error) {
	if o.TLS == nil {
		return conn, nil
	}
	config := o.TLS.Clone()
	config.ServerName, _, _ = net.SplitHostPort(o.Addr)
	t := tls.Client(conn, config)
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}

// fill sets this client's share of the keys.
func (c *client) fill(i, of int) error {
	for k := i; k < c.o.Keys; {
		n := 0
		for ; k < c.o.Keys && n < fillBatch; k += of {
			c.set(k)
			n++
		}
		if err := c.send(); err != nil {
			return err
		}
		for range n {
			if err := c.answered(c.wire.stored(c.r)); err != nil {
				return err
			}
		}
		if c.errors > 0 {
			return fmt.Errorf("the server says %s", c.firstError)
		}
	}
	return nil
}

// measure runs operations until a time and counts those that began after from.
func (c *client) measure(_ int, from, until time.Time) error {
	for {
		began := time.Now()
		if !began.Before(until) {
			return nil
		}
		if err := c.counted(began, from); err != nil {
			return err
		}
	}
}

// timetable begins operations when they are due, or as soon as the one before is
// done. A latency counts from when the operation was due.
func (c *client) timetable(i int, from, until time.Time) error {
	every := time.Duration(float64(c.o.Connections) / c.o.Rate * float64(time.Second))
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := from.Add(-c.o.Warmup).Add(every * time.Duration(i) / time.Duration(c.o.Connections))
	for ; due.Before(until); due = due.Add(every) {
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			<-timer.C
		}
		if err := c.counted(due, from); err != nil {
			return err
		}
	}
	return nil
}

// counted runs a batch that began, or was due, at a time.
func (c *client) counted(began, from time.Time) error {
	if err := c.batch(); err != nil {
		return err
	}
	if began.Before(from) {
		c.hits, c.misses, c.errors, c.firstError = 0, 0, 0, ""
		return nil
	}
	c.ops += int64(len(c.pending))
	return c.latency.RecordValue(min(time.Since(began).Microseconds(), maxMicros))
}

// batch sends a pipeline of requests and reads their answers.
func (c *client) batch() error {
	c.pending = c.pending[:0]
	for range c.o.Pipeline {
		isSet := c.o.Sets > 0 && c.draw.random.Float64() < c.o.Sets
		if isSet {
			c.set(c.draw.key())
		} else {
			c.get()
		}
		c.pending = append(c.pending, isSet)
	}
	if err := c.send(); err != nil {
		return err
	}
	for _, isSet := range c.pending {
		if err := c.receive(isSet); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) receive(isSet bool) error {
	if isSet {
		return c.answered(c.wire.stored(c.r))
	}
	hits, err := c.wire.values(c.r, c.o.MultiGet)
	c.hits += int64(hits)
	c.misses += int64(c.o.MultiGet - hits)
	return c.answered(err)
}

func (c *client) send() error {
	if err := c.conn.SetDeadline(time.Now().Add(ioTimeout)); err != nil {
		return err
	}
	return c.w.Flush()
}

func (c *client) set(k int) {
	c.names = c.draw.name(c.names[:0], k)
	c.wire.set(c.w, c.names, c.draw.val())
}

func (c *client) get() {
	c.names, c.keys = c.names[:0], c.keys[:0]
	for range c.o.MultiGet {
		from := len(c.names)
		c.names = c.draw.name(c.names, c.draw.key())
		c.keys = append(c.keys, c.names[from:len(c.names):len(c.names)])
	}
	c.wire.get(c.w, c.keys)
}

// answered counts refusals; any other error ends the client.
func (c *client) answered(err error) error {
	var no refused
	if !errors.As(err, &no) {
		return err
	}
	if c.errors++; c.firstError == "" {
		c.firstError = string(no)
	}
	return nil
}
