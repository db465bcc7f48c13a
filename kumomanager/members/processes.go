package members

import (
	"slices"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Which process of a store is the one that counts: heartbeats come late, processes
// follow each other, and a folder may be copied.

// again takes a heartbeat of the process that we know.
func (m *Roster) again(s *Member, hb subjects.Heartbeat, now int64) {
	if hb.Disk.Full != s.Disk.Full || hb.Disk.Stuck != s.Disk.Stuck {
		m.news = true
	}
	s.take(hb, now)
	if hb.Stopping && s.stops == 0 {
		s.stops, m.news = now, true
	}
	if !s.Proved {
		m.set(s, rebalance.Up, now)
	}
	if s.rival == 0 {
		return
	}
	if s.after++; s.after >= 2 && now-s.since >= rivalAfter {
		s.retire(s.rival, true)
		s.rival = 0
	}
}

// take makes a heartbeat the newest of its process.
func (s *Member) take(hb subjects.Heartbeat, now int64) {
	if hb.Disk.Stuck != s.Disk.Stuck {
		s.turned = now
	}
	s.Heartbeat, s.Heard = hb, now
}

// refuse tells a process that goes on although its store is another's that it
// must end, as soon as it is no late heartbeat that shows it, and again in case
// that got lost. Where it only fell silent for a while, late heartbeats may be
// what shows the other: that one must go on, too.
func (m *Roster) refuse(s *Member, hb subjects.Heartbeat, sure bool, now int64) {
	if s.refused != hb.Boot {
		s.refused, s.refusedAt, s.toldAt = hb.Boot, now, now
	}
	if now-s.toldAt < refuseAfter || !sure && s.Heard-s.refusedAt < rivalAfter {
		return
	}
	s.toldAt = now
	m.note(subjects.EventRefused, hb.Node, "%s (process %d, boot %s) is refused: its store %s is that of %s (boot %s); was the folder copied?",
		hb.Node, hb.PID, hb.Boot, hb.ID, s.Node, s.Boot)
	m.notes[len(m.notes)-1].Process = ring.Process{Store: hb.ID, Boot: hb.Boot}
}

// another takes a heartbeat of another process of a store than the one we know:
// its successor, or one that runs on a copy of its folder.
func (m *Roster) another(s *Member, hb subjects.Heartbeat, now int64) {
	if s.rival != hb.Boot {
		s.rival, s.since, s.after = hb.Boot, now, 0
	}
	if s.State != rebalance.Down && now-max(s.Heard, m.awake) < SucceedAfter {
		return
	}
	if hb.Starts < s.Starts && now-s.since < rivalAfter {
		return // one of before that is heard late, unless it goes on: on an old folder that was put back
	}
	s.retire(s.Boot, s.Proved)
	s.Disk, s.rival, s.Proved, s.stops, s.turned = subjects.Disk{}, 0, false, 0, 0
	s.take(hb, now)
	m.set(s, rebalance.Up, now)
	s.Changed, m.news = now, true
	if hb.Stopping {
		m.Left(hb.ID, now)
	}
}

// departed is a process whose heartbeats no longer count. It is not sure that it
// ended if it was only silent while another began.
type departed struct {
	boot ring.BootID
	sure bool
}

// departed finds a process among those that are gone; -1 if it is not.
func (s *Member) departed(boot ring.BootID) int {
	return slices.IndexFunc(s.gone, func(d departed) bool { return d.boot == boot })
}

func (s *Member) retire(boot ring.BootID, sure bool) {
	if i := s.departed(boot); i >= 0 {
		s.gone[i].sure = s.gone[i].sure || sure
		return
	}
	s.gone = append(s.gone, departed{boot, sure})
	if len(s.gone) > maxGone {
		s.gone = slices.Clone(s.gone[1:])
	}
}

// Ended takes the proof that a process is gone.
func (m *Roster) Ended(p ring.Process, now int64) {
	s, ok := m.servers[p.Store]
	if !ok {
		return
	}
	if s.Heartbeat.Boot != p.Boot {
		if s.rival == p.Boot {
			s.rival = 0
		}
		s.retire(p.Boot, true)
		return
	}
	if !s.Proved {
		m.set(s, rebalance.Down, now)
		s.Proved = true
	}
	s.retire(p.Boot, true)
}
