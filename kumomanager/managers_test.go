package kumomanager

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// join opens a manager that is to join the first.
func (g *group) join() int {
	g.t.Helper()
	o := g.options[0]
	o.Listen, o.Dir, o.Join = fmt.Sprintf("127.0.0.1:%d", freePort(g.t)), g.t.TempDir(), true
	o.Partners = g.addrs()
	g.options, g.managers = append(g.options, o), append(g.managers, nil)
	g.open(len(g.managers) - 1)
	return len(g.managers) - 1
}

// manage changes the managers, as kumoctl does: again while that may help.
func (g *group) manage(req subjects.ManagerRequest) (done subjects.AdminDone) {
	g.t.Helper()
	var last error
	eventually(g.t, fmt.Sprintf("%+v is done", req), func() bool {
		last = g.admin(subjects.AdminManager, req, &done)
		if errors.Is(last, subjects.ErrRefused) && strings.Contains(last.Error(), "other voters are up") {
			return false // one that was started again has not been heard yet
		}
		if errors.Is(last, subjects.ErrRefused) || errors.Is(last, subjects.ErrBadRequest) {
			g.t.Fatal(last)
		}
		return last == nil
	})
	return done
}

// Managers are added to one, and removed again, the one that leads among them.
func TestManagersComeAndGo(t *testing.T) {
	g := newGroup(t, 1, nil)
	g.leader()
	if err := g.admin(subjects.AdminManager, subjects.ManagerRequest{Add: "127.0.0.1:1"}, nil); !errors.Is(err, subjects.ErrUnknownNode) || !strings.Contains(err.Error(), "--join") {
		t.Errorf("one that is not there: %v", err)
	}
	for _, bad := range []subjects.ManagerRequest{{}, {Add: "a", Remove: "b"}} {
		if err := g.admin(subjects.AdminManager, bad, nil); !errors.Is(err, subjects.ErrBadRequest) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	managers := func() []string {
		return slices.DeleteFunc(g.leader().seat.quorum.Voters(), isWitness)
	}
	for n := 2; n <= 3; n++ {
		i := g.join()
		name := g.managers[i].Name()
		eventually(t, "it is seen, and has no vote", func() bool {
			for _, s := range g.status().Nodes {
				if s.Name == name && s.State == stateNew {
					return true
				}
			}
			return false
		})
		if done := g.manage(subjects.ManagerRequest{Add: g.options[i].Listen}); !strings.Contains(done.Text, "is a manager") {
			t.Errorf("%+v", done)
		}
		if got := managers(); len(got) != n || !slices.Contains(got, name) {
			t.Errorf("managers %v", got)
		}
		g.manage(subjects.ManagerRequest{Add: g.options[i].Listen}) // it is one already
	}

	// A restart needs no --join, nor the same partners.
	last := len(g.managers) - 1
	g.stop(last)
	g.options[last].Join, g.options[last].Partners = false, g.options[0].Partners[:1]
	g.open(last)

	gone := g.index(g.leader())
	name := g.managers[gone].Name()
	g.manage(subjects.ManagerRequest{Remove: g.options[gone].Listen})
	eventually(t, "another leads, of two", func() bool {
		g.leader()
		for _, m := range g.managers {
			if m != nil && m.Name() != name && m.Leads() {
				return !slices.Contains(m.seat.quorum.Voters(), name)
			}
		}
		return false
	})
	eventually(t, "the one that was removed is told so", func() bool {
		data, err := os.ReadFile(filepath.Join(g.options[gone].Dir, identityFile))
		return err == nil && strings.Contains(string(data), `"removed":true`)
	})
	eventually(t, "it is to end", func() bool { return len(g.managers[gone].stopAsk) > 0 })
	g.stop(gone)
	if m, err := Open(g.options[gone]); err == nil || !strings.Contains(err.Error(), "was removed") {
		if err == nil {
			m.Close()
		}
		t.Errorf("it starts again: %v", err)
	}
	eventually(t, "nothing is said of it", func() bool {
		st := g.status()
		return !slices.ContainsFunc(st.Nodes, func(n subjects.NodeStatus) bool { return n.Name == name }) && !strings.Contains(fmt.Sprint(st.Alarms), name)
	})
	var left []int
	for i, m := range g.managers {
		if m != nil {
			left = append(left, i)
		}
	}
	g.manage(subjects.ManagerRequest{Remove: g.options[left[0]].Listen})
	if got := managers(); !slices.Equal(got, []string{g.managers[left[1]].Name()}) {
		t.Errorf("managers %v", got)
	}
	if err := g.admin(subjects.AdminManager, subjects.ManagerRequest{Remove: g.options[left[1]].Listen}, nil); !errors.Is(err, subjects.ErrRefused) || !strings.Contains(err.Error(), "only manager") {
		t.Errorf("the last: %v", err)
	}
	g.attach() // commands are taken
}

// What a request comes to, with managers of whom little is up.
func TestManagerChange(t *testing.T) {
	c := newCore(settings{failAfter: 1500 * time.Millisecond}, epoch)
	hear := func(name string, joining bool, at time.Time) {
		c.members.Hear(subjects.Heartbeat{Role: subjects.RoleManager, Node: name, ClusterID: 1, Joining: joining}, c.at(at))
	}
	c.tables(&ring.Table{ClusterID: 1}, epoch)
	hear("dead", false, epoch)
	now := epoch.Add(10 * time.Second)
	c.members.Tick(c.at(now))
	hear("up", false, now)
	hear("new", true, now)
	hear("own", false, now)
	if s := c.members.Others()["dead"].State; s != rebalance.Down {
		t.Fatalf("dead is %v", s)
	}
	for _, tt := range []struct {
		name   string
		req    subjects.ManagerRequest
		voters []string
		want   groom
		says   string
	}{
		{"add", subjects.ManagerRequest{Add: "new"}, []string{"self"}, groom{add: "new"}, "is a manager"},
		{"add one with a log", subjects.ManagerRequest{Add: "own"}, []string{"self"}, groom{}, "empty folder"},
		{"add one that is down", subjects.ManagerRequest{Add: "dead"}, []string{"self"}, groom{}, "unknown node"},
		{"add an eighth", subjects.ManagerRequest{Add: "new"}, []string{"self", "2", "3", "4", "5", "6", "7"}, groom{}, "the most"},
		{"remove a dead one", subjects.ManagerRequest{Remove: "dead"}, []string{"dead", "self", "up"}, groom{remove: "dead"}, "ends by itself"},
		{"remove one of few", subjects.ManagerRequest{Remove: "up"}, []string{"dead", "self", "up"}, groom{}, "no majority"},
		{"remove itself", subjects.ManagerRequest{Remove: "self"}, []string{"self", "up"}, groom{remove: "self", heir: "up"}, "ends by itself"},
		{"remove one that is none", subjects.ManagerRequest{Remove: "own"}, []string{"self", "up"}, groom{}, "no manager any more"},
		{"remove nobody", subjects.ManagerRequest{Remove: "nobody"}, []string{"self", "up"}, groom{}, "the managers are self up"},
	} {
		g, text, err := c.managerChange(tt.req, "self", tt.voters, now)
		if err != nil {
			text = err.Error()
		}
		if g != tt.want || !strings.Contains(text, tt.says) {
			t.Errorf("%s: %+v, %s", tt.name, g, text)
		}
	}
	later := now.Add(strayAfter + time.Second)
	hear("own", false, later)
	hear("up", false, later)
	if got := c.stray([]string{"self", "up"}, now); got != "" {
		t.Errorf("at once %q is a stray", got)
	}
	if got := c.stray([]string{"self", "up"}, later); got != "own" {
		t.Errorf("%q is the stray", got)
	}
}
