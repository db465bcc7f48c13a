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

// The bounds of recent events, all of which fit into a message: beyond, the oldest of
// the most frequent kind goes, and larger ones are not kept.
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
	r.list = trimmed(append(r.list, e))
}

// trimmed drops what is too much of a list: a move tells of thousands of
// configurations, which are not to take the place of what happened once.
func trimmed(list []subjects.Event) []subjects.Event {
	if len(list) <= maxRecent {
		return list
	}
	kept, drop := map[string]int{}, map[string]int{}
	for _, e := range list {
		kept[e.Kind]++
	}
	for range len(list) - maxRecent {
		most := ""
		for kind, n := range kept {
			if n > kept[most] || n == kept[most] && kind < most {
				most = kind
			}
		}
		kept[most]--
		drop[most]++
	}
	return slices.DeleteFunc(list, func(e subjects.Event) bool {
		drop[e.Kind]--
		return drop[e.Kind] >= 0
	})
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
	r.list = trimmed(append(older, r.list...))
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
