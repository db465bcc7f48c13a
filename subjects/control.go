package subjects

import (
	"encoding/json"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Role is what kind of daemon a node is, or who else comes to the bus.
type Role string

// The roles.
const (
	RoleManager Role = "manager"
	RoleServer  Role = "server"
	RoleGateway Role = "gateway"
)

// Heartbeat says that a process lives. All are sent every 150 ms.
type Heartbeat struct {
	Cluster   string         `json:"cluster"`
	ClusterID ring.ClusterID `json:"cluster_id"`
	Node      string         `json:"node"` // its token in subjects
	ID        ring.NodeID    `json:"id"`
	Boot      ring.BootID    `json:"boot"`
	OSBoot    string         `json:"os_boot,omitempty"`
	Starts    uint64         `json:"starts,omitempty"` // which process of its store it is, counted from 1; 0: not known
	Role      Role           `json:"role"`
	Version   string         `json:"version"`
	PID       int            `json:"pid"`
	Addr      string         `json:"addr"`            // NATS clients' address, host:port
	Proof     string         `json:"proof,omitempty"` // listener that closes when the process ends
	HTTP      string         `json:"http,omitempty"`
	Listen    []string       `json:"listen,omitempty"` // a gateway's memcached addresses
	Zone      string         `json:"zone,omitempty"`
	Revision  uint64         `json:"revision"`         // of the newest table that it knows
	Leader    bool           `json:"leader,omitempty"` // of the managers' log
	Stopping  bool           `json:"stopping,omitempty"`
	Joining   bool           `json:"joining,omitempty"` // a manager that waits for its vote
	Time      int64          `json:"time"`              // Unix milliseconds
	Uptime    int64          `json:"uptime"`            // seconds
	Load      Load           `json:"load"`
	// Unclean are the partitions of which the store may lack what it
	// acknowledged, now (R13).
	Unclean ring.PartitionSet `json:"unclean_copies,omitzero"`
	Disk    Disk              `json:"disk,omitzero"`
	// Expires is when the first of its certificates does, Unix seconds; 0: it has none.
	Expires int64 `json:"certificate_expires,omitempty"`
	// Moving are the partitions that the process copies to others, or gets.
	Moving []Moving `json:"moving,omitempty"`
}

// Disk is how a server's disk does.
type Disk struct {
	Full    bool `json:"full,omitempty"`    // takes no values
	Stuck   bool `json:"stuck,omitempty"`   // writes do not return; the server acknowledges nothing
	Damaged int  `json:"damaged,omitempty"` // records that cannot be read
	Broken  bool `json:"broken,omitempty"`  // the structure of the database is damaged
	NoVote  bool `json:"no_vote,omitempty"` // the server's log of the managers is damaged: it must not vote among them
	// Checked is when everything that is stored was last looked at, Unix
	// milliseconds; 0: not yet. Found is how much of it was damaged.
	Checked int64 `json:"checked_ms,omitempty"`
	Found   int64 `json:"found,omitempty"`
	// Compared is since when every partition that the server leads has been compared
	// with its other copies, Unix milliseconds; 0: not yet, or there are no others.
	// Differing is how many copies differed when theirs was compared last.
	Compared  int64 `json:"compared_ms,omitempty"`
	Differing int   `json:"differing,omitempty"`
}

// Load is what a node has done since its start and holds now.
type Load struct {
	Get        uint64 `json:"get"`
	Set        uint64 `json:"set"`
	Delete     uint64 `json:"delete"`
	Items      uint64 `json:"items"`
	Bytes      uint64 `json:"bytes"` // on disk
	Primaries  int    `json:"primaries"`
	Replicas   int    `json:"replicas"`
	Learners   int    `json:"learners"`
	LogBytes   uint64 `json:"log_bytes"`
	Unapplied  uint64 `json:"unapplied"`       // log entries not yet in the database
	MovedBytes uint64 `json:"moved_bytes"`     // of copies, sent to others
	MovedItems uint64 `json:"moved_items"`     // keys, likewise
	At         int64  `json:"at_ms,omitempty"` // when this was read, Unix milliseconds; 0: not said
	Took       Took   `json:"took,omitzero"`
}

// Took is about how long a gateway's operations took that it answered within the
// last second or so, microseconds: half of them as long at most, and 99 of 100. It
// is 0 where there were none.
type Took struct {
	Read50  int64 `json:"read_p50_us,omitempty"`
	Read99  int64 `json:"read_p99_us,omitempty"`
	Write50 int64 `json:"write_p50_us,omitempty"`
	Write99 int64 `json:"write_p99_us,omitempty"`
}

// Moving is a copy under way, as one of its ends sees it.
type Moving struct {
	Partition ring.Partition `json:"partition"`
	Items     int64          `json:"items"` // keys in the database, about
}

// MaxMoving bounds Heartbeat.Moving; others are under way unseen.
const MaxMoving = 64

// RingGet asks for the newest table from partition From on. When the answerer
// has nothing newer than revision Have it answers without an Update.
type RingGet struct {
	From int    `json:"from,omitempty"`
	Have uint64 `json:"have,omitempty"`
}

// RingReply answers RingGet.
type RingReply struct {
	Error  *WireError   `json:"error,omitempty"`
	Update *ring.Update `json:"update,omitempty"`
}

// ChangeRequest asks the leader for new configurations; see ring.Change.
type ChangeRequest struct {
	Cluster ring.ClusterID `json:"cluster_id"`
	From    ring.Process   `json:"from"`
	Changes []ring.Change  `json:"changes"`
}

// ChangeReply answers ChangeRequest. What was done comes with the ring.
type ChangeReply struct {
	Error   *WireError     `json:"error,omitempty"`
	Refused []ring.Refusal `json:"refused,omitempty"`
}

// The kinds of events.
const (
	EventNodeSeen     = "node-seen"
	EventNodeUp       = "node-up"
	EventNodeDown     = "node-down"
	EventAttached     = "attached"
	EventDetached     = "detached"
	EventEpoch        = "epoch"
	EventMove         = "move"
	EventLeader       = "leader"
	EventPossibleLoss = "possible-loss"
	EventDamage       = "damage"  // a damaged file or record was found
	EventDisk         = "disk"    // a disk is full or hangs, or no longer does
	EventRefused      = "refused" // a process must end: another is the store's
)

// EventKinds are all of them.
var EventKinds = []string{
	EventNodeSeen, EventNodeUp, EventNodeDown, EventAttached, EventDetached, EventEpoch, EventMove, EventLeader,
	EventPossibleLoss, EventDamage, EventDisk, EventRefused,
}

// Event is one thing that happened.
type Event struct {
	Kind      string          `json:"kind"`
	Time      int64           `json:"time"` // Unix milliseconds
	Node      string          `json:"node,omitempty"`
	Partition *ring.Partition `json:"partition,omitempty"`
	Epoch     ring.Epoch      `json:"epoch,omitempty"`
	// Process is who is refused.
	Process ring.Process `json:"process,omitzero"`
	Text    string       `json:"text"`
}

// The admin verbs of the leader, each with its request and answer. All answers
// are AdminReply, with what is asked for in Data.
const (
	AdminStatus  = "status"  // AdminRequest (or empty) → ClusterStatus
	AdminAttach  = "attach"  // AdminRequest → AdminDone
	AdminDetach  = "detach"  // AdminRequest → AdminDone
	AdminDrain   = "drain"   // AdminRequest → AdminDone: empties servers that stay attached
	AdminReplace = "replace" // AdminRequest → AdminDone: plans anew
	AdminSet     = "set"     // ring.Settings → AdminDone
	AdminRecover = "recover" // RecoverRequest → AdminDone with Recover
	AdminEvents  = "events"  // EventsRequest (or empty) → EventsReport
	AdminManager = "manager" // ManagerRequest → AdminDone, once it is made
)

// The admin verbs of one node.
const (
	NodeStat   = "stat"   // empty → map of field to value, in kumostat's names
	NodeStop   = "stop"   // empty → AdminDone: a graceful stop
	NodeCopies = "copies" // CopiesRequest → CopiesReport

	NodeFreeze  = "freeze"  // FreezeRequest → FrozenCopy
	NodeDigests = "digests" // DigestsRequest → DigestsReport
	NodeThaw    = "thaw"    // ThawRequest → null; safe to repeat
	NodeCompare = "compare" // CompareRequest → CompareReport
	NodeMend    = "mend"    // MendRequest → null
	// NodeRemoved tells a manager that it is one no more: RemovedRequest → AdminDone.
	// It ends, and its folder is of no more use.
	NodeRemoved = "removed"

	// Of gateways.
	NodeSlowLog = "slowlog" // SlowLogRequest (or empty) → SlowLog
	NodeHotKeys = "hotkeys" // empty → HotKeys
)

// AdminRequest names the nodes that a command is about, by name, address or
// ID. None means all that it fits: new ones for attach, lost ones for detach.
type AdminRequest struct {
	Nodes []string `json:"nodes,omitempty"`
	// NoReplace leaves the placement of partitions as it is.
	NoReplace bool `json:"no_replace,omitempty"`
}

// ManagerRequest adds a manager, which waits for it, or removes one. One of both is
// set, an address or a name.
type ManagerRequest struct {
	Add    string `json:"add,omitempty"`
	Remove string `json:"remove,omitempty"`
}

// RemovedRequest says from which cluster a manager was removed; one that is of
// another refuses.
type RemovedRequest struct {
	Cluster ring.ClusterID `json:"cluster_id"`
}

// EventsRequest asks for events that the leader has heard, not older than Since,
// in Unix milliseconds of whoever told them.
type EventsRequest struct {
	Since int64 `json:"since,omitempty"`
}

// EventsReport is what the leader remembers, oldest first: a thousand at most. Of the
// time before it began it has what the leader of then remembered.
type EventsReport struct {
	Events []Event `json:"events"`
}

// AdminReply wraps every answer of an admin verb.
type AdminReply struct {
	Error *WireError      `json:"error,omitempty"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// AdminDone says what a command did.
type AdminDone struct {
	Nodes   []string       `json:"nodes,omitempty"` // that it was applied to
	Moves   int            `json:"moves,omitempty"` // copies that will move
	Text    string         `json:"text"`
	Recover *RecoverReport `json:"recover,omitempty"`
}

// CopiesRequest asks a server for its copies of partitions, at most MaxCopies.
type CopiesRequest struct {
	Partitions []ring.Partition `json:"partitions"`
}

// MaxCopies bounds CopiesRequest.
const MaxCopies = 512

// CopiesReport is what a server's process says of its copies.
type CopiesReport struct {
	ID     ring.NodeID `json:"id"`
	Boot   ring.BootID `json:"boot"`
	Copies []Copy      `json:"copies"`
}

// Copy is one copy, as its server sees it.
type Copy struct {
	Partition ring.Partition `json:"partition"`
	Tail      Version        `json:"tail"`   // the last entry of its log
	Commit    uint64         `json:"commit"` // entries to here are known committed
	Items     int64          `json:"items"`  // keys in the database, about
	// Incomplete copies lack keys: they were being made, or their file is gone.
	Incomplete bool `json:"incomplete,omitempty"`
	// Unclean copies might lack what they had acknowledged.
	Unclean bool `json:"unclean,omitempty"`
	Damaged int  `json:"damaged,omitempty"` // records that cannot be read
	Leads   bool `json:"leads,omitempty"`   // the process leads the partition
}

// RecoverRequest makes what one server holds of a partition all that there is.
// Without AcceptLoss it is only told what that means.
type RecoverRequest struct {
	Partition  ring.Partition `json:"partition"`
	Node       string         `json:"node,omitempty"` // name, address or ID; empty: whoever has the best copy
	AcceptLoss bool           `json:"accept_loss,omitempty"`
	// Epoch is that of the report with which the loss was accepted; 0 for none.
	Epoch ring.Epoch `json:"epoch,omitempty"`
}

// RecoverReport says what a recovery costs, or cost.
type RecoverReport struct {
	Partition ring.Partition `json:"partition"`
	Epoch     ring.Epoch     `json:"epoch"` // that it replaces
	Node      string         `json:"node"`  // whose copy becomes all that there is
	Done      bool           `json:"done"`
	Loss      []string       `json:"loss"`   // what may be lost, a sentence each
	Copies    []NodeCopy     `json:"copies"` // that were found
	Missing   []string       `json:"missing,omitempty"`
}

// NodeCopy is a copy with the server that has it.
type NodeCopy struct {
	Node   string `json:"node"`
	InSync bool   `json:"in_sync"`
	Copy
}

// ClusterStatus is the cluster as its leader sees it.
type ClusterStatus struct {
	Cluster     string         `json:"cluster"`
	ClusterID   ring.ClusterID `json:"cluster_id"`
	Revision    uint64         `json:"revision"`
	Leader      string         `json:"leader"`
	Voters      []string       `json:"voters"`
	Replicas    int            `json:"replicas"`
	AutoReplace bool           `json:"auto_replace"`
	Paused      bool           `json:"paused,omitempty"`
	MoveRate    int64          `json:"move_rate,omitempty"` // bytes a second; 0: no limit
	Health      string         `json:"health"`              // ok, degraded, unavailable
	Alarms      []string       `json:"alarms,omitempty"`
	Nodes       []NodeStatus   `json:"nodes"`
	Partitions  PartitionCount `json:"partitions"`
	// Stuck are partitions, the first of them, that nobody may lead: they wait
	// for servers that are down, or for AdminRecover.
	Stuck []ring.Partition `json:"stuck,omitempty"`
	Moves Moves            `json:"moves"`
}

// NodeStatus is one node. State is up, down, new (seen, not attached; of managers:
// without a vote), leaving
// (detached, still holds data), joining (its copies are not complete), draining
// (attached, and still holds data that it should not) or drained (it holds none).
type NodeStatus struct {
	Name     string         `json:"name"`
	Addr     string         `json:"addr"`
	Role     Role           `json:"role"`
	State    string         `json:"state"`
	ID       ring.NodeID    `json:"id"`
	Boot     ring.BootID    `json:"boot"`
	Zone     string         `json:"zone,omitempty"`
	Version  string         `json:"version,omitempty"`
	PID      int            `json:"pid,omitempty"`
	HTTP     string         `json:"http,omitempty"`
	Listen   []string       `json:"listen,omitempty"`
	Leader   bool           `json:"leader,omitempty"`
	Uptime   int64          `json:"uptime,omitempty"`
	Seen     int64          `json:"seen_ms,omitempty"`  // since its last heartbeat, milliseconds
	Time     int64          `json:"time,omitempty"`     // its clock then, Unix milliseconds
	Clock    int64          `json:"clock_ms,omitempty"` // how far that was ahead of the leader's
	Epoch    ring.Epoch     `json:"epoch,omitempty"`    // the highest of the partitions that it leads
	Primary  int            `json:"primary"`            // partitions that it leads
	Replica  int            `json:"replica"`            // partitions that it holds in sync, led or not
	Learner  int            `json:"learner"`            // copies under way to it
	Gaps     int            `json:"gaps"`               // copies that it should hold and does not hold in sync
	Load     Load           `json:"load"`
	Disk     Disk           `json:"disk,omitzero"`
	Expires  int64          `json:"certificate_expires,omitempty"` // Unix seconds; 0: it has no certificate
	Revision uint64         `json:"revision"`
	Cluster  ring.ClusterID `json:"cluster_id"`
}

// PartitionCount counts partitions by health. Full ones have all wanted copies
// in sync; Lone ones have a single copy in sync; Down ones have no live primary.
type PartitionCount struct {
	Total    int `json:"total"`
	Full     int `json:"full"`
	Degraded int `json:"degraded"`
	Lone     int `json:"lone"`
	Down     int `json:"down"`
	Loss     int `json:"possible_loss,omitempty"`
}

// Moves tells how far the wished placement is reached. All that is about the
// future is an estimate.
type Moves struct {
	Pending        int    `json:"pending"`                   // copies that are not where they should be
	Active         int    `json:"active"`                    // copies under way
	Surplus        int    `json:"surplus,omitempty"`         // copies that go once the wished ones are there
	Leads          int    `json:"leads,omitempty"`           // partitions that another server should lead
	Held           int    `json:"held,omitempty"`            // of these all, what waits for a server that is down
	HeldPartitions int    `json:"held_partitions,omitempty"` // that Held is of: one may lack copies and a lead
	Items          int64  `json:"items,omitempty"`           // keys that are still to be sent
	Bytes          int64  `json:"bytes,omitempty"`           // that they take
	Sent           uint64 `json:"sent_bytes"`                // by the servers, since this manager leads
	Rate           int64  `json:"rate,omitempty"`            // bytes a second, of the last ten seconds
	Left           int64  `json:"left_sec,omitempty"`        // seconds; 0: not known
	Copies         []Move `json:"copies,omitempty"`          // under way, MaxMoving of them at most
}

// Settled reports whether everything is where it should be, as far as the servers
// are up.
func (m Moves) Settled() bool { return m.Active == 0 && m.Pending+m.Surplus+m.Leads == m.Held }

// Move is one copy under way.
type Move struct {
	Partition ring.Partition `json:"partition"`
	From      string         `json:"from"` // the primary
	To        string         `json:"to"`
	Items     int64          `json:"items"`    // keys that are there
	Of        int64          `json:"of_items"` // that the primary has
}
