package kumomanager

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

func TestOneManager(t *testing.T) {
	// Silence alone would take too long for this test: it is proof that counts.
	g := newGroup(t, 1, func(o *Options) { o.FailAfter = time.Hour })
	m := g.leader()
	if table := m.Table(); table.Size() != 16 || table.ClusterID == 0 || table.Cluster != "kumo" {
		t.Fatalf("%+v", table)
	}
	var servers []*server
	for i := range 3 {
		servers = append(servers, newServer(t, g, ring.NodeID(i+1)))
	}
	eventually(t, "three servers are seen", func() bool { return len(g.leader().Table().Nodes) == 3 })
	st := g.status()
	if st.Partitions.Total != 16 || len(st.Nodes) != 4 || st.Leader != m.Name() {
		t.Fatalf("%+v", st)
	}
	for _, n := range st.Nodes[1:] {
		if n.State != stateNew {
			t.Errorf("%s is %s before it is attached", n.Name, n.State)
		}
	}
	if done := g.attach(); len(done.Nodes) != 3 {
		t.Fatalf("attached %+v", done)
	}
	g.full(3)
	if st := g.status(); st.Health != healthOK || st.Partitions.Full != 16 || len(st.Alarms) > 0 {
		t.Fatalf("%+v", st)
	}

	servers[0].kill()
	g.full(2)
	st = g.status()
	if st.Health != healthDegraded || st.Partitions.Degraded != 16 || !strings.Contains(strings.Join(st.Alarms, "; "), "is down") {
		t.Errorf("%s %v", st.Health, st.Alarms)
	}
	servers[0].start()
	g.full(3)
	eventually(t, "leads are even again", func() bool {
		for _, n := range g.status().Nodes {
			if n.Role == subjects.RoleServer && (n.Primary < 5 || n.Primary > 6) {
				return false
			}
		}
		return true
	})
}

func TestSilentServerIsDown(t *testing.T) {
	g := newGroup(t, 1, nil)
	a, b := newServer(t, g, 1), newServer(t, g, 2)
	eventually(t, "the servers are seen", func() bool { return len(g.leader().Table().Nodes) == 2 })
	g.attach()
	g.full(2)
	b.silence()
	g.full(1)
	for _, c := range g.leader().Table().Partitions {
		if c.Primary.Store != a.id {
			t.Fatalf("%+v", c)
		}
	}
}

func TestRingIsKeptOverRestart(t *testing.T) {
	g := newGroup(t, 1, nil)
	newServer(t, g, 1)
	newServer(t, g, 2)
	eventually(t, "the servers are seen", func() bool { return len(g.leader().Table().Nodes) == 2 })
	g.attach()
	g.full(2)
	before := g.leader().Table()
	g.stop(0)
	g.open(0)
	after := g.leader().Table()
	if after.ClusterID != before.ClusterID || after.Partitions[3].Epoch < before.Partitions[3].Epoch {
		t.Fatalf("%+v", after)
	}
	g.full(2)
}

func TestThreeManagers(t *testing.T) {
	g := newGroup(t, 3, nil)
	first := g.leader()
	servers := []*server{newServer(t, g, 1), newServer(t, g, 2), newServer(t, g, 3)}
	eventually(t, "the servers are seen", func() bool { return len(g.leader().Table().Nodes) == 3 })
	g.attach()
	g.full(3)
	id := first.Table().ClusterID

	g.stop(g.index(first))
	next := g.leader()
	if next.Name() == first.Name() || next.Table().ClusterID != id {
		t.Fatal("the cluster did not go on")
	}
	servers[1].kill()
	g.full(2)
	if st := g.status(); st.Leader != next.Name() {
		t.Errorf("status says that %s leads, not %s", st.Leader, next.Name())
	}
	servers[1].start()
	g.full(3)
	for i, m := range g.managers {
		if m == nil {
			g.open(i)
		}
	}
	eventually(t, "the manager that returned knows the ring", func() bool {
		for _, m := range g.managers {
			if m.Table() == nil || m.Table().Revision < next.Table().Revision {
				return false
			}
		}
		return true
	})
}

func TestTwoManagersTakeWitnesses(t *testing.T) {
	g := newGroup(t, 2, nil)
	g.leader()
	servers := []*server{newServer(t, g, 1), newServer(t, g, 2), newServer(t, g, 3)}
	eventually(t, "the servers are seen", func() bool { return len(g.leader().Table().Nodes) == 3 })
	g.attach()
	eventually(t, "three servers vote", func() bool { return len(g.leader().seat.quorum.Voters()) == 5 })
	g.full(3)

	// A manager and a server go at once.
	lead := g.leader()
	servers[0].kill()
	g.stop(g.index(lead))
	g.full(2)
	if st := g.status(); st.Leader == lead.Name() {
		t.Errorf("%s leads still", st.Leader)
	}

	// The other manager goes: a witness leads, keeps partitions served, and
	// leaves as soon as a manager is back.
	servers[0].start()
	g.full(3)
	for i := range g.managers {
		g.stop(i)
	}
	witness := func() *server {
		for _, s := range servers {
			if s.wit != nil && s.wit.Leads() {
				return s
			}
		}
		return nil
	}
	eventually(t, "a witness leads", func() bool { return witness() != nil })
	eventually(t, "the witness answers while no manager does", func() bool {
		var st subjects.ClusterStatus
		return askStatus(servers[0].bus, &st) == nil && strings.HasPrefix(st.Leader, "127-0-0-1-") && st.Partitions.Full == 16
	})
	for _, s := range servers {
		if s != witness() {
			s.kill() // two of five are left with the managers gone: no quorum
			s.start()
			break
		}
	}
	g.open(0)
	g.open(1)
	eventually(t, "a manager leads again", func() bool {
		return witness() == nil && (g.managers[0].Leads() || g.managers[1].Leads())
	})
	g.full(3)
}

func TestAutoReplace(t *testing.T) {
	g := newGroup(t, 1, func(o *Options) { o.AutoReplace, o.LostAfter = true, 500*time.Millisecond })
	g.leader()
	servers := []*server{newServer(t, g, 1), newServer(t, g, 2), newServer(t, g, 3), newServer(t, g, 4)}
	g.full(3)
	servers[3].kill()
	eventually(t, "a lost server is no longer counted on", func() bool {
		for _, c := range g.leader().Table().Partitions {
			if c.Holds(4) || len(c.ISR) != 3 {
				return false
			}
		}
		return true
	})
	servers[3].start()
	eventually(t, "the server that returned has its share", func() bool {
		n := 0
		for _, c := range g.leader().Table().Partitions {
			if c.HasISR(4) && len(c.ISR) == 3 {
				n++
			}
		}
		return n == 12
	})
}

func TestDetach(t *testing.T) {
	g := newGroup(t, 1, nil)
	g.leader()
	servers := []*server{newServer(t, g, 1), newServer(t, g, 2), newServer(t, g, 3)}
	eventually(t, "the servers are seen", func() bool { return len(g.leader().Table().Nodes) == 3 })
	g.attach(servers[0].name(), servers[1].addr)
	g.full(2)
	g.attach()
	g.full(3)
	var done subjects.AdminDone
	if err := g.admin(subjects.AdminDetach, subjects.AdminRequest{Nodes: []string{servers[2].id.String()}}, &done); err != nil {
		t.Fatal(err)
	}
	g.full(2)
	servers[1].silence()
	g.full(1)
	servers[0].kill()
	eventually(t, "no server is up", func() bool { return g.status().Partitions.Down == 16 })
	err := g.admin(subjects.AdminDetach, subjects.AdminRequest{}, &done)
	if !errors.Is(err, subjects.ErrRefused) {
		t.Fatalf("the last copies may be given up: %v %+v", err, done)
	}
	err = g.admin(subjects.AdminAttach, subjects.AdminRequest{Nodes: []string{"nobody"}}, &done)
	if !errors.Is(err, subjects.ErrUnknownNode) {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	g := newGroup(t, 1, nil)
	g.leader()
	o := g.options[0]
	second := o
	second.Listen = "127.0.0.1:" + "1"
	second.Listen = withPort(o.Listen, 1)
	if _, err := Open(second); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), o.Dir) {
		t.Errorf("a folder in use: %v", err)
	}
	second = o
	second.Dir = t.TempDir()
	var taken *bus.ListenError
	if _, err := Open(second); !errors.As(err, &taken) || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port in use: %v", err)
	}
	second = o
	second.Dir = t.TempDir()
	photo := filepath.Join(second.Dir, "photo.jpg")
	if err := os.WriteFile(photo, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(second); !errors.Is(err, ErrNotManager) || !strings.Contains(err.Error(), second.Dir) {
		t.Errorf("somebody's folder: %v", err)
	}
	if list, _ := os.ReadDir(second.Dir); len(list) != 1 {
		t.Errorf("somebody's folder holds %v afterwards", list)
	}
	g.stop(0)
	for name, change := range map[string]func(*Options){
		"another cluster":  func(o *Options) { o.Cluster = "other" },
		"another address":  func(o *Options) { o.Listen = withPort(o.Listen, 1) },
		"no address":       func(o *Options) { o.Listen = "" },
		"no port":          func(o *Options) { o.Listen = "127.0.0.1:x" },
		"odd partitions":   func(o *Options) { o.Partitions = 100 },
		"no replicas":      func(o *Options) { o.Replicas = 0 },
		"a dot in a name":  func(o *Options) { o.Cluster = "a.b" },
		"too quick":        func(o *Options) { o.FailAfter = time.Millisecond },
		"a partner's port": func(o *Options) { o.Partners = []string{"a:b:c"} },
	} {
		bad := o
		change(&bad)
		if m, err := Open(bad); err == nil {
			m.Close()
			t.Errorf("%s: was taken", name)
		}
	}
}

// A manager is ready while there is a leader; each tells the leader's status.
func TestUnready(t *testing.T) {
	g := newGroup(t, 3, nil)
	g.leader()
	for _, m := range g.managers {
		eventually(t, m.Name()+" is ready", func() bool { return m.Unready() == nil })
		var st subjects.ClusterStatus
		eventually(t, m.Name()+" knows the status", func() bool {
			data, err := m.Status()
			return err == nil && json.Unmarshal(data, &st) == nil
		})
		if st.Leader == "" || len(st.Voters) != 3 {
			t.Errorf("%s: status %+v", m.Name(), st)
		}
	}
	leaders := 0
	eventually(t, "one of them tells of the cluster", func() bool {
		leaders = 0
		for _, m := range g.managers {
			if told(t, m)["kumofs_cluster_partitions"] {
				leaders++
			}
		}
		return leaders == 1
	})
	for _, m := range g.managers {
		if names := told(t, m); !names["kumofs_manager_leads"] || !names["kumofs_bus_routes"] {
			t.Errorf("%s tells only %v", m.Name(), names)
		}
	}
	for _, m := range g.managers[1:] {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if m.Unready() == nil {
			t.Errorf("%s is ready and closed", m.Name())
		}
	}
	eventually(t, "one of three is not ready", func() bool { return g.managers[0].Unready() != nil })
	if _, err := g.managers[0].Status(); err == nil {
		t.Error("one of three knows the status")
	}
}

// told are the names of what a manager tells Prometheus.
func told(t *testing.T, m *Manager) map[string]bool {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	for _, c := range m.Metrics() {
		if err := reg.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	list, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range list {
		names[f.GetName()] = true
	}
	return names
}
