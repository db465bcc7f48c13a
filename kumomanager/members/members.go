// Package members knows who is alive among the nodes of a cluster, as its
// managers judge by heartbeats and by proof.
//
// The package is pure: time comes in with each event, in nanoseconds of a clock
// that never goes back and is not 0.
package members

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const (
	ms = int64(1e6)

	// HeartbeatEvery is how often every node says that it lives.
	HeartbeatEvery = 150 * ms
	// SucceedAfter is the silence after which a process whose successor has shown
	// up is believed dead, where nothing proves it earlier.
	SucceedAfter = 3 * HeartbeatEvery
	// A manager that was not scheduled for so long has been deaf meanwhile and
	// blames nobody for a silence.
	stallAfter = 300 * ms
	// Two processes that are both heard for so long use copies of one store.
	// Before, heartbeats of the first may be late: it may have died meanwhile.
	rivalAfter = 4000 * ms

	// YoungFor is for how long a process is young after it was first heard: a
	// little longer than a grant lasts (R6), which one before it may have given.
	YoungFor = 1200 * ms

	// ForgetAfter is for how long a gateway that is down is remembered.
	ForgetAfter = 60_000 * ms

	// StopWithin is for how long a process that is about to stop is helped to hand
	// over before it counts as down.
	StopWithin = 3000 * ms

	// A disk that hangs for so long hangs alone if its partition's primary has not
	// said the same by then: each notices after a second, from its own last write on.
	frozenAfter = 1500 * ms

	// turnsFor is for how long nobody is blamed for a disk that has just begun to
	// hang, nor preferred for one that has just begun to work: those that share a
	// machine say so in the next heartbeats.
	turnsFor = 400 * ms

	maxMembers = 4096 // servers, and others, that are remembered
	maxGone    = 16   // processes of one store that are remembered as gone
	maxNotes   = 64   // that wait to be told; the oldest goes

	// refuseAfter is for how long a process must go on whose store is another's
	// until it is told to end, and then how often it is.
	refuseAfter = 1000 * ms
)

// Roster knows who is alive. Every manager keeps it all the time, so that a new
// leader knows at once.
type Roster struct {
	failAfter int64
	cluster   ring.ClusterID // 0 before it is known
	servers   map[ring.NodeID]*Member
	others    map[string]*Member // managers by name, and gateways by gatewayKey and name
	listening int64              // since then nothing was missed, and this node may blame
	awake     int64              // since then this process was not stopped
	ticked    int64
	notes     []subjects.Event // to be told, without time
	news      bool             // somebody's state has changed since the owner looked
}

// Member is a store with its newest process, or another node.
type Member struct {
	subjects.Heartbeat       // newest of that process; only what the table says before the first
	Heard              int64 // 0: never
	Changed            int64 // of State
	State              rebalance.State
	Proved             bool        // Down, and not for silence: only another process can be up
	turned             int64       // when its disk began or ceased to hang; 0: never
	stops              int64       // since when it is about to stop; 0 if it is not
	gone               []departed  // processes whose heartbeats no longer count
	rival              ring.BootID // another process of this store, while ours is heard
	since              int64       // when the rival was first heard
	after              int         // heartbeats of ours since then
	watched            ring.BootID // the process to which a proof connection is kept
	refused            ring.BootID // of those gone, the newest that was heard nevertheless
	refusedAt          int64       // when it was heard first
	toldAt             int64       // when it was told last
}

// New returns a roster of nobody. Who is silent for failAfter is down.
func New(failAfter, now int64) *Roster {
	return &Roster{
		failAfter: failAfter, listening: now, awake: now,
		servers: map[ring.NodeID]*Member{}, others: map[string]*Member{},
	}
}

// SetSilence changes the silence after which a node is down, nanoseconds.
func (m *Roster) SetSilence(failAfter int64) { m.failAfter = failAfter }

// Know adds the servers of a table that were never heard: they are unknown until
// they are heard or missed.
func (m *Roster) Know(t *ring.Table, now int64) {
	m.cluster = t.ClusterID
	for _, n := range t.Nodes {
		if _, ok := m.servers[n.ID]; !ok {
			hb := subjects.Heartbeat{ID: n.ID, Boot: n.Boot, Node: n.Name, Addr: n.Addr, Proof: n.Proof, Zone: n.Zone, Role: subjects.RoleServer}
			m.servers[n.ID] = &Member{Heartbeat: hb, Changed: now}
		}
	}
	for id := range m.servers {
		if _, ok := t.Node(id); !ok && m.servers[id].State != rebalance.Up {
			delete(m.servers, id)
		}
	}
}

// Lead begins a term as leader: a silence from before it, in which this manager
// may itself have been cut off, is no reason to blame anybody.
func (m *Roster) Lead(now int64) {
	m.listening = now
	for _, s := range m.servers {
		if s.State == rebalance.Down && !s.Proved {
			m.set(s, rebalance.Unknown, now)
		}
	}
}

func (m *Roster) set(s *Member, state rebalance.State, now int64) {
	if s.State != state {
		s.State, s.Changed, m.news = state, now, true
	}
}

// Hear takes a heartbeat.
func (m *Roster) Hear(hb subjects.Heartbeat, now int64) {
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
		s = &Member{Heartbeat: hb}
		s.Disk = subjects.Disk{} // what it says of its disk is news
		m.servers[hb.ID], m.news = s, true
	}
	i := s.departed(hb.Boot)
	switch {
	case i >= 0 && hb.Starts < s.Starts:
		m.refuse(s, hb, s.gone[i].sure, now) // an earlier one, which was heard late
	case i >= 0 && (s.gone[i].sure || s.State != rebalance.Down):
		m.refuse(s, hb, s.gone[i].sure, now)
	case i >= 0:
		// The process that was taken for its successor is the one that is gone, and
		// was heard late.
		s.gone = slices.Delete(slices.Clone(s.gone), i, i+1)
		m.another(s, hb, now)
	case hb.Boot == s.Heartbeat.Boot:
		m.again(s, hb, now)
	default:
		m.another(s, hb, now)
	}
}

func (m *Roster) hearOther(hb subjects.Heartbeat, now int64) {
	if hb.Node == "" {
		return
	}
	name, gateway := hb.Node, hb.Role == subjects.RoleGateway
	if gateway {
		name = gatewayKey + name
	}
	o, ok := m.others[name]
	if !ok {
		if len(m.others) >= maxMembers && (gateway || !m.dropGateway()) {
			return
		}
		o = &Member{}
		m.others[name] = o
	}
	o.Heartbeat, o.Heard = hb, now
	m.set(o, rebalance.Up, now)
	if hb.Stopping {
		m.set(o, rebalance.Down, now)
	}
}

// gatewayKey keeps gateways apart from managers, whatever they say they are called: a
// node's name has no dot.
const gatewayKey = "gw."

// dropGateway makes room for a manager: gateways may say that there are many of them.
func (m *Roster) dropGateway() bool {
	for name, o := range m.others {
		if o.Role == subjects.RoleGateway {
			delete(m.others, name)
			return true
		}
	}
	return false
}

// lastHeard is when a silence began: not before this manager listened.
func (m *Roster) lastHeard(s *Member) int64 { return max(s.Heard, m.listening) }

// Stopping lists the servers that are up and about to stop.
func (m *Roster) Stopping() (ids []ring.NodeID) {
	for id, s := range m.servers {
		if s.stopping() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (s *Member) stopping() bool { return s.stops != 0 && s.State == rebalance.Up }

// LetGo takes servers that are about to stop for down as soon as nobody else could
// take over what the table says they hold.
func (m *Roster) LetGo(t *ring.Table, now int64) {
	for _, id := range m.Stopping() {
		other := func(o ring.NodeID) bool {
			s, ok := m.servers[o]
			return ok && o != id && s.State == rebalance.Up && !s.stopping()
		}
		held := func(p ring.Config) bool { return p.HasISR(id) && slices.ContainsFunc(p.ISR, other) }
		if !slices.ContainsFunc(t.Partitions, held) {
			m.Left(id, now)
		}
	}
}

// Left notes that a server which is about to stop has handed everything over.
func (m *Roster) Left(id ring.NodeID, now int64) {
	if s, ok := m.servers[id]; ok && !s.Proved {
		m.set(s, rebalance.Down, now)
		s.Proved = true
	}
}

// Tick passes time: who was silent for too long is down.
func (m *Roster) Tick(now int64) {
	if m.ticked != 0 && now-m.ticked > stallAfter {
		m.listening, m.awake = now, now
	}
	m.ticked = now
	for _, s := range m.servers {
		if s.State != rebalance.Down && now-m.lastHeard(s) > m.failAfter {
			m.set(s, rebalance.Down, now)
		}
		if s.stopping() && now-s.stops > StopWithin {
			m.Left(s.ID, now)
		}
	}
	for name, o := range m.others {
		if o.State == rebalance.Up && now-m.lastHeard(o) > m.failAfter {
			m.set(o, rebalance.Down, now)
		}
		if o.Heartbeat.Role == subjects.RoleGateway && o.State == rebalance.Down && now-o.Changed > ForgetAfter {
			delete(m.others, name)
		}
	}
}

// Status returns what is known of the servers, by node.
func (m *Roster) Status(now int64) map[ring.NodeID]rebalance.Status {
	out := make(map[ring.NodeID]rebalance.Status, len(m.servers))
	for id, s := range m.servers {
		young := s.State == rebalance.Up && now-s.Changed < YoungFor
		st := rebalance.Status{State: s.State, Boot: s.Heartbeat.Boot, Young: young, Stopping: s.stopping(), Full: s.Disk.Full, Hung: s.Disk.Stuck}
		st.Frozen = s.Disk.Stuck && now-s.turned >= frozenAfter
		st.Turning = s.turned != 0 && now-s.turned < turnsFor
		out[id] = st
	}
	return out
}

// Changes returns what the table does not know yet.
func (m *Roster) Changes(t *ring.Table) (seen []ring.Sighting, down []ring.Process) {
	for id, s := range m.servers {
		old, known := t.Node(id)
		switch s.State {
		case rebalance.Up:
			n := ring.Node{
				ID: id, Name: s.Heartbeat.Node, Addr: s.Heartbeat.Addr, Proof: s.Heartbeat.Proof, Zone: s.Heartbeat.Zone, Boot: s.Heartbeat.Boot,
				Up: true, Attached: old.Attached, Detached: old.Detached, Draining: old.Draining,
			}
			if n != old {
				seen = append(seen, ring.Sighting{Node: n, Unclean: s.Heartbeat.Unclean})
			}
		case rebalance.Down:
			if known && old.Up {
				down = append(down, old.Process())
			}
		}
	}
	slices.SortFunc(seen, func(a, b ring.Sighting) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(down, func(a, b ring.Process) int { return cmp.Compare(a.Store, b.Store) })
	return seen, down
}

// DownFor is how long a server has not been up, 0 if it is.
func (m *Roster) DownFor(id ring.NodeID, now int64) int64 {
	s, ok := m.servers[id]
	if !ok || s.State != rebalance.Down {
		return 0
	}
	return now - s.Changed
}

// UpFor is how long a server has been up, 0 if it is not.
func (m *Roster) UpFor(id ring.NodeID, now int64) int64 {
	s, ok := m.servers[id]
	if !ok || s.State != rebalance.Up {
		return 0
	}
	return now - s.Changed
}

func (m *Roster) note(kind, node, format string, args ...any) {
	if len(m.notes) >= maxNotes { // of a manager that does not lead, and tells nothing
		m.notes = slices.Clone(m.notes[1:])
	}
	m.notes = append(m.notes, subjects.Event{Kind: kind, Node: node, Text: fmt.Sprintf(format, args...)})
}

// News reports whether somebody's state has changed since NoNews.
func (m *Roster) News() bool { return m.news }

// NoNews notes that the owner has looked.
func (m *Roster) NoNews() { m.news = false }

// Deaf notes that nothing was heard until now.
func (m *Roster) Deaf(now int64) {
	m.awake = now
	m.Lead(now)
}

// TakeNotes returns what the operator must be told, once.
func (m *Roster) TakeNotes() []subjects.Event {
	notes := m.notes
	m.notes = nil
	return notes
}

// Watch calls watch for each server's process to which a connection that proves
// its end should be kept and is not yet.
func (m *Roster) Watch(watch func(p ring.Process, addr string)) {
	for id, s := range m.servers {
		if !s.Proved && s.Proof != "" && s.watched != s.Boot {
			s.watched = s.Boot
			watch(ring.Process{Store: id, Boot: s.Boot}, s.Proof)
		}
	}
}

// Server returns what is known of a server.
func (m *Roster) Server(id ring.NodeID) (*Member, bool) {
	s, ok := m.servers[id]
	return s, ok
}

// Others are the managers by name, and the gateways, to be looked at only.
func (m *Roster) Others() map[string]*Member { return m.others }
