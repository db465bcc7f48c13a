package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/etolabo/kumofs/kumoctl/web"
)

// open opens a port, which is closed, without a trace, at the test's end.
func open(t *testing.T, change ...func(*web.Options)) *web.Port {
	t.Helper()
	already := goleak.IgnoreCurrent()
	o := web.Options{Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&o)
	}
	p, err := web.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, already)
	})
	return p
}

// get returns the status and the text of a page.
func get(t *testing.T, p *web.Port, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + p.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// want fails the test if a page is not as it should be.
func want(t *testing.T, p *web.Port, path string, code int, part string) {
	t.Helper()
	if got, text := get(t, p, path); got != code || !strings.Contains(text, part) {
		t.Errorf("%s: %d %q, want %d with %q", path, got, text, code, part)
	}
}

func TestPages(t *testing.T) {
	p := open(t)
	want(t, p, "/healthz", 200, "alive")
	for _, path := range []string{"/readyz", "/statusz", "/metrics", "/"} {
		want(t, p, path, 503, "starting")
	}
	var unready atomic.Pointer[error]
	why := errors.New("no disk")
	unready.Store(&why)
	hits := prometheus.NewCounter(prometheus.CounterOpts{Name: "hits_total", Help: "Hits."})
	hits.Inc()
	err := p.Show(web.Node{
		Role: "server", Version: "1.2.3", Metrics: []prometheus.Collector{hits},
		Unready: func() error { return *unready.Load() },
		Status: func() (any, error) {
			if err := *unready.Load(); err != nil {
				return nil, err
			}
			return map[string]int{"items": 7}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, p, "/healthz", 200, "alive")
	want(t, p, "/readyz", 503, "no disk")
	want(t, p, "/statusz", 503, "no disk")
	want(t, p, "/metrics", 200, "\nkumofs_ready 0\n")
	var none error
	unready.Store(&none)
	want(t, p, "/readyz", 200, "ready")
	_, text := get(t, p, "/statusz")
	var status map[string]int
	if err := json.Unmarshal([]byte(text), &status); err != nil || status["items"] != 7 {
		t.Errorf("statusz: %s (%v)", text, err)
	}
	for _, line := range []string{"\nhits_total 1\n", "\nkumofs_ready 1\n", `role="server",version="1.2.3"} 1`, "\ngo_goroutines ", "\nprocess_open_fds "} {
		want(t, p, "/metrics", 200, line)
	}
	want(t, p, "/", 200, "/metrics")
	want(t, p, "/other", 404, "")
	want(t, p, "/debug/pprof/", 404, "")
}

func TestProfiles(t *testing.T) {
	p := open(t, func(o *web.Options) { o.Pprof = true })
	show(t, p, web.Node{Role: "gateway"})
	want(t, p, "/debug/pprof/", 200, "goroutine")
	want(t, p, "/debug/pprof/goroutine?debug=1", 200, "goroutine profile")
	want(t, p, "/debug/pprof/cmdline", 200, "web.test")
}

// show shows a node that is ready.
func show(t *testing.T, p *web.Port, n web.Node) {
	t.Helper()
	n.Unready = func() error { return nil }
	n.Status = func() (any, error) { return "fine", nil }
	if err := p.Show(n); err != nil {
		t.Fatal(err)
	}
}

// There is nothing but to read, and nothing that waits for a slow client.
func TestQuestionsOnly(t *testing.T) {
	p := open(t)
	show(t, p, web.Node{Role: "gateway"})
	for _, tt := range []struct {
		method, body string
		code         int
	}{{"POST", "", 405}, {"DELETE", "", 405}, {"GET", "text", 400}, {"HEAD", "", 200}} {
		req, err := http.NewRequest(tt.method, "http://"+p.Addr()+"/readyz", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != tt.code {
			t.Errorf("%s with %q: %s, want %d", tt.method, tt.body, r.Status, tt.code)
		}
	}
}

// What a daemon shows beside has / and may send events for as long as it likes.
func TestRoot(t *testing.T) {
	p := open(t)
	stopped := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a dashboard") })
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		defer close(stopped)
		rc := http.NewResponseController(w)
		if err := rc.SetWriteDeadline(time.Time{}); err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, "data: 1\n\n")
		if err := rc.Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
	})
	show(t, p, web.Node{Role: "manager", Root: mux})
	want(t, p, "/", 200, "a dashboard")
	want(t, p, "/readyz", 200, "ready")
	want(t, p, "/nothing", 404, "")
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+p.Addr()+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if line, err := bufio.NewReader(r.Body).ReadString('\n'); err != nil || line != "data: 1\n" {
		t.Errorf("%q, %v", line, err)
	}
	cancel()
	<-stopped
}

// A status that does not come holds up a few who ask for it, and nobody else.
func TestQuestionsAreBounded(t *testing.T) {
	p := open(t)
	answer := make(chan struct{})
	asked := make(chan struct{}, 100)
	err := p.Show(web.Node{Role: "server", Unready: func() error { return nil }, Status: func() (any, error) {
		asked <- struct{}{}
		<-answer
		return "late", nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	codes := make(chan int, 4)
	for range cap(codes) {
		go func() {
			r, err := http.Get("http://" + p.Addr() + "/statusz")
			if err != nil {
				codes <- 0
				return
			}
			r.Body.Close()
			codes <- r.StatusCode
		}()
	}
	for range cap(codes) {
		<-asked
	}
	want(t, p, "/statusz", 503, "others")
	want(t, p, "/readyz", 200, "ready")
	close(answer)
	for range cap(codes) {
		if code := <-codes; code != 200 {
			t.Errorf("a question that waited: %d", code)
		}
	}
}

// Connections are bounded: more are closed, and others go on.
func TestConnections(t *testing.T) {
	p := open(t)
	show(t, p, web.Node{Role: "gateway"})
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	refused := false
	for range 200 {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if line, _ := bufio.NewReader(c).ReadString('\n'); !strings.Contains(line, "200") {
			refused = true
			break
		}
	}
	if !refused || len(held) < 100 {
		t.Fatalf("%d connections, refused: %v", len(held), refused)
	}
	for _, c := range held {
		c.Close()
	}
	held = nil
	deadline := time.After(30 * time.Second)
	for {
		r, err := http.Get("http://" + p.Addr() + "/healthz")
		if err == nil {
			r.Body.Close()
			break
		}
		select {
		case <-deadline:
			t.Fatal(err)
		default:
		}
	}
}

func TestCannotOpen(t *testing.T) {
	p := open(t)
	_, err := web.Open(web.Options{Listen: p.Addr(), Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), p.Addr()) {
		t.Errorf("a taken port: %v", err)
	}
	twice := prometheus.NewCounter(prometheus.CounterOpts{Name: "kumofs_ready", Help: "Something else."})
	if err := p.Show(web.Node{Role: "server", Metrics: []prometheus.Collector{twice}}); err == nil {
		t.Error("two metrics of one name")
	}
	var none *web.Port
	if none.Addr() != "" || none.Show(web.Node{}) != nil || none.Close() != nil {
		t.Error("no port is something")
	}
}

func TestSeenAt(t *testing.T) {
	p := open(t, func(o *web.Options) { o.Host = "server1" })
	if host, port, err := net.SplitHostPort(p.Addr()); err != nil || host != "server1" || port == "0" {
		t.Errorf("seen at %s (%v)", p.Addr(), err)
	}
	p.Close()
	p = open(t, func(o *web.Options) { o.Listen = ":0" })
	if host, _, err := net.SplitHostPort(p.Addr()); err != nil || host == "" || host == "::" {
		t.Errorf("seen at %s (%v)", p.Addr(), err)
	}
}
