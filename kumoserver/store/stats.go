package store

import (
	"os"
	"path/filepath"
	"time"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Stats is how a store does.
type Stats struct {
	Items       int64 // user keys in bbolt; what waits in memory is not counted
	Waiting     int64 // keys in memory, new, overwritten or deleted
	Backlog     int64 // bytes that they and the entries behind them take
	Bound       int64 // Options.MemtableBytes
	Entries     int64 // entries that bbolt does not hold yet
	Cached      int   // records that are kept because they are read often
	CachedBytes int   // bytes that they take
	CacheBound  int64 // that they may take
	DataFile    int64 // bytes of the bbolt file
	DataFree    int64 // of them, as of the last look some seconds ago
	// Compactions of the bbolt file since the start, the bytes that they copied,
	// and those of one that runs.
	Compactions, Compacted, Compacting int64
	Log                                int64 // bytes of log that is kept
	Segments                           int   // that it is in
	Syncs                              uint64
	SyncMean                           time.Duration
	SyncMax                            time.Duration
	Full                               bool // the disk is
	Unclean                            int  // copies that may lack what was acknowledged
}

// Stats returns how the store does now.
func (s *Store) Stats() Stats {
	st := Stats{Backlog: s.Backlog(), Bound: s.opts.MemtableBytes, Full: s.Full(), Unclean: len(s.Unclean()), CacheBound: max(0, s.opts.CacheBytes)}
	st.Cached, st.CachedBytes = s.cache.size()
	for _, p := range s.snapshotParts() {
		p.mu.RLock()
		st.Items += p.items
		st.Waiting += int64(len(p.mem.vals))
		st.Entries += int64(p.log.len())
		p.mu.RUnlock()
	}
	if fi, err := os.Stat(filepath.Join(s.opts.Dir, dataName)); err == nil {
		st.DataFile = fi.Size()
	}
	if c := s.compactor; c != nil {
		st.DataFree, st.Compactions, st.Compacted, st.Compacting = c.free.Load(), c.runs.Load(), c.bytes.Load(), c.now.Load()
	}
	w := s.wal
	w.mu.Lock()
	st.Segments = len(w.segs)
	if len(w.segs) > 0 {
		st.Log = int64(w.written - w.segs[0].start)
	}
	w.mu.Unlock()
	st.Syncs = w.stats.count.Load()
	if st.Syncs > 0 {
		st.SyncMean = time.Duration(uint64(w.stats.total.Load()) / st.Syncs)
	}
	st.SyncMax = time.Duration(w.stats.longest.Load())
	return st
}

// Items is how many user keys of a partition bbolt holds.
func (s *Store) Items(id ring.Partition) int64 {
	p := s.part(id)
	if p == nil {
		return 0
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.items
}
