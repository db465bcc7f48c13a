package rebalance

import (
	"cmp"
	"slices"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Server is a node that may be given partitions.
type Server struct {
	ID ring.NodeID
	// Zone is what may fail together: copies of a partition go to different
	// zones where they can. An empty zone is one of its own.
	Zone string
}

// Placement lists for each partition the nodes that hold it, the one that leads
// it first.
type Placement [][]ring.NodeID

// Plan returns the placement of every partition of current on the servers.
//
// Each partition gets min(replicas, len(servers)) distinct servers. The number
// of copies is even among servers (it differs by one at the most), and so is the
// number of partitions led. Copies of a partition are in different zones as far
// as evenness allows. Within that, as little as possible differs from current,
// and missing copies go to servers that still hold the data (held, which may be
// nil). The same arguments give the same placement, and a placement that Plan
// made is kept as it is.
//
// Evenness needs no search: a server with more copies than another always holds
// a partition that the other does not, so a copy can be handed over directly.
// Zones are then improved by exchanging copies between two partitions, which
// keeps evenness. Leaders are a flow: shortest augmenting paths from servers
// that lead too many partitions to ones that lead too few; since all partitions
// have equally many copies, a flow that is even exists (Hall).
func Plan(servers []Server, replicas int, current, held Placement) Placement {
	p := newPlanner(servers, replicas, current, held)
	if p.copies == 0 {
		return make(Placement, len(current))
	}
	p.setQuotas()
	p.fill()
	p.even()
	p.separateZones()
	p.lead(current)
	return p.placement(current)
}

// Targets returns the wishes that differ from the table's once the partitions
// are placed on these servers.
func Targets(t *ring.Table, servers []Server) []ring.Target {
	current, held := make(Placement, t.Size()), make(Placement, t.Size())
	for i, c := range t.Partitions {
		current[i] = c.Target
		held[i] = slices.Concat(c.ISR, c.Learners)
		if len(c.Target) == 0 {
			current[i] = held[i]
		}
	}
	var out []ring.Target
	for i, nodes := range Plan(servers, t.Replicas, current, held) {
		if !slices.Equal(nodes, t.Partitions[i].Target) {
			out = append(out, ring.Target{Partition: ring.Partition(i), Nodes: nodes})
		}
	}
	return out
}

// planner works with servers as indices in the order of their IDs.
type planner struct {
	ids    []ring.NodeID
	index  map[ring.NodeID]int
	zone   []int
	zones  int
	copies int     // of each partition
	parts  [][]int // partition → servers that hold it
	held   Placement
	load   []int // server → copies
	quota  []int // server → copies that it should have
	leader []int // partition → server, -1 before it is known
}

func newPlanner(servers []Server, replicas int, current, held Placement) *planner {
	servers = slices.Clone(servers)
	slices.SortFunc(servers, func(a, b Server) int { return cmp.Compare(a.ID, b.ID) })
	servers = slices.CompactFunc(servers, func(a, b Server) bool { return a.ID == b.ID })
	p := &planner{
		index:  make(map[ring.NodeID]int, len(servers)),
		copies: min(replicas, len(servers)),
		parts:  make([][]int, len(current)),
		held:   held,
		load:   make([]int, len(servers)),
	}
	names := map[string]int{}
	for i, s := range servers {
		p.ids = append(p.ids, s.ID)
		p.index[s.ID] = i
		z, known := names[s.Zone]
		if !known || s.Zone == "" {
			z = p.zones
			p.zones++
			names[s.Zone] = z
		}
		p.zone = append(p.zone, z)
	}
	for i, nodes := range current {
		for _, id := range nodes {
			if s, ok := p.index[id]; ok && !slices.Contains(p.parts[i], s) {
				p.add(i, s)
			}
		}
	}
	for i := range p.parts {
		p.trim(i)
	}
	return p
}

func (p *planner) add(part, s int) {
	p.parts[part] = append(p.parts[part], s)
	p.load[s]++
}

func (p *planner) remove(part, s int) {
	p.parts[part] = slices.DeleteFunc(p.parts[part], func(o int) bool { return o == s })
	p.load[s]--
}

// trim drops copies beyond what is wanted: the leader last, others by zone and load.
func (p *planner) trim(part int) {
	for len(p.parts[part]) > p.copies {
		worst := slices.MaxFunc(p.parts[part][1:], func(a, b int) int {
			return cmp.Or(cmp.Compare(p.clash(part, a, -1), p.clash(part, b, -1)), cmp.Compare(p.load[a], p.load[b]))
		})
		p.remove(part, worst)
	}
}

// clash counts the copies of a partition in the zone of s, other than on s
// itself and on without.
func (p *planner) clash(part, s, without int) (n int) {
	for _, o := range p.parts[part] {
		if o != s && o != without && p.zone[o] == p.zone[s] {
			n++
		}
	}
	return n
}

func (p *planner) holds(part, s int) bool { return slices.Contains(p.parts[part], s) }

// keeps reports whether the data of a partition is on s already.
func (p *planner) keeps(part, s int) int {
	if part < len(p.held) && slices.Contains(p.held[part], p.ids[s]) {
		return 1
	}
	return 0
}

// setQuotas says who gets one copy more where they cannot be divided evenly:
// those that hold more already, as long as their zone has room (a zone with
// more copies than there are partitions holds some partition twice).
func (p *planner) setQuotas() {
	n := len(p.ids)
	total := p.copies * len(p.parts)
	base, extra := total/n, total%n
	p.quota = make([]int, n)
	if p.isEven(base, total) {
		copy(p.quota, p.load)
		return
	}
	inZone := make([]int, p.zones)
	for s := range p.quota {
		p.quota[s] = base
		inZone[p.zone[s]] += base
	}
	full := func(s int) int {
		if inZone[p.zone[s]] >= len(p.parts) {
			return 1
		}
		return 0
	}
	for range extra {
		best := -1
		for s := range p.quota {
			if p.quota[s] > base {
				continue
			}
			if best < 0 || cmp.Or(
				cmp.Compare(full(s), full(best)),
				cmp.Compare(min(p.load[best], base+1), min(p.load[s], base+1)),
				cmp.Compare(inZone[p.zone[s]], inZone[p.zone[best]])) < 0 {
				best = s
			}
		}
		p.quota[best]++
		inZone[p.zone[best]]++
	}
}

// isEven reports whether loads are quotas already.
func (p *planner) isEven(base, total int) bool {
	inZone := make([]int, p.zones)
	for s, l := range p.load {
		inZone[p.zone[s]] += l
		if l != base && l != base+1 || inZone[p.zone[s]] > len(p.parts) {
			return false
		}
		total -= l
	}
	return total == 0
}

// fill gives each partition the copies that it lacks. Where every server with
// room holds the partition already, another takes it and even hands one on.
func (p *planner) fill() {
	for part := range p.parts {
		for len(p.parts[part]) < p.copies {
			best := -1
			for s := range p.ids {
				if !p.holds(part, s) && (best < 0 || p.fits(part, s, best) < 0) {
					best = s
				}
			}
			p.add(part, best)
		}
	}
}

// fits compares two servers as places for a copy; negative prefers a. Equal
// ones are told apart by a hash, so that a server shares its partitions with
// many others and its loss is borne by all. The first placement of a large
// cluster calls this fifty million times: what decides most often comes first.
func (p *planner) fits(part, a, b int) int {
	room := func(s int) int { return p.quota[s] - p.load[s] }
	if c := -cmp.Compare(min(room(a), 1), min(room(b), 1)); c != 0 {
		return c
	}
	if c := cmp.Compare(p.clash(part, a, -1), p.clash(part, b, -1)); c != 0 {
		return c
	}
	if c := -cmp.Compare(p.keeps(part, a), p.keeps(part, b)); c != 0 {
		return c
	}
	if c := -cmp.Compare(room(a), room(b)); c != 0 {
		return c
	}
	return cmp.Compare(p.mix(part, a), p.mix(part, b))
}

// mix is the finalizer of SplitMix64 over partition and node.
func (p *planner) mix(part, s int) uint64 {
	x := uint64(p.ids[s]) + uint64(part+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// even hands copies from servers above their quota to servers below.
func (p *planner) even() {
	for from := range p.ids {
		if p.load[from] <= p.quota[from] {
			continue
		}
		var parts []int
		for part := range p.parts {
			if p.holds(part, from) {
				parts = append(parts, part)
			}
		}
		for p.load[from] > p.quota[from] {
			part, to := p.handOver(parts, from)
			p.remove(part, from)
			p.add(part, to)
			parts = slices.DeleteFunc(parts, func(o int) bool { return o == part })
		}
	}
}

// handOver finds the partition and the receiver that suit zones best, beginning
// with the receiver that has most room.
func (p *planner) handOver(parts []int, from int) (part, to int) {
	var under []int
	for s := range p.ids {
		if p.load[s] < p.quota[s] {
			under = append(under, s)
		}
	}
	slices.SortFunc(under, func(a, b int) int {
		return cmp.Or(cmp.Compare(p.quota[b]-p.load[b], p.quota[a]-p.load[a]), cmp.Compare(a, b))
	})
	best, part, to := 0, -1, -1
	for _, s := range under {
		for _, q := range parts {
			if p.holds(q, s) {
				continue
			}
			// Zones weigh most, then data that is there already, then chance.
			cost := 4*(p.clash(q, s, from)-p.clash(q, from, -1)) - p.keeps(q, s)
			if part < 0 || cost < best || cost == best && to == s && p.mix(q, s) < p.mix(part, s) {
				best, part, to = cost, q, s
			}
		}
		if part >= 0 && best <= 0 {
			break
		}
	}
	return part, to
}

func (p *planner) placement(current Placement) Placement {
	out := make(Placement, len(p.parts))
	for i, servers := range p.parts {
		nodes := []ring.NodeID{p.ids[p.leader[i]]}
		take := func(id ring.NodeID) {
			if !slices.Contains(nodes, id) {
				nodes = append(nodes, id)
			}
		}
		for _, id := range current[i] {
			if s, ok := p.index[id]; ok && slices.Contains(servers, s) {
				take(id)
			}
		}
		for _, s := range servers {
			take(p.ids[s])
		}
		out[i] = nodes
	}
	return out
}
