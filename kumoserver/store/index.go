package store

// index finds a partition's entries in the segments: four bytes an entry, for
// as much log as is retained.
type index struct {
	runs []indexRun // consecutive, oldest first
}

// indexRun is the partition's entries in one segment: entry first+i is at
// offs[i].
type indexRun struct {
	seg   *segment
	first uint64
	offs  []uint32
}

func (r *indexRun) end() uint64 { return r.first + uint64(len(r.offs)) }

// end is one behind the newest entry; 0 if there is none.
func (x *index) end() uint64 {
	if len(x.runs) == 0 {
		return 0
	}
	return x.runs[len(x.runs)-1].end()
}

// push adds entry seq. One that does not follow begins the index anew.
func (x *index) push(g *segment, off int64, seq uint64) {
	if end := x.end(); end != seq {
		x.runs = nil
	}
	if n := len(x.runs); n > 0 && x.runs[n-1].seg == g {
		r := &x.runs[n-1]
		r.offs = append(r.offs, uint32(off))
		return
	}
	x.runs = append(x.runs, indexRun{seg: g, first: seq, offs: []uint32{uint32(off)}})
}

// cut forgets the entries after seq.
func (x *index) cut(seq uint64) {
	for len(x.runs) > 0 {
		r := &x.runs[len(x.runs)-1]
		if r.first <= seq {
			if r.end() > seq+1 {
				r.offs = r.offs[:seq+1-r.first]
			}
			return
		}
		x.runs = x.runs[:len(x.runs)-1]
	}
}

// dropSegment forgets the oldest segment's entries.
func (x *index) dropSegment(g *segment) {
	for len(x.runs) > 0 && x.runs[0].seg == g {
		x.runs[0] = indexRun{}
		x.runs = x.runs[1:]
	}
}

// find tells where entry seq is.
func (x *index) find(seq uint64) (g *segment, off int64, ok bool) {
	lo, hi := 0, len(x.runs)
	for lo < hi {
		mid := (lo + hi) / 2
		if x.runs[mid].end() <= seq {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(x.runs) || seq < x.runs[lo].first {
		return nil, 0, false
	}
	r := &x.runs[lo]
	return r.seg, int64(r.offs[seq-r.first]), true
}

// lsn is the position of entry seq, 0 if it is not known.
func (x *index) lsn(seq uint64) uint64 {
	g, off, ok := x.find(seq)
	if !ok {
		return 0
	}
	return g.start + uint64(off)
}
