package kumomanager

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumomanager/dashboard"
	"github.com/etolabo/kumofs/subjects"
)

// Each manager shows what the leader says and what its own table has.
func TestDashboardOfEachManager(t *testing.T) {
	g := newGroup(t, 2, func(o *Options) { o.HTTP = "127.0.0.1:1" }) // who serves it is not this test's matter
	g.leader()
	servers := []*server{newServer(t, g, 1), newServer(t, g, 2)}
	eventually(t, "the servers are seen", func() bool { return len(g.leader().Table().Nodes) == 2 })
	g.attach()
	g.full(2)
	look := func(m *Manager) (state dashboard.State, picture dashboard.Picture, log []dashboard.Entry) {
		w := httptest.NewRecorder()
		m.Dashboard().ServeHTTP(w, httptest.NewRequest("GET", "/snapshot", nil))
		var all dashboard.Snapshot
		if w.Code == 200 {
			if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
				t.Fatal(err)
			}
			_ = json.Unmarshal(all.State, &state)
			_ = json.Unmarshal(all.Ring, &picture)
		}
		return state, picture, all.Log
	}
	agree := func(health string, whole int) {
		t.Helper()
		for _, m := range g.managers {
			eventually(t, m.Name()+" shows the cluster as it is", func() bool {
				state, picture, _ := look(m)
				return state.Node == m.Name() && state.Leader == g.leader().Name() && state.Health == health && state.Error == "" &&
					state.Partitions.Full == whole && strings.Count(picture.Health, "0") == whole && len(picture.Parts) == 16
			})
		}
	}
	agree(healthOK, 16)
	servers[1].kill()
	g.full(1)
	agree(healthDegraded, 0)
	for _, m := range g.managers {
		eventually(t, m.Name()+" shows the event", func() bool {
			_, _, log := look(m)
			for _, e := range log {
				if e.Kind == "node-down" {
					return true
				}
			}
			return false
		})
	}
}

// A manager that was started again shows, and tells, what the leader has heard before.
func TestEventsFromBeforeAManagerBegan(t *testing.T) {
	g := newGroup(t, 3, func(o *Options) { o.HTTP = "127.0.0.1:1" })
	g.leader()
	newServer(t, g, 1)
	eventually(t, "the server is seen", func() bool { return len(g.leader().Table().Nodes) == 1 })
	g.attach()
	follower := (g.index(g.leader()) + 1) % 3
	eventually(t, "the leader has heard of it", func() bool {
		var rep subjects.EventsReport
		return g.admin(subjects.AdminEvents, nil, &rep) == nil && slices.ContainsFunc(rep.Events, isAttached)
	})
	g.stop(follower)
	g.open(follower)
	m := g.managers[follower]
	eventually(t, "it knows what was before", func() bool {
		return slices.ContainsFunc(m.seat.recent.since(0).Events, isAttached)
	})
	eventually(t, "its page shows it", func() bool {
		w := httptest.NewRecorder()
		m.Dashboard().ServeHTTP(w, httptest.NewRequest("GET", "/snapshot", nil))
		return strings.Contains(w.Body.String(), `"kind":"attached"`)
	})
}

func isAttached(e subjects.Event) bool { return e.Kind == subjects.EventAttached }

// What is known already is not told twice, and the oldest go.
func TestEarlierEventsAreMerged(t *testing.T) {
	var r recentEvents
	at := func(ms int64) subjects.Event { return subjects.Event{Kind: "k", Time: ms} }
	r.list = []subjects.Event{at(3), at(4)}
	r.before([]subjects.Event{at(1), at(3), at(2)})
	var got []int64
	for _, e := range r.list {
		got = append(got, e.Time)
	}
	if !slices.Equal(got, []int64{1, 2, 3, 4}) {
		t.Errorf("%v", got)
	}
	many := make([]subjects.Event, maxRecent)
	for i := range many {
		many[i] = at(int64(100 + i))
	}
	if r.before(many); len(r.list) != maxRecent || r.list[maxRecent-1].Time != 4 {
		t.Errorf("%d events, the last of %d", len(r.list), r.list[len(r.list)-1].Time)
	}
}

func TestNoDashboardWithoutPort(t *testing.T) {
	if h := newGroup(t, 1, nil).leader().Dashboard(); h != nil {
		t.Errorf("%v", h)
	}
}

// What happens often does not take the place of what happened once.
func TestMovesDoNotDriveOutOtherEvents(t *testing.T) {
	var r recentEvents
	tell := func(e subjects.Event) {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		r.heard(&bus.Msg{Data: b})
	}
	tell(subjects.Event{Kind: subjects.EventLeader, Time: 1})
	for i := range int64(2 * maxRecent) {
		tell(subjects.Event{Kind: subjects.EventEpoch, Time: 2 + i})
		if i%10 == 0 {
			tell(subjects.Event{Kind: subjects.EventMove, Time: 2 + i})
		}
	}
	got := map[string][]int64{}
	for _, e := range r.since(0).Events {
		got[e.Kind] = append(got[e.Kind], e.Time)
	}
	epochs := got[subjects.EventEpoch]
	switch {
	case len(r.list) != maxRecent, len(got[subjects.EventLeader]) != 1, len(got[subjects.EventMove]) != maxRecent/5:
		t.Errorf("of %d events there are %d leaders and %d moves", len(r.list), len(got[subjects.EventLeader]), len(got[subjects.EventMove]))
	case !slices.IsSorted(epochs) || epochs[len(epochs)-1] != 2*maxRecent+1 || epochs[0] != 2*maxRecent+2-int64(len(epochs)):
		t.Errorf("of the epochs those from %d to %d are kept, %d", epochs[0], epochs[len(epochs)-1], len(epochs))
	}
}
