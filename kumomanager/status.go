package kumomanager

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/etolabo/kumofs/kumomanager/members"
	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// The words of ClusterStatus.Health and NodeStatus.State.
const (
	healthOK          = "ok"
	healthDegraded    = "degraded"
	healthUnavailable = "unavailable"

	stateUp       = "up"
	stateDown     = "down"
	stateNew      = "new"
	stateLeaving  = "leaving"
	stateJoining  = "joining"
	stateDraining = "draining"
	stateDrained  = "drained"
)

// maxStuck is how many partitions that nobody may lead are named.
const maxStuck = 64

// status tells how the cluster is, as the leader sees it.
func (c *core) status(leader string, voters []string, now time.Time) subjects.ClusterStatus {
	t := c.table
	st := subjects.ClusterStatus{
		Cluster: t.Cluster, ClusterID: t.ClusterID, Revision: t.Revision, Leader: leader, Voters: voters,
		Replicas: t.Replicas, AutoReplace: t.AutoReplace, Paused: t.Paused, MoveRate: t.MoveRate,
	}
	roles := c.count(t, &st)
	st.Stuck = slices.Clone(c.stuck[:min(len(c.stuck), maxStuck)])
	for _, n := range t.Nodes {
		st.Nodes = append(st.Nodes, c.server(n, roles[n.ID], leader, now))
	}
	for _, o := range c.members.Others() {
		n := other(o, leader, c.at(now), now)
		if o.Role == subjects.RoleManager && !slices.Contains(voters, o.Node) {
			if n.State == stateDown {
				continue // it was removed
			}
			n.State = stateNew
		}
		st.Nodes = append(st.Nodes, n)
	}
	order := map[subjects.Role]int{subjects.RoleManager: 1, subjects.RoleServer: 2, subjects.RoleGateway: 3}
	slices.SortFunc(st.Nodes, func(a, b subjects.NodeStatus) int {
		return cmp.Or(cmp.Compare(order[a.Role], order[b.Role]), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	st.Alarms = append(alarms(&st), expiring(&st, now)...)
	st.Health = health(&st)
	return st
}

// held counts what a server holds.
type held struct {
	primary, replica, learner, gaps int
	epoch                           ring.Epoch // the highest of those that it leads
}

// count fills in partitions and moves, and counts each server's roles.
func (c *core) count(t *ring.Table, st *subjects.ClusterStatus) map[ring.NodeID]*held {
	roles := map[ring.NodeID]*held{}
	of := func(id ring.NodeID) *held {
		if roles[id] == nil {
			roles[id] = &held{}
		}
		return roles[id]
	}
	st.Partitions.Total = t.Size()
	st.Moves = c.moveStatus(t)
	for _, p := range t.Partitions {
		for _, id := range p.Target {
			if !p.HasISR(id) {
				of(id).gaps++
			}
		}
		for _, id := range p.Learners {
			of(id).learner++
		}
		up := 0
		for _, id := range p.ISR {
			of(id).replica++
			if n, _ := t.Node(id); n.Up {
				up++
			}
		}
		if p.Loss {
			st.Partitions.Loss++
		}
		switch {
		case !t.Alive(p.Primary):
			st.Partitions.Down++
			continue
		case up >= len(p.Target):
			st.Partitions.Full++
		default:
			st.Partitions.Degraded++
		}
		lead := of(p.Primary.Store)
		lead.primary, lead.epoch = lead.primary+1, max(lead.epoch, p.Epoch)
		if up == 1 && t.Replicas > 1 {
			st.Partitions.Lone++
		}
	}
	return roles
}

func (c *core) server(n ring.Node, h *held, leader string, now time.Time) subjects.NodeStatus {
	if h == nil {
		h = &held{}
	}
	s := subjects.NodeStatus{
		Name: n.Name, Addr: n.Addr, Role: subjects.RoleServer, ID: n.ID, Boot: n.Boot, Zone: n.Zone,
		Primary: h.primary, Replica: h.replica, Learner: h.learner, Gaps: h.gaps, Epoch: h.epoch, Leader: n.Name == leader,
	}
	if m, ok := c.members.Server(n.ID); ok {
		heardOf(&s, m, c.at(now), now)
		if m.State == rebalance.Down {
			n.Up = false
		}
	}
	switch {
	case !n.Up:
		s.State = stateDown
	case !n.Attached && h.replica+h.learner > 0:
		s.State = stateLeaving
	case !n.Attached:
		s.State = stateNew
	case n.Draining && h.replica+h.learner > 0:
		s.State = stateDraining
	case n.Draining:
		s.State = stateDrained
	case h.learner > 0 || h.gaps > 0:
		s.State = stateJoining
	default:
		s.State = stateUp
	}
	return s
}

// heardOf fills in what the last heartbeat told.
func heardOf(s *subjects.NodeStatus, m *members.Member, now int64, wall time.Time) {
	if m.Heard == 0 {
		return
	}
	hb := m.Heartbeat
	s.Seen = (now - m.Heard) / 1e6
	s.Time, s.Clock = hb.Time, hb.Time-(wall.UnixMilli()-s.Seen)
	s.Version, s.PID, s.HTTP, s.Listen, s.Uptime = hb.Version, hb.PID, hb.HTTP, hb.Listen, hb.Uptime
	s.Load, s.Revision, s.Cluster, s.Disk, s.Expires = hb.Load, hb.Revision, hb.ClusterID, hb.Disk, hb.Expires
}

func other(m *members.Member, leader string, now int64, wall time.Time) subjects.NodeStatus {
	hb := m.Heartbeat
	s := subjects.NodeStatus{
		Name: hb.Node, Addr: hb.Addr, Role: hb.Role, ID: hb.ID, Boot: hb.Boot, Zone: hb.Zone,
		Leader: hb.Role == subjects.RoleManager && hb.Node == leader, State: stateUp,
	}
	heardOf(&s, m, now, wall)
	if m.State == rebalance.Down {
		s.State = stateDown
	}
	return s
}

// alarms says in words what an operator should look at.
func alarms(st *subjects.ClusterStatus) (out []string) {
	add := func(n int, one, many string) {
		if n == 1 {
			out = append(out, "1 "+one)
		} else if n > 1 {
			out = append(out, fmt.Sprintf("%d %s", n, many))
		}
	}
	placed := st.Partitions.Full + st.Partitions.Degraded
	attached := 0
	for _, n := range st.Nodes {
		if n.Role != subjects.RoleServer {
			continue
		}
		if n.State == stateDown {
			out = append(out, "server "+n.Name+" is down")
		} else if what := disk(n.Disk); what != "" {
			out = append(out, "server "+n.Name+": "+what)
		}
		if n.State != stateNew && n.State != stateDown || n.Replica > 0 {
			attached++
		}
	}
	for _, n := range st.Nodes {
		if n.Role == subjects.RoleManager && n.State == stateDown {
			out = append(out, "manager "+n.Name+" is down")
		}
	}
	if placed == 0 && attached == 0 {
		return append(out, "no server is attached: kumoctl attach")
	}
	add(st.Partitions.Down, "partition has no live primary", "partitions have no live primary")
	if n := len(st.Stuck); n > 0 {
		list := make([]string, n)
		for i, p := range st.Stuck {
			list[i] = fmt.Sprint(p)
		}
		out = append(out, fmt.Sprintf("nobody may lead partition %s: what is in sync is down or lacks writes; start the servers, or see what kumoctl recover would give up", shorten(list)))
	}
	add(st.Partitions.Lone, "partition has a single copy", "partitions have a single copy")
	add(st.Partitions.Degraded, "partition lacks copies", "partitions lack copies")
	add(st.Partitions.Loss, "partition was forced: acknowledged writes may be lost", "partitions were forced: acknowledged writes may be lost")
	return out
}

// expiring names the nodes whose certificates are soon over.
func expiring(st *subjects.ClusterStatus, now time.Time) (out []string) {
	for _, n := range st.Nodes {
		if n.Expires == 0 || n.State == stateDown {
			continue
		}
		left := time.Unix(n.Expires, 0).Sub(now)
		switch {
		case left <= 0:
			out = append(out, fmt.Sprintf("%s %s: a certificate has expired: kumoctl auth rotate", n.Role, n.Name))
		case left < subjects.ExpiresSoon:
			out = append(out, fmt.Sprintf("%s %s: a certificate expires in %d days: kumoctl auth rotate", n.Role, n.Name, int(left.Hours()/24)))
		}
	}
	return out
}

// disk says in words what is wrong with a server's disk.
func disk(d subjects.Disk) string {
	switch {
	case d.Stuck:
		return "its disk hangs: it acknowledges nothing"
	case d.Broken:
		return "its data file is damaged, and made anew when it starts again"
	case d.Full:
		return "its disk is full: values are not taken, what there is can be read"
	case d.Damaged > 0:
		return fmt.Sprintf("%d damaged records, which are copied anew", d.Damaged)
	case d.NoVote:
		return "its log of the managers is damaged, so that it does not vote; drain it, and start it with an empty folder"
	}
	return ""
}

func health(st *subjects.ClusterStatus) string {
	switch {
	case st.Partitions.Down > 0 || st.Partitions.Total == 0:
		return healthUnavailable
	case st.Partitions.Degraded > 0 || st.Partitions.Lone > 0:
		return healthDegraded
	}
	return healthOK
}
