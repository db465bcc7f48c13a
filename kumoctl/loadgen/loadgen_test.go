package loadgen_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumoctl/loadgen"
)

// store is a memcached server of the two commands that a load uses.
func store(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var values sync.Map
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer conn.Close(); serve(conn, &values) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func serve(conn net.Conn, values *sync.Map) {
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		if f[0] == "set" {
			value, _ := r.ReadString('\n')
			values.Store(f[1], strings.TrimSpace(value))
			fmt.Fprint(conn, "STORED\r\n")
			continue
		}
		for _, k := range f[1:] {
			if v, ok := values.Load(k); ok {
				fmt.Fprintf(conn, "VALUE %s 0 %d\r\n%s\r\n", k, len(v.(string)), v)
			}
		}
		fmt.Fprint(conn, "END\r\n")
	}
}

func TestRun(t *testing.T) {
	tests := []struct {
		name   string
		change func(*loadgen.Options)
		misses bool
	}{
		{"gets", func(*loadgen.Options) {}, false},
		{"sets", func(o *loadgen.Options) { o.Sets = 1 }, false},
		{"mixed and pipelined", func(o *loadgen.Options) { o.Sets, o.Pipeline = 0.5, 16 }, false},
		{"multi-gets", func(o *loadgen.Options) { o.MultiGet = 20 }, false},
		{"empty", func(o *loadgen.Options) { o.Fill = false }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := loadgen.Defaults()
			o.Addr, o.Connections, o.Keys, o.Size = store(t), 4, 500, 100
			o.Time, o.Warmup = 50*time.Millisecond, 5*time.Millisecond
			tt.change(&o)
			r, err := loadgen.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Operations == 0 || r.PerSecond == 0 || r.Errors != 0 || (r.Misses > 0) != tt.misses || r.Latency.P50 == 0 || r.Latency.Max < r.Latency.P99 {
				t.Errorf("%+v", r)
			}
			if o.Sets == 0 && r.Hits+r.Misses != r.Operations*int64(o.MultiGet) {
				t.Errorf("%d hits and %d misses in %d operations", r.Hits, r.Misses, r.Operations)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	o := loadgen.Defaults()
	o.Addr = "127.0.0.1:1"
	if _, err := loadgen.Run(t.Context(), o); err == nil {
		t.Error("no error")
	}
}
