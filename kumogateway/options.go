package kumogateway

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
)

// Options say what a gateway is. Start from Defaults.
type Options struct {
	Cluster  subjects.Cluster
	Managers []string      // host:port of managers or servers, any of which will do
	Listen   []string      // host:port for memcached clients, port 0 takes a free one, with notls: before it one without TLS; or unix:PATH
	Bus      *bus.Bus      // a connection to use instead of making one; stays open
	Hub      *bus.Hub      // shared with servers in this process; nil: none
	Security *bus.Security // credentials; nil: none
	HTTP     string        // where an HTTP port is seen that somebody else serves, for heartbeats; "": none

	SocketMode     fs.FileMode // of Unix sockets
	TLS            TLS         // for clients that come by TCP, but for addresses of Listen that begin with notls:
	AuthFile       string      // lines of user:password, one of which clients must know; "": everybody may come
	KeyPrefix      string      // put before every key
	MaxItemSize    int         // bytes of a value
	EnableFlushAll bool        // allows clients to empty the store
	EarlySet       bool        // answer stores before the replicas have them; no acknowledgement
	EarlyDelete    bool        // the same for deletes

	OpTimeout    time.Duration // for how long an operation is repeated
	CloseTimeout time.Duration // for how long Close lets operations end
	IdleTimeout  time.Duration // after which a silent connection is closed, or one that takes no answers; 0: never
	StallTimeout time.Duration // after which one that takes no answers is closed when these are more than MaxAnswers

	MaxConnections int // further ones are told so and closed
	MaxOutstanding int // requests of one connection that wait for answers
	MaxBuffered    int // bytes of one connection's answers and, again, requests
	MaxHeld        int // bytes of all requests that wait for answers and, again, of those that are being read
	MaxAnswers     int // bytes of all answers that clients have not taken, about; beyond, each gets one at a time; beyond twice that, errors for what it asked before; beyond four times that, errors

	LocalCache    int64         // bytes of values that were read lately and are answered without asking a server; 0: none
	LocalCacheTTL time.Duration // how old such an answer may be

	SlowThreshold time.Duration // operations that take at least so long are kept for the slow log; 0: none
	SlowSize      int           // how many of them

	Log     *slog.Logger
	Version string // of the product, for stats and heartbeats
}

// Defaults are the options of a gateway that was given none.
func Defaults() Options {
	return Options{
		Cluster:        subjects.DefaultCluster,
		Managers:       []string{"localhost:19700"},
		Listen:         []string{":11211"},
		SocketMode:     0o700,
		MaxItemSize:    subjects.DefaultMaxItem,
		OpTimeout:      10 * time.Second,
		CloseTimeout:   5 * time.Second,
		StallTimeout:   30 * time.Second,
		MaxConnections: 4096,
		MaxOutstanding: 1024,
		MaxBuffered:    8 << 20,
		MaxHeld:        512 << 20,
		MaxAnswers:     256 << 20,
		LocalCacheTTL:  time.Second,
		SlowThreshold:  100 * time.Millisecond,
		SlowSize:       128,
		Version:        "dev",
	}
}

// Check says what of the options cannot work, as Open would.
func (o Options) Check() error { return o.check() }

// check fills in what may be left out and refuses what cannot work.
func (o *Options) check() error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := o.Cluster.Check(); err != nil {
		return err
	}
	switch {
	case len(o.Managers) == 0 && o.Bus == nil:
		return errors.New("no manager given")
	case len(o.Listen) == 0:
		return errors.New("no port given to listen on")
	case len(o.KeyPrefix) >= subjects.MaxKey:
		return fmt.Errorf("key prefix of %d bytes leaves no room for keys of at most %d", len(o.KeyPrefix), subjects.MaxKey)
	case o.MaxItemSize < 1 || o.MaxItemSize > subjects.MaxValue:
		return fmt.Errorf("item size %d: want 1 to %d bytes", o.MaxItemSize, subjects.MaxValue)
	case o.OpTimeout <= 0 || o.StallTimeout <= 0 || o.MaxConnections < 1 || o.MaxOutstanding < 1 || o.MaxBuffered < 1 || o.MaxHeld < 1 || o.MaxAnswers < 1:
		return errors.New("time-outs and limits must be positive")
	case o.LocalCache != 0 && o.LocalCache < minLocalCache || o.LocalCacheTTL <= 0:
		return fmt.Errorf("local cache of %d bytes, for %s: want 0 or at least 1M, and for more than 0", o.LocalCache, o.LocalCacheTTL)
	case o.SlowThreshold < 0 || o.SlowSize < 0 || o.SlowSize > subjects.MaxSlowLog:
		return fmt.Errorf("slow log: a threshold of %s for %d operations; want 0 or more, and at most %d", o.SlowThreshold, o.SlowSize, subjects.MaxSlowLog)
	}
	if err := o.TLS.check(); err != nil {
		return err
	}
	if o.SlowSize == 0 {
		o.SlowThreshold = 0
	}
	for i := 0; i < len(o.KeyPrefix); i++ {
		if c := o.KeyPrefix[i]; c <= ' ' || c == 0x7f {
			return fmt.Errorf("key prefix %q: no spaces or control characters", o.KeyPrefix)
		}
	}
	return nil
}
