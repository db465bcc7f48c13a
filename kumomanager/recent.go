package kumomanager

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
)

// The bounds of recent events, all of which fit into a message: the oldest go, and
// larger ones are not kept.
const (
	maxRecent     = 1000
	maxEventBytes = 1000
)

// recentEvents are what was told lately, by anybody, for those who ask later. Each
// manager keeps them, and begins with those of the leader, if another leads.
type recentEvents struct {
	mu   sync.Mutex
	list []subjects.Event // guarded by mu, oldest first
}

// heard takes an event off the bus.
func (r *recentEvents) heard(m *bus.Msg) {
	var e subjects.Event
	if len(m.Data) > maxEventBytes || json.Unmarshal(m.Data, &e) != nil || e.Kind == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) >= maxRecent {
		r.list = slices.Delete(r.list, 0, len(r.list)-maxRecent+1)
	}
	r.list = append(r.list, e)
}

// before puts events of earlier times, the oldest first, in front of what was heard,
// without those that are known already.
func (r *recentEvents) before(older []subjects.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[string]bool{}
	key := func(e subjects.Event) string { return fmt.Sprint(e.Time, e.Kind, e.Node, e.Text) }
	for _, e := range r.list {
		known[key(e)] = true
	}
	older = slices.DeleteFunc(slices.Clone(older), func(e subjects.Event) bool { return known[key(e)] })
	r.list = append(older, r.list...)
	r.list = r.list[max(0, len(r.list)-maxRecent):]
}

// since returns events that are not older than a time in Unix milliseconds.
func (r *recentEvents) since(t int64) subjects.EventsReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := subjects.EventsReport{Events: []subjects.Event{}}
	for _, e := range r.list {
		if e.Time >= t {
			rep.Events = append(rep.Events, e)
		}
	}
	return rep
}

const (
	// A manager that has begun asks the leader so often for earlier events, and
	// gives up after so many times: a cluster without a leader has worse to tell.
	rememberEvery = time.Second
	rememberTries = 300
)

// remember takes over what the leader has heard before this manager began.
func (m *Manager) remember() {
	t := time.NewTicker(rememberEvery)
	defer t.Stop()
	for range rememberTries {
		var a subjects.AdminReply
		var rep subjects.EventsReport
		err := json.Unmarshal(m.seat.order(subjects.AdminEvents, nil), &a)
		if err == nil && a.Error == nil {
			if err = json.Unmarshal(a.Data, &rep); err == nil {
				m.seat.recent.before(rep.Events)
				if m.dashboard != nil {
					m.dashboard.Before(m.seat.recent.since(0).Events)
				}
				return
			}
		}
		select {
		case <-m.ctx.Done():
			return
		case <-t.C:
		}
	}
}
