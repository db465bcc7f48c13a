package loadgen_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumoctl/loadgen"
	"github.com/etolabo/kumofs/testenv/certs"
)

// store is a memcached server of the two commands that a load uses. It looks at
// stall before each answer.
func store(t *testing.T, stall func()) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return storeOn(t, l, stall)
}

func storeOn(t *testing.T, l net.Listener, stall func()) (addr string) {
	var values sync.Map
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer conn.Close(); serve(conn, &values, stall) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func serve(conn net.Conn, values *sync.Map, stall func()) {
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		if stall != nil {
			stall()
		}
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
		{"by zipf's law", func(o *loadgen.Options) { o.Zipf, o.KeySize = 1.2, loadgen.Range{Min: 20, Max: 250} }, false},
		{"by a timetable", func(o *loadgen.Options) { o.Rate, o.Sets = 2000, 0.5 }, false},
		{"multi-gets", func(o *loadgen.Options) { o.MultiGet = 20 }, false},
		{"empty", func(o *loadgen.Options) { o.Fill = false }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := loadgen.Defaults()
			o.Addr, o.Connections, o.Keys, o.Size = store(t, nil), 4, 500, loadgen.Range{Min: 1, Max: 100}
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

// A server that stands still once makes all operations late that were due in the
// meantime, and not one only.
func TestTimetableCountsWhatWasDue(t *testing.T) {
	const stands = 100 * time.Millisecond
	late := func(rate float64) (p90 time.Duration) {
		var once sync.Once
		o := loadgen.Defaults()
		o.Addr = store(t, func() {
			once.Do(func() { <-time.After(stands) })
		})
		o.Connections, o.Keys, o.Fill, o.Rate = 1, 1, false, rate
		o.Time, o.Warmup = 2*stands, 0
		r, err := loadgen.Run(t.Context(), o)
		if err != nil || r.Latency.Max < stands.Microseconds()*9/10 {
			t.Fatalf("%+v: %v", r, err)
		}
		return time.Duration(r.Latency.P90) * time.Microsecond
	}
	if p90 := late(1000); p90 < stands/2 {
		t.Errorf("half of the operations were due while the server stood still for %s, but 90%% took less than %s", stands, p90)
	}
}

// With TLS the server's certificate counts.
func TestTLS(t *testing.T) {
	a := certs.New(t)
	pair, err := tls.LoadX509KeyPair(a.Issue("server"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	o := loadgen.Defaults()
	o.Addr = storeOn(t, l, nil)
	o.Connections, o.Keys, o.Time, o.Warmup = 2, 10, 20*time.Millisecond, 0
	o.TLS = a.Client("", "")
	if r, err := loadgen.Run(t.Context(), o); err != nil || r.Operations == 0 || r.Errors > 0 {
		t.Errorf("%+v: %v", r, err)
	}
	o.TLS = certs.New(t).Client("", "")
	if _, err := loadgen.Run(t.Context(), o); err == nil {
		t.Error("a certificate of another authority will do")
	}
}

func TestCheck(t *testing.T) {
	for _, change := range []func(*loadgen.Options){
		func(o *loadgen.Options) { o.Protocol = "http" },
		func(o *loadgen.Options) { o.Connections = 0 },
		func(o *loadgen.Options) { o.Zipf = 1 },
		func(o *loadgen.Options) { o.Rate, o.Pipeline = 1, 2 },
		func(o *loadgen.Options) { o.KeySize.Max = 251 },
		func(o *loadgen.Options) { o.Sets = 1.5 },
	} {
		o := loadgen.Defaults()
		change(&o)
		if _, err := loadgen.Run(t.Context(), o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	var r loadgen.Range
	for _, bad := range []string{"", "x", "1-", "5-2", "-1", "1-2-3"} {
		if err := r.Set(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if err := r.Set("100-4000"); err != nil || r != (loadgen.Range{Min: 100, Max: 4000}) || r.String() != "100-4000" {
		t.Error(r, err)
	}
}

func TestNobodyThere(t *testing.T) {
	o := loadgen.Defaults()
	o.Addr = "127.0.0.1:1"
	if _, err := loadgen.Run(t.Context(), o); err == nil {
		t.Error("no error")
	}
}
