package kumogateway_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/subjects"
)

// cached has a gateway keep what was read for so long.
func cached(ttl time.Duration) func(*kumogateway.Options) {
	return func(o *kumogateway.Options) { o.LocalCache, o.LocalCacheTTL, o.EnableFlushAll = 1<<20, ttl, true }
}

// What was read is answered without a server, until this gateway writes it; what only
// the server knows is asked of it.
func TestLocalCache(t *testing.T) {
	noLeaks(t)
	nodes, servers := startNodes(t, 1)
	var asked atomic.Int32
	nodes[0].misbehave(func(write bool, _ string) *subjects.Status {
		if !write {
			asked.Add(1)
		}
		return nil
	})
	a := dial(t, openGateway(t, servers, cached(time.Hour)))
	b := dial(t, openGateway(t, servers))
	a.do("set k 7 0 3\r\none\r\nset other 0 0 1\r\nx\r\n", "STORED\r\nSTORED\r\n")
	asks := func(command, want string, n int32) {
		t.Helper()
		before := asked.Load()
		a.do(command, want)
		if got := asked.Load() - before; got != n {
			t.Errorf("%q asks the server %d times, want %d", command, got, n)
		}
	}
	const one, two = "VALUE k 7 3\r\none\r\nEND\r\n", "VALUE k 0 3\r\ntwo\r\nEND\r\n"
	asks("get k\r\n", one, 1)
	asks("get k\r\n", one, 0)
	b.do("set k 0 0 3\r\ntwo\r\n", "STORED\r\n")
	asks("get k\r\n", one, 0) // for as long as the option says
	asks("get k other missing\r\n", "VALUE k 7 3\r\none\r\nVALUE other 0 1\r\nx\r\nEND\r\n", 2)
	asks("get missing\r\n", "END\r\n", 1)
	asks("mg k v f s k O9 q\r\nmn\r\n", "VA 3 f7 s3 kk O9\r\none\r\nMN\r\n", 0)
	asks("mg aw== b v k\r\nmg k\r\n", "VA 3 kaw== b\r\none\r\nHD\r\n", 0)
	asks("mg k v t\r\n", "VA 3 t-1\r\ntwo\r\n", 1)
	a.send("mg k h l c\r\nme k\r\ngets k\r\n")
	for range 5 {
		a.line()
	}
	asks("get k\r\n", two, 0) // mg with t has brought it

	// A write of its own is seen at once, also by who reads behind it without waiting.
	asks("set k 0 0 5\r\nthree\r\nget k\r\n", "STORED\r\nVALUE k 0 5\r\nthree\r\nEND\r\n", 1)
	asks("get k\r\n", "VALUE k 0 5\r\nthree\r\nEND\r\n", 0)
	asks("append k 0 0 1\r\n!\r\nget k\r\n", "STORED\r\nVALUE k 0 6\r\nthree!\r\nEND\r\n", 1)
	asks("delete k\r\nget k\r\n", "DELETED\r\nEND\r\n", 1)
	asks("set k 0 0 1\r\nx\r\nget k\r\nflush_all\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\nOK\r\nEND\r\n", 2)

	// A value that somebody should make anew is not kept.
	a.do("ms s 1\r\nx\r\nmd s I\r\nmg s v\r\n", "HD\r\nHD\r\nVA 1 X W\r\nx\r\n")
	asks("get s\r\n", "VALUE s 0 1\r\nx\r\nEND\r\n", 1)
	asks("get s\r\n", "VALUE s 0 1\r\nx\r\nEND\r\n", 1)
}

// Answers are no older than they may be.
func TestLocalCacheEnds(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 1)
	a := dial(t, openGateway(t, servers, cached(time.Millisecond), func(o *kumogateway.Options) { o.KeyPrefix = "p:" }))
	b := dial(t, openGateway(t, servers))
	b.do("set p:k 0 0 1\r\n1\r\n", "STORED\r\n")
	a.do("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n")
	b.do("set p:k 0 0 1\r\n2\r\n", "STORED\r\n")
	eventually(t, "the new value is seen", func() bool {
		a.send("get k\r\n")
		a.line()
		v := a.line()
		a.line()
		return v == "2"
	})
}

// Whoever was told that his write is stored reads it, while others read the same keys
// all the time.
func TestLocalCacheShowsOwnWrites(t *testing.T) {
	noLeaks(t)
	_, servers := startNodes(t, 2)
	g := openGateway(t, servers, cached(time.Hour))
	const keys, rounds = 4, 150
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 3 {
		c := dial(t, g)
		readers.Go(func() {
			for {
				for k := range keys {
					select {
					case <-stop:
						return
					default:
					}
					c.send("get k%d\r\n", k)
					for c.line() != "END" {
					}
				}
			}
		})
	}
	for k := range keys {
		c, other := dial(t, g), dial(t, g)
		writers.Go(func() {
			for i := range rounds {
				v := fmt.Sprintf("%04d", i)
				c.do(fmt.Sprintf("set k%d 0 0 4\r\n%s\r\n", k, v), "STORED\r\n")
				reader := c
				if i%2 == 0 {
					reader = other
				}
				reader.do(fmt.Sprintf("get k%d\r\n", k), fmt.Sprintf("VALUE k%d 0 4\r\n%s\r\nEND\r\n", k, v))
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}
