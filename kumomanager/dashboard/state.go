package dashboard

import (
	"slices"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// State is how the cluster is, as its leader says. Rates are per second.
type State struct {
	Node  string `json:"node"`            // the manager that serves the dashboard
	Page  string `json:"page"`            // of which version its page is
	Now   int64  `json:"now"`             // when this was told, Unix milliseconds
	At    int64  `json:"at"`              // when the leader said so; 0: it never did
	Error string `json:"error,omitempty"` // why the leader said nothing since

	Cluster    string                  `json:"cluster"`
	Leader     string                  `json:"leader"`
	Revision   uint64                  `json:"revision"`
	Replicas   int                     `json:"replicas"`
	Health     string                  `json:"health"`
	Paused     bool                    `json:"paused"`
	Alarms     []string                `json:"alarms"`
	Partitions subjects.PartitionCount `json:"partitions"`
	Total      Total                   `json:"total"`
	Nodes      []Node                  `json:"nodes"`
	More       int                     `json:"more,omitempty"` // nodes that are not shown
	Moves      Moves                   `json:"moves"`
}

// Total is what all nodes do together, as the gateways see it.
type Total struct {
	Rate
	// Took has the middle of the gateways' medians, each as heavy as its
	// operations, and the highest of their 99th percentiles.
	Took  subjects.Took `json:"took"`
	Moved float64       `json:"moved"` // bytes of copies
	Items uint64        `json:"items"` // each copy counted once
	Bytes uint64        `json:"bytes"` // on all disks
}

// Node is a node.
type Node struct {
	Name    string        `json:"name"`
	Addr    string        `json:"addr"`
	Role    subjects.Role `json:"role"`
	State   string        `json:"state"`
	Zone    string        `json:"zone,omitempty"`
	Version string        `json:"version,omitempty"`
	HTTP    string        `json:"http,omitempty"`
	Listen  []string      `json:"listen,omitempty"`
	Leader  bool          `json:"leader,omitempty"`
	Uptime  int64         `json:"uptime"` // seconds
	Seen    int64         `json:"seen"`   // milliseconds ago
	Primary int           `json:"primary"`
	Replica int           `json:"replica"` // in sync, led or not
	Learner int           `json:"learner"`
	Items   uint64        `json:"items"`
	Bytes   uint64        `json:"bytes"` // on disk
	Behind  uint64        `json:"behind"`
	Disk    subjects.Disk `json:"disk"`
	Rate    *Rate         `json:"rate"` // null: not known yet
	Took    subjects.Took `json:"took"`
}

// Rate is operations a second.
type Rate struct {
	Read  float64 `json:"read"`
	Write float64 `json:"write"` // deletes among them
	moved float64 // bytes of copies
}

// stateOf makes what is shown of what the leader says.
func (d *Dashboard) stateOf(st *subjects.ClusterStatus, now time.Time) State {
	s := State{
		At: now.UnixMilli(), Cluster: clip(st.Cluster), Leader: clip(st.Leader), Revision: st.Revision,
		Replicas: st.Replicas, Health: st.Health, Paused: st.Paused, Partitions: st.Partitions,
		Alarms: []string{}, Nodes: []Node{},
	}
	for _, a := range st.Alarms[:min(len(st.Alarms), maxAlarms)] {
		s.Alarms = append(s.Alarms, clip(a))
	}
	nodes := slices.Clone(st.Nodes)
	slices.SortStableFunc(nodes, func(a, b subjects.NodeStatus) int { return unwell(b) - unwell(a) })
	count := map[subjects.Role]int{}
	var sum summer
	for i := range nodes {
		n := &nodes[i]
		rate := d.rates.of(n, now)
		sum.add(n, rate)
		if count[n.Role]++; count[n.Role] > maxNodes {
			s.More++
			continue
		}
		s.Nodes = append(s.Nodes, nodeOf(n, rate))
	}
	slices.SortStableFunc(s.Nodes, func(a, b Node) int { return compareAddr(a.Addr, b.Addr) })
	d.rates.forget(now)
	s.Total = sum.total()
	return s
}

func unwell(n subjects.NodeStatus) int {
	if n.State != "up" || n.Disk.Full || n.Disk.Stuck || n.Disk.Broken || n.Disk.Damaged > 0 || n.Disk.NoVote {
		return 1
	}
	return 0
}

func nodeOf(n *subjects.NodeStatus, rate *Rate) Node {
	out := Node{
		Name: clip(n.Name), Addr: clip(n.Addr), Role: n.Role, State: n.State, Zone: clip(n.Zone), Version: clip(n.Version),
		HTTP: clip(n.HTTP), Leader: n.Leader, Uptime: n.Uptime, Seen: n.Seen,
		Primary: n.Primary, Replica: n.Replica, Learner: n.Learner,
		Items: n.Load.Items, Bytes: n.Load.Bytes, Behind: n.Load.Unapplied, Disk: n.Disk, Rate: rate, Took: n.Load.Took,
	}
	for _, l := range n.Listen[:min(len(n.Listen), 4)] {
		out.Listen = append(out.Listen, clip(l))
	}
	if n.State == "down" {
		out.Rate, out.Took = nil, subjects.Took{}
	}
	return out
}

// summer adds nodes up.
type summer struct {
	out              Total
	primaries, held  uint64
	items            uint64
	reads50, writes5 float64 // medians, times operations
}

func (s *summer) add(n *subjects.NodeStatus, r *Rate) {
	if n.Role == subjects.RoleServer {
		s.primaries += uint64(n.Primary)
		s.held += uint64(n.Replica)
		if n.State != "down" {
			s.items += n.Load.Items
			s.out.Bytes += n.Load.Bytes
		}
		if r != nil && n.State != "down" {
			s.out.Moved += r.moved
		}
	}
	if n.Role != subjects.RoleGateway || n.State == "down" || r == nil {
		return
	}
	took := n.Load.Took
	s.out.Read += r.Read
	s.out.Write += r.Write
	s.reads50 += float64(took.Read50) * r.Read
	s.writes5 += float64(took.Write50) * r.Write
	s.out.Took.Read99 = max(s.out.Took.Read99, took.Read99)
	s.out.Took.Write99 = max(s.out.Took.Write99, took.Write99)
}

func (s *summer) total() Total {
	if s.out.Read > 0 {
		s.out.Took.Read50 = int64(s.reads50 / s.out.Read)
	}
	if s.out.Write > 0 {
		s.out.Took.Write50 = int64(s.writes5 / s.out.Write)
	}
	if s.out.Items = s.items; s.held > s.primaries {
		s.out.Items = s.items * s.primaries / s.held
	}
	return s.out
}

const (
	rateOver   = 5 * time.Second  // over which a rate is taken
	rateForget = 30 * time.Second // without news of a process
)

// rates has what nodes have counted.
type rates map[process]*counts

type process struct {
	id   ring.NodeID
	name string
	boot ring.BootID
}

// counts are samples of one process's counters, the oldest first.
type counts struct {
	heard   time.Time
	samples []sample
}

type sample struct {
	at                 int64 // Unix milliseconds
	read, write, moved uint64
}

func (s sample) before(o sample) bool {
	return s.at < o.at || s.read < o.read || s.write < o.write || s.moved < o.moved
}

// of takes a sample and returns the rate, nil while there is one sample only.
func (r rates) of(n *subjects.NodeStatus, now time.Time) *Rate {
	if n.Role == subjects.RoleManager {
		return nil
	}
	k := process{n.ID, n.Name, n.Boot}
	c := r[k]
	if c == nil {
		c = &counts{}
		r[k] = c
	}
	c.heard = now
	l := &n.Load
	s := sample{l.At, l.Get, l.Set + l.Delete, l.MovedBytes}
	if s.at == 0 { // a node of an older version
		s.at = now.UnixMilli()
	}
	if m := len(c.samples); m > 0 && s.before(c.samples[m-1]) {
		c.samples = nil // its clock or its counters were set back
	}
	if m := len(c.samples); m == 0 || s.at > c.samples[m-1].at {
		c.samples = append(c.samples, s)
	}
	for len(c.samples) > 2 && s.at-c.samples[1].at >= rateOver.Milliseconds() {
		c.samples = c.samples[1:]
	}
	first := c.samples[0]
	over := float64(s.at-first.at) / 1000
	if over <= 0 {
		return nil
	}
	return &Rate{
		Read: float64(s.read-first.read) / over, Write: float64(s.write-first.write) / over,
		moved: float64(s.moved-first.moved) / over,
	}
}

// forget drops processes that are gone.
func (r rates) forget(now time.Time) {
	for k, c := range r {
		if now.Sub(c.heard) > rateForget {
			delete(r, k)
		}
	}
}
