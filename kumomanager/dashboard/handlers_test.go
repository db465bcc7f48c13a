package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const patience = 30 * time.Second

// cluster is what a dashboard is told.
type cluster struct {
	mu     sync.Mutex
	status subjects.ClusterStatus // guarded by mu
	table  *ring.Table            // guarded by mu
	err    error                  // guarded by mu
	take   func(subjects.Event)
	asked  atomic.Int64 // for the status
	looks  atomic.Int64 // at the table
}

func (c *cluster) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// serve has a dashboard show a cluster on a port that takes listen's connections.
func serve(t *testing.T, c *cluster, wrap func(net.Listener) net.Listener) (*Dashboard, string) {
	t.Helper()
	already := goleak.IgnoreCurrent()
	d, err := Open(Source{
		Node: "m1", Log: slog.New(slog.DiscardHandler),
		Status: func() (*subjects.ClusterStatus, error) {
			c.asked.Add(1)
			c.mu.Lock()
			defer c.mu.Unlock()
			st := c.status
			return &st, c.err
		},
		Table: func() *ring.Table {
			c.looks.Add(1)
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.table
		},
		Events: func(take func(subjects.Event)) (func(), error) {
			c.take = take
			return func() {}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(d)
	if wrap != nil {
		s.Listener = wrap(s.Listener)
	}
	s.Start()
	t.Cleanup(func() {
		d.Close()
		d.Close()
		s.CloseClientConnections()
		s.Close()
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, already)
	})
	return d, s.URL
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !is(); <-tick.C {
		if time.Since(began) > patience {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// listener reads a stream.
type listener struct {
	t    *testing.T
	body io.ReadCloser
	r    *bufio.Reader
	end  func()
}

func listen(t *testing.T, url string) *listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{t: t, body: r.Body, r: bufio.NewReader(r.Body), end: func() { cancel(); r.Body.Close() }}
	t.Cleanup(l.end)
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/event-stream" || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", r.StatusCode, r.Header)
	}
	return l
}

// next reads until an event of a kind for which ok is true.
func next[T any](l *listener, kind string, ok func(*T) bool) *T {
	l.t.Helper()
	for {
		line, err := l.r.ReadString('\n')
		if err != nil {
			l.t.Fatalf("no %s came: %v", kind, err)
		}
		if line != "event: "+kind+"\n" {
			continue
		}
		if line, err = l.r.ReadString('\n'); err != nil {
			l.t.Fatal(err)
		}
		v := new(T)
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), v); err != nil {
			l.t.Fatalf("%v in %q", err, line)
		}
		if ok(v) {
			return v
		}
	}
}

// whatever is ok with all.
func whatever[T any](*T) bool { return true }

func TestSnapshot(t *testing.T) {
	c := &cluster{table: tableOf(3, config(ids{1, 2, 3}, nil, ids{1, 2, 3}))}
	c.status = subjects.ClusterStatus{Cluster: "kumo", Health: "ok", Nodes: []subjects.NodeStatus{{Name: "<script>alert(1)</script>", Role: subjects.RoleServer, State: "up"}}}
	_, url := serve(t, c, nil)
	c.take(subjects.Event{Kind: subjects.EventNodeUp, Text: "</script>&"})
	r, err := http.Get(url + "/snapshot")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	if strings.ContainsAny(string(body), "<>&") {
		t.Errorf("text of the cluster is markup: %s", body)
	}
	var all Snapshot
	var state State
	var picture Picture
	if err := errors.Join(json.Unmarshal(body, &all), json.Unmarshal(all.State, &state), json.Unmarshal(all.Ring, &picture)); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if state.Cluster != "kumo" || state.Node != "m1" || state.Error != "" || state.Nodes[0].Name != c.status.Nodes[0].Name || state.Alarms == nil {
		t.Errorf("%+v", state)
	}
	if len(picture.Parts) != 1 || len(all.Log) != 1 || all.Log[0].Text != "</script>&" {
		t.Errorf("%+v %+v", picture, all.Log)
	}
}

func TestStreamTellsWhatChanges(t *testing.T) {
	c := &cluster{}
	d, url := serve(t, c, nil)
	c.take(subjects.Event{Kind: subjects.EventNodeSeen, Text: "before"})
	looks := c.looks.Load()
	eventually(t, "the dashboard looks twice", func() bool { return c.looks.Load() >= looks+2 })
	if n := c.asked.Load(); n != 0 {
		t.Errorf("the leader was asked %d times while nobody looked", n)
	}
	c.set(func() { c.err = errors.New("no leader") })
	l := listen(t, url)
	if got := next(l, "state", whatever[State]); got.Error != "no leader" || got.At != 0 || got.Nodes == nil || got.Alarms == nil || got.Moves.Servers == nil {
		t.Errorf("before the leader said anything: %+v", got)
	}
	c.set(func() {
		c.err, c.status.Health, c.table = nil, "ok", tableOf(3, config(ids{1, 2, 3}, nil, ids{1, 2, 3}))
	})
	if got := next(l, "ring", whatever[Picture]); got.Health != "0" {
		t.Errorf("%+v", got)
	}
	next(l, "state", func(s *State) bool { return s.Error == "" && s.Health == "ok" && s.At > 0 })
	c.set(func() { c.table = tableOf(3, config(ids{1, 2}, nil, ids{1, 2, 3})) })
	next(l, "ring", func(p *Picture) bool { return p.Health == "1" })
	c.take(subjects.Event{Kind: subjects.EventNodeDown, Text: "after"})
	if got := next(l, "log", whatever[[]Entry]); len(*got) != 1 || (*got)[0].Text != "after" || (*got)[0].Number != 2 {
		t.Errorf("%+v", got)
	}
	c.set(func() { c.err = errors.New("no leader") })
	if got := next(l, "state", func(s *State) bool { return s.Error != "" }); got.Health != "ok" || got.At == 0 || got.Now < got.At {
		t.Errorf("what was known is gone: %+v", got)
	}
	d.Close()
	if _, err := io.Copy(io.Discard, l.r); err != nil {
		t.Errorf("the stream did not end in good order: %v", err)
	}
	if code := status(t, url+"/events", ""); code != http.StatusServiceUnavailable {
		t.Errorf("after the end: %d", code)
	}
}

func TestListenersAreBounded(t *testing.T) {
	d, url := serve(t, &cluster{}, nil)
	var all []*listener
	for range maxListeners {
		all = append(all, listen(t, url))
	}
	for _, path := range []string{"/events", "/snapshot"} {
		r, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v", path, r.StatusCode, r.Header)
		}
	}
	for _, l := range all {
		l.end()
	}
	eventually(t, "the listeners are gone", func() bool { return d.listeners.Load() == 0 })
	next(listen(t, url), "state", whatever[State])
}

// narrow makes connections that hold little.
type narrow struct{ net.Listener }

func (n narrow) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4096)
	}
	return c, err
}

func TestSlowListenerIsDropped(t *testing.T) {
	defer func(was time.Duration) { writeTimeout = was }(writeTimeout)
	writeTimeout = 100 * time.Millisecond
	c := &cluster{table: tableOf(7, make([]ring.Config, ring.MaxPartitions)...)}
	for i := range c.table.Partitions {
		c.table.Partitions[i] = config(ids{1, 2, 3, 4, 5, 6, 7}, nil, nil)
	}
	d, url := serve(t, c, func(l net.Listener) net.Listener { return narrow{l} })
	dialer := net.Dialer{Timeout: patience}
	conn, err := dialer.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it listens", func() bool { return d.listeners.Load() == 1 })
	eventually(t, "it is dropped", func() bool { return d.listeners.Load() == 0 })
}

func TestPageFiles(t *testing.T) {
	_, url := serve(t, &cluster{}, nil)
	for path, want := range map[string]string{
		"/": "text/html; charset=utf-8", "/dashboard.css": "text/css; charset=utf-8",
		"/dashboard.js": "text/javascript; charset=utf-8", "/icon.svg": "image/svg+xml",
	} {
		r, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 || r.Header.Get("Content-Type") != want || len(body) == 0 {
			t.Errorf("%s: %d %v, %d bytes (%v)", path, r.StatusCode, r.Header, len(body), err)
		}
		if p := r.Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "unsafe") || strings.Contains(p, "*") {
			t.Errorf("%s: policy %q", path, p)
		}
		// Of others the page wants nothing; the name of a format is no address.
		text := strings.ReplaceAll(string(body), "http://www.w3.org/2000/svg", "")
		if found := regexp.MustCompile(`(?i)(src|href|url|import|from)\s*[=("' ]+\s*(https?:)?//[\w.]+`).FindString(text); found != "" {
			t.Errorf("%s loads %s", path, found)
		}
		if found := regexp.MustCompile(`(?i)\sstyle=|\son\w+=|<script>|<style|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(`).FindString(text); found != "" {
			t.Errorf("%s has %s, which the policy forbids or text of the cluster could come in by", path, found)
		}
		if code := status(t, url+path, r.Header.Get("ETag")); code != http.StatusNotModified {
			t.Errorf("%s again: %d", path, code)
		}
	}
	if code := status(t, url+"/page/index.html", ""); code != http.StatusNotFound {
		t.Errorf("what is not there: %d", code)
	}
}

// status asks for a page, unless it is the one of a tag.
func status(t *testing.T, url, tag string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("If-None-Match", tag)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	return r.StatusCode
}
