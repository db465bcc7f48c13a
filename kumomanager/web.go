package kumomanager

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/etolabo/kumofs/subjects"
)

// web is the manager's HTTP port: /healthz for probes and /statusz, which is the
// status as the leader sees it.
type web struct {
	seen string // as others see it
	srv  *http.Server
	wg   sync.WaitGroup
}

// openWeb opens the port; one that is taken is no reason not to manage.
func openWeb(m *Manager) *web {
	addr := net.JoinHostPort(m.o.Bind, strconv.Itoa(m.o.HTTPPort))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		m.log.Warn("no HTTP port", "addr", addr, "err", err)
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", m.healthz)
	mux.HandleFunc("GET /statusz", m.statusz)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	host, _, _ := net.SplitHostPort(m.o.Listen)
	w := &web{seen: net.JoinHostPort(host, port), srv: &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
	}}
	w.wg.Go(func() {
		if err := w.srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			m.log.Warn("HTTP port", "addr", addr, "err", err)
		}
	})
	return w
}

// addr is the port's address, empty without one.
func (w *web) addr() string {
	if w == nil {
		return ""
	}
	return w.seen
}

func (w *web) close() {
	if w != nil {
		_ = w.srv.Close()
		w.wg.Wait()
	}
}

// healthz is 200 while the managers have a leader, as this one knows it.
func (m *Manager) healthz(w http.ResponseWriter, _ *http.Request) {
	leader, ok := m.seat.quorum.Leader()
	if !ok || m.stopping.Load() {
		http.Error(w, "no leader", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok, " + leader + " leads\n"))
}

func (m *Manager) statusz(w http.ResponseWriter, _ *http.Request) {
	var rep subjects.AdminReply
	err := json.Unmarshal(m.seat.order(subjects.AdminStatus, nil), &rep)
	if err == nil && rep.Error != nil {
		err = rep.Error
	}
	if err != nil {
		http.Error(w, "no status: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(rep.Data)
}
