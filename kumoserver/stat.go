package kumoserver

import (
	"os"
	"time"

	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Status is what stat tells: kumostat's fields, and some of our own.
func (s *Server) Status() map[string]any { return s.stat() }

func (s *Server) stat() map[string]any {
	l := s.load()
	st := s.store.Stats()
	m := map[string]any{
		"pid":         os.Getpid(),
		"uptime":      int64(time.Since(s.start).Seconds()),
		"time":        time.Now().Unix(),
		"version":     s.o.Version,
		"cmd_get":     l.Get,
		"cmd_set":     l.Set,
		"cmd_delete":  l.Delete,
		"items":       l.Items,
		"node":        s.name,
		"id":          s.store.ID(),
		"boot":        s.boot,
		"primaries":   l.Primaries,
		"replicas":    l.Replicas,
		"learners":    l.Learners,
		"disk_bytes":  l.Bytes,
		"log_bytes":   l.LogBytes,
		"unapplied":   l.Unapplied,
		"moved_bytes": l.MovedBytes,
		"moved_items": l.MovedItems,
		"refused":     s.refused.Load(),
		"feeds":       s.feed.count(),
		"store":       st,
		"disk":        s.disk(),
		"bus":         s.bus.Stats(),
	}
	last, now := s.store.ScrubState()
	m["scrub"] = map[string]store.Scrub{"last": last, "now": now}
	_, m["damaged"] = s.store.BadKeys(badListed)
	if t := s.Table(); t != nil {
		// The original's names: the write and the read hash space.
		m["whs"], m["rhs"], m["hscheck"] = t.Revision, t.Revision, s.hashSpaces(t)
		m["replstat"] = s.replication()
	}
	return m
}

// hashSpaces summarizes epochs: the lowest and highest of the partitions here.
func (s *Server) hashSpaces(t *ring.Table) map[string]ring.Epoch {
	var lo, hi ring.Epoch
	for _, c := range t.Partitions {
		if !c.Holds(s.store.ID()) {
			continue
		}
		if lo == 0 || c.Epoch < lo {
			lo = c.Epoch
		}
		hi = max(hi, c.Epoch)
	}
	return map[string]ring.Epoch{"epoch_min": lo, "epoch_max": hi}
}

// replication asks the core loop what its machines wait for.
func (s *Server) replication() map[string]int {
	m, _ := inLoop(s, func(c *core) map[string]int {
		r := map[string]int{}
		for _, p := range c.parts {
			st := p.machine.Status()
			r["waiting"] += st.Waiting
			for what, is := range map[string]bool{
				"leading": st.Leading, "serving": st.Serving, "incomplete": st.Incomplete, "unclean": st.Unclean, "damaged": st.Damaged,
			} {
				if is {
					r[what]++
				}
			}
		}
		return r
	})
	return m
}
