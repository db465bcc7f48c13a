package rebalance

// maxExchanges bounds the search for better zones: pairs of partitions looked
// at. Small clusters are searched exhaustively; 16,384 partitions in zones of
// very unequal size keep some partitions that could be spread better.
const maxExchanges = 4 << 20

// separateZones exchanges copies between partitions until no exchange brings
// more copies into different zones. Servers keep their number of copies.
func (p *planner) separateZones() {
	least := fewestClashes(p.copies, p.zones)
	budget := maxExchanges
	for changed := true; changed && budget > 0; {
		changed = false
		for part := range p.parts {
			for p.clashes(part) > least && budget > 0 && p.exchange(part, &budget) {
				changed = true
			}
		}
	}
}

// fewestClashes is the number of pairs in the same zone when copies are spread
// over the zones as evenly as they can be.
func fewestClashes(copies, zones int) int {
	each, more := copies/zones, copies%zones
	pairs := func(n int) int { return n * (n - 1) / 2 }
	return more*pairs(each+1) + (zones-more)*pairs(each)
}

// clashes counts pairs of copies in the same zone.
func (p *planner) clashes(part int) (n int) {
	for i, a := range p.parts[part] {
		for _, b := range p.parts[part][:i] {
			if p.zone[a] == p.zone[b] {
				n++
			}
		}
	}
	return n
}

// exchange makes the first exchange of one copy of part for one of another
// partition that reduces clashes.
func (p *planner) exchange(part int, budget *int) bool {
	n := len(p.parts)
	for step := 1; step < n; step++ {
		if *budget--; *budget <= 0 {
			return false
		}
		other := (part + step) % n
		for i, a := range p.parts[part] {
			lost := p.clash(part, a, -1)
			if lost == 0 || p.holds(other, a) {
				continue
			}
			for j, b := range p.parts[other] {
				if p.zone[a] == p.zone[b] || p.holds(part, b) {
					continue
				}
				gain := lost - p.clash(part, b, a) + p.clash(other, b, -1) - p.clash(other, a, b)
				if gain > 0 {
					p.parts[part][i], p.parts[other][j] = b, a
					return true
				}
			}
		}
	}
	return false
}
