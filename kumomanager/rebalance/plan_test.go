package rebalance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// mint makes distinct identities that are not in any order.
func mint(i int) ring.NodeID { return ring.NodeID(uint64(i+1) * 0x9e3779b97f4a7c15) }

func drawServers(t *rapid.T, most int) []Server {
	servers := make([]Server, rapid.IntRange(1, most).Draw(t, "servers"))
	for i := range servers {
		servers[i].ID = mint(i)
	}
	return servers
}

// checkPlan states what always holds of a placement.
func checkPlan(t *rapid.T, servers []Server, replicas int, got Placement) {
	t.Helper()
	copies := min(replicas, len(servers))
	load, leads := map[ring.NodeID]int{}, map[ring.NodeID]int{}
	for _, s := range servers {
		load[s.ID], leads[s.ID] = 0, 0
	}
	for p, nodes := range got {
		if len(nodes) != copies {
			t.Fatalf("partition %d has %d copies, want %d", p, len(nodes), copies)
		}
		for i, id := range nodes {
			if _, ok := load[id]; !ok || slices.Contains(nodes[:i], id) {
				t.Fatalf("partition %d: %v is there twice or no server", p, id)
			}
			load[id]++
		}
		leads[nodes[0]]++
	}
	even(t, "copies", load)
	even(t, "leads", leads)
}

func even(t failer, what string, count map[ring.NodeID]int) {
	t.Helper()
	low, high := -1, -1
	for _, n := range count {
		if low < 0 || n < low {
			low = n
		}
		high = max(high, n)
	}
	if high-low > 1 {
		t.Fatalf("%s are uneven: %d to %d: %v", what, low, high, count)
	}
}

// moved counts copies that must be made.
func moved(from, to Placement) (n int) {
	for p, nodes := range to {
		for _, id := range nodes {
			if !slices.Contains(from[p], id) {
				n++
			}
		}
	}
	return n
}

func drawPartitions(t *rapid.T) int { return 1 << rapid.IntRange(0, 9).Draw(t, "partitions") }

func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		servers := drawServers(t, 24)
		for i := range servers {
			servers[i].Zone = rapid.SampledFrom([]string{"", "a", "b", "c", "d"}).Draw(t, "zone")
		}
		replicas := rapid.IntRange(1, ring.MaxReplicas).Draw(t, "replicas")
		current := make(Placement, min(drawPartitions(t), 64))
		for p := range current { // anything at all, dead servers and doubles too
			current[p] = rapid.SliceOfN(rapid.Map(rapid.IntRange(0, 30), mint), 0, 4).Draw(t, "nodes")
		}
		got := Plan(servers, replicas, current, nil)
		checkPlan(t, servers, replicas, got)
		if d := cmp.Diff(got, Plan(servers, replicas, got, nil)); d != "" {
			t.Fatalf("a plan is not kept: %s", d)
		}
		shuffled := rapid.Permutation(servers).Draw(t, "order")
		if d := cmp.Diff(got, Plan(shuffled, replicas, current, nil)); d != "" {
			t.Fatalf("the order of the servers matters: %s", d)
		}
	})
}

func TestPlanMovesLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		servers := drawServers(t, 24)
		replicas := rapid.IntRange(1, 4).Draw(t, "replicas")
		placed := Plan(servers, replicas, make(Placement, drawPartitions(t)), nil)
		for range 4 {
			var next []Server
			gone, fresh := 0, map[ring.NodeID]bool{}
			if rapid.Bool().Draw(t, "join") || len(servers) <= replicas {
				next = slices.Clone(servers)
				for range rapid.IntRange(1, 5).Draw(t, "joining") {
					id := mint(100 + rapid.IntRange(0, 1<<20).Draw(t, "id"))
					if !slices.ContainsFunc(next, func(s Server) bool { return s.ID == id }) {
						next = append(next, Server{ID: id})
						fresh[id] = true
					}
				}
			} else {
				leaving := rapid.IntRange(1, len(servers)-replicas).Draw(t, "leaving")
				next = rapid.Permutation(servers).Draw(t, "order")[leaving:]
			}
			got := Plan(next, replicas, placed, nil)
			checkPlan(t, next, replicas, got)
			for _, nodes := range placed {
				for _, id := range nodes {
					if !slices.ContainsFunc(next, func(s Server) bool { return s.ID == id }) {
						gone++
					}
				}
			}
			onFresh := 0
			for _, nodes := range got {
				for _, id := range nodes {
					if fresh[id] {
						onFresh++
					}
				}
			}
			grown := len(got) * (min(replicas, len(next)) - min(replicas, len(servers)))
			// What must move moves, and per server one more for the rounding.
			if m := moved(placed, got); m > max(gone+grown, onFresh, 0)+len(next) {
				t.Fatalf("%d copies moved; %d were lost, %d are on new servers, %d more wanted", m, gone, onFresh, grown)
			}
			servers, placed = next, got
		}
	})
}

func TestPlanJoinMovesOnlyToTheNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		servers := drawServers(t, 24)
		replicas := rapid.IntRange(1, len(servers)).Draw(t, "replicas")
		placed := Plan(servers, replicas, make(Placement, drawPartitions(t)), nil)
		fresh := Server{ID: mint(500)}
		got := Plan(append(slices.Clone(servers), fresh), replicas, placed, nil)
		share := replicas * len(got) / (len(servers) + 1)
		if m := moved(placed, got); m > share+1 {
			t.Fatalf("%d copies moved for a share of %d", m, share)
		}
		for p, nodes := range got {
			for _, id := range nodes {
				if id != fresh.ID && !slices.Contains(placed[p], id) {
					t.Fatalf("partition %d moved to %v, which is not new", p, id)
				}
			}
		}
	})
}

func TestPlanSeparatesZones(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zones := rapid.IntRange(2, 6).Draw(t, "zones")
		each := rapid.IntRange(1, 5).Draw(t, "each")
		replicas := rapid.IntRange(1, zones).Draw(t, "replicas")
		var servers []Server
		for i := range zones * each {
			servers = append(servers, Server{mint(i), fmt.Sprint("z", i%zones)})
		}
		placed := make(Placement, drawPartitions(t))
		if rapid.Bool().Draw(t, "placed before") { // without zones
			var plain []Server
			for _, s := range servers {
				plain = append(plain, Server{ID: s.ID})
			}
			placed = Plan(plain[:rapid.IntRange(1, len(plain)).Draw(t, "n")], replicas, placed, nil)
		}
		got := Plan(servers, replicas, placed, nil)
		checkPlan(t, servers, replicas, got)
		for p, nodes := range got {
			seen := map[string]bool{}
			for _, id := range nodes {
				i := slices.IndexFunc(servers, func(s Server) bool { return s.ID == id })
				if z := servers[i].Zone; seen[z] {
					t.Fatalf("partition %d is in zone %s twice", p, z)
				} else {
					seen[z] = true
				}
			}
		}
	})
}

func TestPlanPrefersHolders(t *testing.T) {
	var servers []Server
	for i := range 6 {
		servers = append(servers, Server{ID: mint(i)})
	}
	placed := Plan(servers, 3, make(Placement, 64), nil)
	without := Plan(servers[:5], 3, placed, nil)
	// Server 5 comes back with all that it had, before anything was dropped.
	back := Plan(servers, 3, without, placed)
	had, fetched := 0, 0
	for p, nodes := range back {
		for _, id := range nodes {
			if id == mint(5) {
				had++
				if !slices.Contains(placed[p], id) {
					fetched++
				}
			}
		}
	}
	if fetched > had/10 {
		t.Errorf("%d of %d copies are fetched although the old ones would do", fetched, had)
	}
}

func TestPlanWithoutServers(t *testing.T) {
	for _, nodes := range Plan(nil, 3, Placement{{1, 2}, nil}, nil) {
		if len(nodes) > 0 {
			t.Fatal(nodes)
		}
	}
}
