package kumomanager

import (
	"encoding/json"
	"slices"
	"sync"

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
// manager keeps them, and begins with none.
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
