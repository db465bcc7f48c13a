package rebalance

import (
	"slices"

	"github.com/etolabo/kumofs/subjects/ring"
)

// lead chooses a leader for each partition among its servers: the current one
// where that is even enough.
func (p *planner) lead(current Placement) {
	n := len(p.ids)
	p.leader = make([]int, len(p.parts))
	leads := make([]int, n)
	for i, servers := range p.parts {
		p.leader[i] = -1
		if s, ok := p.index[first(current[i])]; ok && contains(servers, s) {
			p.leader[i] = s
			leads[s]++
		}
	}
	for i, servers := range p.parts {
		if p.leader[i] >= 0 {
			continue
		}
		best := servers[0]
		for _, s := range servers[1:] {
			if leads[s] < leads[best] || leads[s] == leads[best] && p.mix(i, s) < p.mix(i, best) {
				best = s
			}
		}
		p.leader[i] = best
		leads[best]++
	}
	led := make([][]int, n)
	for i, s := range p.leader {
		led[s] = append(led[s], i)
	}
	low := len(p.parts) / n
	high := (len(p.parts) + n - 1) / n
	for p.augment(led, leads, func(s int) bool { return leads[s] > high }, func(s int) bool { return leads[s] < high }) {
	}
	for p.augment(led, leads, func(s int) bool { return leads[s] > low }, func(s int) bool { return leads[s] < low }) {
	}
}

// augment moves one lead along a shortest path from a server that has too many
// to one that has too few: each server on the path gives one partition to the
// next, which holds it too. led lists what each server leads, in order; it is kept
// between calls, of which a large table with unequal zones takes thousands. It
// reports whether there was such a path.
func (p *planner) augment(led [][]int, leads []int, over, under func(int) bool) bool {
	from := make([]int, len(leads)) // the partition through which a server was reached
	for s := range from {
		from[s] = -1
	}
	var queue []int
	seen := make([]bool, len(leads))
	for s := range leads {
		if over(s) {
			queue = append(queue, s)
			seen[s] = true
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for _, part := range led[s] {
			for _, to := range p.parts[part] {
				if seen[to] {
					continue
				}
				seen[to] = true
				from[to] = part
				if under(to) {
					p.shift(led, leads, from, to)
					return true
				}
				queue = append(queue, to)
			}
		}
	}
	return false
}

// shift hands the leads along the path that ends at to.
func (p *planner) shift(led [][]int, leads, from []int, to int) {
	leads[to]++
	for from[to] >= 0 {
		part := from[to]
		giver := p.leader[part]
		p.leader[part] = to
		i, _ := slices.BinarySearch(led[giver], part)
		led[giver] = slices.Delete(led[giver], i, i+1)
		i, _ = slices.BinarySearch(led[to], part)
		led[to] = slices.Insert(led[to], i, part)
		to = giver
	}
	leads[to]--
}

func first(nodes []ring.NodeID) ring.NodeID {
	if len(nodes) == 0 {
		return 0
	}
	return nodes[0]
}

func contains(list []int, v int) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}
