package dashboard

import (
	"encoding/json"
	"net/http"
	"time"
)

// seen is what a listener was told.
type seen struct{ state, ring, log uint64 }

// frame is what a listener is to be told next; fields that are nil have not
// changed.
type frame struct {
	state, ring []byte
	log         []Entry
}

// since returns what is newer than what was seen, and a channel that is closed
// when there is more.
func (d *Dashboard) since(s *seen) (f frame, more <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shown.state.version != s.state {
		s.state, f.state = d.shown.state.version, d.shown.state.data
	}
	if d.shown.ring.version != s.ring {
		s.ring, f.ring = d.shown.ring.version, d.shown.ring.data
	}
	f.log = d.shown.log.since(s.log)
	s.log = d.shown.log.number
	return f, d.changed
}

// join takes a place among the listeners, and says so if there is none. leave
// gives it back.
func (d *Dashboard) join(w http.ResponseWriter) (leave func(), ok bool) {
	if d.ctx.Err() != nil || d.listeners.Add(1) > maxListeners {
		if d.ctx.Err() == nil {
			d.listeners.Add(-1)
		}
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many look at this dashboard, or it ends: come again, or ask another manager", http.StatusServiceUnavailable)
		return nil, false
	}
	return func() { d.listeners.Add(-1) }, true
}

// begin is what a new listener has seen: nothing, and no state from before it.
func (d *Dashboard) begin() *seen {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &seen{}
	if time.Since(time.UnixMilli(d.shown.last.Now)) > 2*lookEvery {
		s.state = d.shown.state.version
	}
	return s
}

// stream tells a listener until it goes, takes nothing for writeTimeout, or the
// dashboard ends.
func (d *Dashboard) stream(w http.ResponseWriter, r *http.Request) {
	leave, ok := d.join(w)
	if !ok {
		return
	}
	defer leave()
	s := d.begin()
	d.wake()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // proxies are not to gather it
	quiet := time.NewTimer(quietFor)
	defer quiet.Stop()
	out := []byte("retry: 1000\n\n")
	for {
		f, more := d.since(s)
		out = f.append(out)
		control := http.NewResponseController(w)
		if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			d.src.Log.Warn("the dashboard cannot bound how long a listener takes", "err", err)
			return
		}
		if _, err := w.Write(out); err != nil || control.Flush() != nil {
			return
		}
		out = out[:0]
		quiet.Reset(quietFor)
		select {
		case <-more:
		case <-quiet.C:
			out = append(out, ":\n\n"...) // nothing, so that a listener that is gone is noticed
		case <-r.Context().Done():
			return
		case <-d.ctx.Done():
			return
		}
	}
}

// append adds server-sent events.
func (f *frame) append(out []byte) []byte {
	add := func(kind string, data []byte) {
		out = append(append(append(append(out, "event: "...), kind...), "\ndata: "...), data...)
		out = append(out, "\n\n"...)
	}
	if f.ring != nil {
		add("ring", f.ring)
	}
	if f.state != nil {
		add("state", f.state)
	}
	if len(f.log) > 0 {
		if data, err := json.Marshal(f.log); err == nil {
			add("log", data)
		}
	}
	return out
}

// Snapshot is all that a dashboard shows.
type Snapshot struct {
	State json.RawMessage `json:"state"` // a State
	Ring  json.RawMessage `json:"ring"`  // a Picture
	Log   []Entry         `json:"log"`
}

// snapshot tells all at once.
func (d *Dashboard) snapshot(w http.ResponseWriter, r *http.Request) {
	leave, ok := d.join(w)
	if !ok {
		return
	}
	defer leave()
	s := d.begin()
	d.wake()
	late := time.NewTimer(snapshotWait)
	defer late.Stop()
	var all Snapshot
	for all.State == nil {
		f, more := d.since(s)
		all.Log = append(all.Log, f.log...)
		if f.ring != nil {
			all.Ring = f.ring
		}
		if all.State = f.state; all.State != nil {
			break
		}
		select {
		case <-more:
		case <-late.C:
			http.Error(w, "the managers do not answer: come again", http.StatusServiceUnavailable)
			return
		case <-r.Context().Done():
			return
		case <-d.ctx.Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(all)
}
