package loadgen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options say what load.
type Options struct {
	Addr        string        // of a memcached server, host:port
	TLS         *tls.Config   // how to speak to it; nil: without TLS
	Protocol    string        // one of Protocols
	Connections int           // each with one request, or Pipeline, under way
	Time        time.Duration // that is measured, after Warmup
	Warmup      time.Duration
	Keys        int     // key-0 to key-(Keys-1)
	KeySize     Range   // bytes of a key, which are at least those of its name
	Size        Range   // bytes of a value
	Zipf        float64 // the exponent by which some keys are drawn more often, > 1; 0: evenly
	Sets        float64 // share of sets among the operations, 0 to 1
	MultiGet    int     // keys of a get; 1 for plain gets
	Pipeline    int     // requests that are sent before the first answer is read
	// Rate is how many operations a second are begun, by a timetable: those that
	// come late because earlier ones took long count from when they were due, so
	// that a server that stands still is not measured less often for it. 0: each
	// connection begins one when its last is done.
	Rate float64
	Fill bool  // set every key once before
	PIDs []int // processes whose CPU time is counted
}

// Protocols are what can be spoken.
var Protocols = []string{"text", "meta", "binary"}

// Defaults are gets of 1 KiB.
func Defaults() Options {
	return Options{
		Addr: "127.0.0.1:11211", Protocol: "text", Connections: 32, Time: 10 * time.Second, Warmup: time.Second,
		Keys: 100_000, Size: Range{1024, 1024}, MultiGet: 1, Pipeline: 1, Fill: true,
	}
}

const (
	maxValue = 16 << 20
	maxKey   = 250
)

// Check says what cannot be.
func (o Options) Check() error {
	switch {
	case !slices.Contains(Protocols, o.Protocol):
		return fmt.Errorf("protocol %q: want %s", o.Protocol, strings.Join(Protocols, ", "))
	case o.Connections < 1 || o.Connections > 10_000:
		return fmt.Errorf("%d connections: want 1 to 10000", o.Connections)
	case o.Time <= 0 || o.Warmup < 0:
		return errors.New("the time to measure must be positive")
	case o.Keys < 1 || o.Size.Min < 0 || o.Size.Max > maxValue || o.Size.Min > o.Size.Max:
		return errors.New("want at least one key, and values of at most 16 MiB")
	case o.KeySize.Min < 0 || o.KeySize.Max > maxKey || o.KeySize.Min > o.KeySize.Max:
		return fmt.Errorf("keys of %s bytes: want at most %d", o.KeySize, maxKey)
	case o.Zipf != 0 && o.Zipf <= 1:
		return errors.New("the exponent of zipf's law must be above 1, or 0 for even draws")
	case o.Sets < 0 || o.Sets > 1:
		return errors.New("the share of sets is a number from 0 to 1")
	case o.MultiGet < 1 || o.MultiGet > 1000 || o.Pipeline < 1 || o.Pipeline > 1000:
		return errors.New("multi-gets and pipelines: want 1 to 1000")
	case o.Rate < 0 || o.Rate > 0 && o.Pipeline > 1:
		return errors.New("a rate is positive, and goes without a pipeline")
	}
	return nil
}

// Range is a number that is drawn evenly from Min to Max. As text it is N or N-M.
type Range struct{ Min, Max int }

// String implements pflag.Value.
func (r Range) String() string {
	if r.Min == r.Max {
		return strconv.Itoa(r.Min)
	}
	return fmt.Sprintf("%d-%d", r.Min, r.Max)
}

// Set implements pflag.Value.
func (r *Range) Set(s string) error {
	from, to, two := strings.Cut(s, "-")
	if !two {
		to = from
	}
	a, err := strconv.Atoi(from)
	if err != nil {
		return fmt.Errorf("%q: want N or N-M", s)
	}
	b, err := strconv.Atoi(to)
	if err != nil || b < a || a < 0 {
		return fmt.Errorf("%q: want N or N-M", s)
	}
	*r = Range{a, b}
	return nil
}

// Type implements pflag.Value.
func (*Range) Type() string { return "N or N-M" }
