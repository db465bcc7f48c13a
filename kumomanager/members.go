package kumomanager

import (
	"fmt"
	"slices"
	"time"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const (
	// Every node says each heartbeat that it lives.
	heartbeat = 150 * time.Millisecond
	// A process whose successor has shown up is believed dead after so long a
	// silence, where nothing proves it earlier.
	succeedAfter = 3 * heartbeat
	// A manager that was not scheduled for so long has been deaf meanwhile and
	// blames nobody for a silence.
	stallAfter = 300 * time.Millisecond

	maxMembers = 4096 // servers, and others, that are remembered
	maxGone    = 16   // processes of one store that are remembered as gone
)

// members knows who is alive. Every manager keeps it all the time, so that a new
// leader knows at once. Time comes in with each event; nothing here waits.
type members struct {
	failAfter time.Duration
	cluster   ring.ClusterID // 0 before it is known
	servers   map[ring.NodeID]*member
	others    map[string]*member // managers and gateways, by name
	listening time.Time          // since then nothing was missed, and this node may blame
	awake     time.Time          // since then this process was not stopped
	ticked    time.Time
	notes     []subjects.Event // to be told, without time
	news      bool             // somebody's state has changed since the owner looked
}

// member is a store with its newest process, or another node.
type member struct {
	hb      subjects.Heartbeat // newest of that process; only ID and Boot before the first
	heard   time.Time
	changed time.Time // of state
	state   rebalance.State
	proved  bool          // Down, and not for silence: only another process can be up
	gone    []ring.BootID // processes whose heartbeats no longer count
	rival   ring.BootID   // another process of this store, while ours is heard
	since   time.Time     // when the rival was first heard
	after   int           // heartbeats of ours since then
	watched ring.BootID   // the process to which a proof connection is kept
}

func newMembers(failAfter time.Duration, now time.Time) *members {
	return &members{
		failAfter: failAfter, listening: now, awake: now,
		servers: map[ring.NodeID]*member{}, others: map[string]*member{},
	}
}

// know adds the servers of a table that were never heard: they are unknown until
// they are heard or missed.
func (m *members) know(t *ring.Table, now time.Time) {
	m.cluster = t.ClusterID
	for _, n := range t.Nodes {
		if _, ok := m.servers[n.ID]; !ok {
			hb := subjects.Heartbeat{ID: n.ID, Boot: n.Boot, Node: n.Name, Addr: n.Addr, Proof: n.Proof, Zone: n.Zone, Role: subjects.RoleServer}
			m.servers[n.ID] = &member{hb: hb, changed: now}
		}
	}
	for id := range m.servers {
		if _, ok := t.Node(id); !ok && m.servers[id].state != rebalance.Up {
			delete(m.servers, id)
		}
	}
}

// lead begins a term as leader: a silence from before it, in which this manager
// may itself have been cut off, is no reason to blame anybody.
func (m *members) lead(now time.Time) {
	m.listening = now
	for _, s := range m.servers {
		if s.state == rebalance.Down && !s.proved {
			m.set(s, rebalance.Unknown, now)
		}
	}
}

func (m *members) set(s *member, state rebalance.State, now time.Time) {
	if s.state != state {
		s.state, s.changed, m.news = state, now, true
	}
}

// hear takes a heartbeat.
func (m *members) hear(hb subjects.Heartbeat, now time.Time) {
	if hb.ClusterID != 0 && m.cluster != 0 && hb.ClusterID != m.cluster {
		return // another cluster of this name
	}
	if hb.Role != subjects.RoleServer {
		m.hearOther(hb, now)
		return
	}
	if hb.ID == 0 || hb.Boot == 0 || hb.Node == "" {
		return
	}
	s, ok := m.servers[hb.ID]
	if !ok {
		if len(m.servers) >= maxMembers {
			return
		}
		s = &member{hb: hb}
		m.servers[hb.ID], m.news = s, true
	}
	switch {
	case slices.Contains(s.gone, hb.Boot):
	case hb.Boot == s.hb.Boot:
		m.again(s, hb, now)
	default:
		m.another(s, hb, now)
	}
}

// again takes a heartbeat of the process that we know.
func (m *members) again(s *member, hb subjects.Heartbeat, now time.Time) {
	s.hb, s.heard = hb, now
	if hb.Stopping {
		m.set(s, rebalance.Down, now)
		s.proved = true
	}
	if !s.proved {
		m.set(s, rebalance.Up, now)
	}
	if s.rival == 0 {
		return
	}
	if s.after++; s.after >= 2 {
		m.note(subjects.EventDamage, hb.Node, "%s and another process (boot %s) use copies of one store, %s; the newer one is refused", hb.Node, s.rival, hb.ID)
		s.retire(s.rival)
		s.rival = 0
	}
}

// another takes a heartbeat of another process of a store than the one we know:
// its successor, or one that runs on a copy of its folder.
func (m *members) another(s *member, hb subjects.Heartbeat, now time.Time) {
	if s.rival != hb.Boot {
		s.rival, s.since, s.after = hb.Boot, now, 0
	}
	if s.state != rebalance.Down && now.Sub(later(s.heard, m.awake)) < succeedAfter {
		return
	}
	s.retire(s.hb.Boot)
	s.hb, s.heard, s.rival, s.proved = hb, now, 0, false
	m.set(s, rebalance.Up, now)
	s.changed, m.news = now, true
	if hb.Stopping {
		m.set(s, rebalance.Down, now)
		s.proved = true
	}
}

func (m *members) hearOther(hb subjects.Heartbeat, now time.Time) {
	if hb.Node == "" {
		return
	}
	o, ok := m.others[hb.Node]
	if !ok {
		if len(m.others) >= maxMembers {
			return
		}
		o = &member{}
		m.others[hb.Node] = o
	}
	o.hb, o.heard = hb, now
	m.set(o, rebalance.Up, now)
	if hb.Stopping {
		m.set(o, rebalance.Down, now)
	}
}

func (s *member) retire(boot ring.BootID) {
	s.gone = append(s.gone, boot)
	if len(s.gone) > maxGone {
		s.gone = slices.Clone(s.gone[1:])
	}
}

// lastHeard is when a silence began: not before this manager listened.
func (m *members) lastHeard(s *member) time.Time { return later(s.heard, m.listening) }

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// ended takes the proof that a process is gone.
func (m *members) ended(p ring.Process, now time.Time) {
	s, ok := m.servers[p.Store]
	if !ok {
		return
	}
	if s.hb.Boot != p.Boot {
		if s.rival == p.Boot {
			s.rival = 0
		}
		if !slices.Contains(s.gone, p.Boot) {
			s.retire(p.Boot)
		}
		return
	}
	if !s.proved {
		m.set(s, rebalance.Down, now)
		s.proved = true
	}
	if !slices.Contains(s.gone, p.Boot) {
		s.retire(p.Boot)
	}
}

// tick passes time: who was silent for too long is down.
func (m *members) tick(now time.Time) {
	if !m.ticked.IsZero() && now.Sub(m.ticked) > stallAfter {
		m.listening, m.awake = now, now
	}
	m.ticked = now
	for _, s := range m.servers {
		if s.state != rebalance.Down && now.Sub(m.lastHeard(s)) > m.failAfter {
			m.set(s, rebalance.Down, now)
		}
	}
	for name, o := range m.others {
		if o.state == rebalance.Up && now.Sub(m.lastHeard(o)) > m.failAfter {
			m.set(o, rebalance.Down, now)
		}
		if o.hb.Role == subjects.RoleGateway && o.state == rebalance.Down && now.Sub(o.changed) > forgetAfter {
			delete(m.others, name)
		}
	}
}

// status returns what is known of the table's servers, by node.
func (m *members) status() map[ring.NodeID]rebalance.Status {
	out := make(map[ring.NodeID]rebalance.Status, len(m.servers))
	for id, s := range m.servers {
		out[id] = rebalance.Status{State: s.state, Boot: s.hb.Boot}
	}
	return out
}

// changes returns what the table does not know yet.
func (m *members) changes(t *ring.Table) (seen []ring.Node, down []ring.Process) {
	for id, s := range m.servers {
		old, known := t.Node(id)
		switch s.state {
		case rebalance.Up:
			n := ring.Node{
				ID: id, Name: s.hb.Node, Addr: s.hb.Addr, Proof: s.hb.Proof, Zone: s.hb.Zone, Boot: s.hb.Boot,
				Up: true, Attached: old.Attached, Detached: old.Detached, Unclean: s.hb.Unclean,
			}
			if old.Boot == n.Boot {
				n.Unclean = old.Unclean // as it was when the process started
			}
			if n != old {
				seen = append(seen, n)
			}
		case rebalance.Down:
			if known && old.Up {
				down = append(down, old.Process())
			}
		}
	}
	slices.SortFunc(seen, func(a, b ring.Node) int { return compare(a.ID, b.ID) })
	slices.SortFunc(down, func(a, b ring.Process) int { return compare(a.Store, b.Store) })
	return seen, down
}

// downFor is how long a server has not been up, 0 if it is.
func (m *members) downFor(id ring.NodeID, now time.Time) time.Duration {
	s, ok := m.servers[id]
	if !ok || s.state != rebalance.Down {
		return 0
	}
	return now.Sub(s.changed)
}

// upFor is how long a server has been up, 0 if it is not.
func (m *members) upFor(id ring.NodeID, now time.Time) time.Duration {
	s, ok := m.servers[id]
	if !ok || s.state != rebalance.Up {
		return 0
	}
	return now.Sub(s.changed)
}

func (m *members) note(kind, node, format string, args ...any) {
	m.notes = append(m.notes, subjects.Event{Kind: kind, Node: node, Text: fmt.Sprintf(format, args...)})
}

func compare(a, b ring.NodeID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
