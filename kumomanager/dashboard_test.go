package kumomanager

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/kumomanager/dashboard"
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

func TestNoDashboardWithoutPort(t *testing.T) {
	if h := newGroup(t, 1, nil).leader().Dashboard(); h != nil {
		t.Errorf("%v", h)
	}
}
