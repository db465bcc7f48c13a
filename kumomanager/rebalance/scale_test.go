package rebalance

import (
	"cmp"
	"slices"
	"testing"

	"github.com/etolabo/kumofs/subjects/ring"
)

// The size that decisions are measured at: the largest table, on more servers
// than one mesh carries.
const (
	manyServers  = 1000
	manyReplicas = 3
)

// happening is what becomes of a large cluster.
type happening struct {
	name          string
	before, after []Server
}

func happenings() []happening {
	all := make([]Server, manyServers+1)
	for i := range all {
		all[i].ID = mint(i)
	}
	zoned, skewed := slices.Clone(all), slices.Clone(all)
	for i := range all {
		zoned[i].Zone = string(rune('a' + i%7))
		skewed[i].Zone = string(rune('a' + min(i%10, 3))) // seven tenths are in one
	}
	return []happening{
		{"first", nil, all[:manyServers]},
		{"join", all[:manyServers], all},
		{"death", all[:manyServers], all[1:manyServers]},
		{"tenth-dies", all[:manyServers], all[manyServers/10 : manyServers]},
		{"zones/first", nil, zoned[:manyServers]},
		{"zones/join", zoned[:manyServers], zoned},
		{"zones/death", zoned[:manyServers], zoned[1:manyServers]},
		{"skewed-zones/first", nil, skewed[:manyServers]},
		{"skewed-zones/death", skewed[:manyServers], skewed[1:manyServers]},
	}
}

// start is the placement before.
func (h happening) start() Placement {
	p := make(Placement, ring.MaxPartitions)
	if h.before != nil {
		p = Plan(h.before, manyReplicas, p, nil)
	}
	return p
}

// least is how many copies must be made in any case: what nobody holds any more,
// or the share of those that came.
func (h happening) least(start Placement) int {
	stays := map[ring.NodeID]bool{}
	for _, s := range h.after {
		stays[s.ID] = true
	}
	kept := 0
	for _, nodes := range start {
		for _, id := range nodes {
			if stays[id] {
				kept++
			}
		}
	}
	total := manyReplicas * len(start)
	return max(total-kept, (len(h.after)-len(h.before))*(total/len(h.after)))
}

// Few copies move at the largest size, too: never more than must, and one in a
// hundred.
func TestLargestPlanMovesLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("places 16,384 partitions on 1,000 servers")
	}
	for _, h := range happenings() {
		if h.name != "join" && h.name != "tenth-dies" && h.name != "zones/death" {
			continue
		}
		start := h.start()
		got := Plan(h.after, manyReplicas, start, nil)
		if n, least := moved(start, got), h.least(start); n > least+least/100 {
			t.Errorf("%s: %d copies move, %d must", h.name, n, least)
		}
	}
}

// BenchmarkPlan says, beside the time, how many copies the plan makes and how
// many any plan must make.
func BenchmarkPlan(b *testing.B) {
	for _, h := range happenings() {
		b.Run(h.name, func(b *testing.B) {
			start := h.start()
			var got Placement
			b.ReportAllocs()
			for b.Loop() {
				got = Plan(h.after, manyReplicas, start, nil)
			}
			b.ReportMetric(float64(moved(start, got)), "copies")
			b.ReportMetric(float64(h.least(start)), "least")
		})
	}
}

// BenchmarkReconcile is a round of the leader, which it makes ten times a second
// and whenever something happens.
func BenchmarkReconcile(b *testing.B) {
	for _, bb := range []struct {
		name    string
		servers int
		dead    int
	}{
		{"servers=100/rest", 100, 0}, {"servers=100/death", 100, 1},
		{"servers=1000/rest", 1000, 0}, {"servers=1000/death", 1000, 1},
	} {
		b.Run(bb.name, func(b *testing.B) {
			v := View{Table: &ring.Table{Replicas: manyReplicas}, Nodes: map[ring.NodeID]Status{}, Learners: 8, Shifts: 8}
			var servers []Server
			for i := range bb.servers {
				id := mint(i)
				servers = append(servers, Server{ID: id})
				v.Table.Nodes = append(v.Table.Nodes, ring.Node{ID: id, Boot: 1, Up: true, Attached: true})
				v.Nodes[id] = Status{State: Up, Boot: 1}
			}
			slices.SortFunc(v.Table.Nodes, func(a, b ring.Node) int { return cmp.Compare(a.ID, b.ID) })
			for _, nodes := range Plan(servers, manyReplicas, make(Placement, ring.MaxPartitions), nil) {
				v.Table.Partitions = append(v.Table.Partitions, ring.Config{
					Epoch: 1, Primary: ring.Process{Store: nodes[0], Boot: 1}, ISR: nodes, Target: nodes,
				})
			}
			for i := range bb.dead {
				v.Nodes[mint(i)] = Status{State: Down, Boot: 1}
			}
			var out Outcome
			b.ReportAllocs()
			for b.Loop() {
				out = Reconcile(v)
			}
			b.ReportMetric(float64(len(out.Changes)), "changes")
		})
	}
}
