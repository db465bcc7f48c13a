package store

// removeSegments deletes the oldest log segments that bbolt reflects and that
// are not kept for replicas that lag.
func (s *Store) removeSegments() {
	for s.removeOldest() {
	}
}

func (s *Store) removeOldest() bool {
	parts := s.snapshotParts()
	w := s.wal
	w.mu.Lock()
	if len(w.segs) < 2 {
		w.mu.Unlock()
		return false
	}
	oldest, end := w.segs[0], w.segs[1].start
	synced := w.synced
	keep := int64(w.written - end)
	w.mu.Unlock()
	retired := oldest.number <= s.retireTo.Load()
	if keep < s.retain() && !retired || max(end, s.carried.Load()) > synced {
		return false
	}
	for _, p := range parts {
		p.mu.RLock()
		needs, waits := p.dirtyLSN != 0 && p.dirtyLSN < end, p.quiet()
		p.mu.RUnlock()
		if needs && waits && (retired || keep > s.retain()+2*s.opts.SegmentBytes) {
			s.carryTo.Store(end)
		}
		if needs {
			return false
		}
	}
	for _, p := range parts {
		p.mu.Lock()
		needs := p.dirtyLSN != 0 && p.dirtyLSN < end // since a moment
		if !needs {
			p.index.dropSegment(oldest)
		}
		p.mu.Unlock()
		if needs {
			return false
		}
	}
	w.mu.Lock()
	w.segs = w.segs[1:]
	w.mu.Unlock()
	oldest.file.Close()
	if err := s.opts.disk.remove(oldest.path); err != nil {
		s.opts.Log.Warn("cannot remove a log segment", "path", oldest.path, "error", err)
		return false
	}
	s.prep.poke()
	return true
}

// carry writes entries again that cannot commit for a long time (their
// partition waits for a replica and for managers), so that they do not keep all
// of the log behind them. Recovery skips what it has twice.
func (s *Store) carry() {
	limit := s.carryTo.Swap(0)
	for _, p := range s.snapshotParts() {
		p.mu.Lock()
		if p.log.len() > 0 && p.dirtyLSN != 0 && p.dirtyLSN < limit && p.quiet() {
			s.carryPart(p)
		}
		p.mu.Unlock()
	}
	s.carried.Store(s.wal.end.Load())
}

func (s *Store) carryPart(p *part) {
	first := p.log.first()
	for seq := first; seq <= p.tail.Seq; seq++ {
		g, off, err := s.wal.add(recEntry, p.log.at(seq).Raw)
		if err != nil {
			return // Flush reports it
		}
		if seq == first {
			p.index.cut(first - 1)
			p.dirtyLSN = g.start + uint64(off)
		}
		p.index.push(g, off, seq)
	}
	p.endLSN = s.wal.end.Load()
}
