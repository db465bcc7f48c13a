package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// pages are what a port shows of one daemon.
type pages struct {
	node  Node
	mux   *http.ServeMux
	asked chan struct{} // a place for each question for the status
}

var (
	errStarting = errors.New("starting")
	errBusy     = errors.New("others ask for the status, and wait for it")
)

// serve answers a request, whatever the daemon does.
func (p *Port) serve(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "there is nothing here but to read", http.StatusMethodNotAllowed)
		return
	case r.ContentLength != 0: // which might come slowly
		w.Header().Set("Connection", "close")
		http.Error(w, "a question has no body", http.StatusBadRequest)
		return
	}
	if r.URL.Path == "/healthz" {
		text(w, "alive\n")
		return
	}
	shown := p.shown.Load()
	if shown == nil {
		refuse(w, errStarting)
		return
	}
	shown.mux.ServeHTTP(w, r)
}

func newPages(n Node, o Options) (*pages, error) {
	metrics, err := registry(n)
	if err != nil {
		return nil, err
	}
	p := &pages{node: n, mux: http.NewServeMux(), asked: make(chan struct{}, maxQuestions)}
	p.mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, Timeout: writeTimeout,
	}))
	p.mux.HandleFunc("GET /readyz", p.ready)
	p.mux.HandleFunc("GET /statusz", p.status)
	if o.Pprof {
		p.profiles()
	}
	root := n.Root
	if root == nil {
		root = http.HandlerFunc(p.index)
	}
	p.mux.Handle("/", root)
	return p, nil
}

// registry holds a daemon's metrics and those of the process.
func registry(n Node) (*prometheus.Registry, error) {
	reg := prometheus.NewRegistry()
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kumofs_build_info", Help: "Always 1; says what runs.",
		ConstLabels: prometheus.Labels{"role": n.Role, "version": n.Version, "goversion": goVersion()},
	}, func() float64 { return 1 })
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kumofs_ready", Help: "1 while the daemon can do its work, as /readyz says.",
	}, func() float64 {
		if n.Unready() != nil {
			return 0
		}
		return 1
	})
	all := append([]prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), info, ready,
	}, n.Metrics...)
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return reg, nil
}

func goVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.GoVersion
	}
	return "unknown"
}

func (p *pages) ready(w http.ResponseWriter, _ *http.Request) {
	if err := p.node.Unready(); err != nil {
		refuse(w, err)
		return
	}
	text(w, "ready\n")
}

func (p *pages) status(w http.ResponseWriter, _ *http.Request) {
	select {
	case p.asked <- struct{}{}:
		defer func() { <-p.asked }()
	default:
		refuse(w, errBusy)
		return
	}
	var data []byte
	status, err := p.node.Status()
	if err == nil {
		data, err = json.MarshalIndent(status, "", "  ")
	}
	if err != nil {
		refuse(w, fmt.Errorf("no status: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n'))
}

// profiles shows net/http/pprof's pages, each for as long as it takes.
func (p *pages) profiles() {
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		p.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(profileTimeout))
			h(w, r)
		})
	}
}

// index lists the pages where there is nothing else at /.
func (p *pages) index(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	text(w, "kumofs "+p.node.Role+" "+p.node.Version+"\n\n/metrics\n/healthz\n/readyz\n/statusz\n")
}

func text(w http.ResponseWriter, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(s))
}

func refuse(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}
