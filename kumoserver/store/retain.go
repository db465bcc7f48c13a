package store

import "os"

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
	// The newest segment holds all promises in its first record, so nothing
	// but entries keeps an old one.
	needed := w.synced
	keep := w.written - end
	w.mu.Unlock()
	if int64(keep) < s.opts.RetainBytes || end > needed {
		return false
	}
	for _, p := range parts {
		p.mu.RLock()
		dirty := p.dirtyLSN
		p.mu.RUnlock()
		if dirty != 0 && dirty < end {
			return false
		}
	}
	for _, p := range parts {
		p.mu.Lock()
		p.index.dropSegment(oldest)
		p.mu.Unlock()
	}
	w.mu.Lock()
	w.segs = w.segs[1:]
	w.mu.Unlock()
	oldest.file.Close()
	if err := os.Remove(oldest.path); err != nil {
		s.opts.Log.Warn("cannot remove a log segment", "path", oldest.path, "error", err)
		return false
	}
	s.prep.poke()
	return true
}
