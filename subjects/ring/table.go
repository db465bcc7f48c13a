package ring

import (
	"cmp"
	"fmt"
	"slices"
)

// Limits of a table.
const (
	DefaultPartitions = 256
	MaxPartitions     = 1 << 14
	DefaultReplicas   = 3
	MaxReplicas       = 7
)

// Table is the whole partition table at one revision of the managers' log.
type Table struct {
	Cluster   string    `json:"cluster"`
	ClusterID ClusterID `json:"cluster_id"`
	// Revision grows with every change of anything in the table.
	Revision uint64 `json:"revision"`
	// Replicas is how many copies the planner wants of each partition.
	Replicas int `json:"replicas"`
	// AutoReplace lets the leader place partitions on new servers, and away
	// from lost ones, without being told.
	AutoReplace bool `json:"auto_replace"`
	// Paused stops moves; fail-over goes on.
	Paused bool `json:"paused,omitempty"`
	// MoveRate is how many bytes of copies a second a server sends at most; 0: as
	// many as it can.
	MoveRate   int64    `json:"move_rate,omitempty"`
	Nodes      []Node   `json:"nodes"` // sorted by ID
	Partitions []Config `json:"partitions"`
}

// Node is a server that the managers know.
type Node struct {
	ID    NodeID `json:"id"`
	Name  string `json:"name"` // its subjects' token: the address with dashes
	Addr  string `json:"addr"` // host:port of its embedded NATS server
	Proof string `json:"proof,omitempty"`
	Zone  string `json:"zone,omitempty"`
	Boot  BootID `json:"boot"` // of its newest process
	Up    bool   `json:"up"`
	// Attached nodes are given partitions; others are only seen.
	Attached bool `json:"attached"`
	// Detached nodes were taken out by an operator while they were up; only an
	// operator brings them back.
	Detached bool `json:"detached,omitempty"`
	// Draining nodes are attached, and are to hold nothing.
	Draining bool `json:"draining,omitempty"`
}

// Process returns the newest process of the node.
func (n Node) Process() Process { return Process{n.ID, n.Boot} }

// Config is the configuration of one partition, C(p).
type Config struct {
	Epoch    Epoch    `json:"epoch"`
	Primary  Process  `json:"primary"`
	ISR      []NodeID `json:"isr"`                // in-sync replicas, the primary among them
	Learners []NodeID `json:"learners,omitempty"` // copying, do not count yet
	// Target is where the planner wants the copies, the wished primary first.
	// It is a wish only: changing it is no change of configuration.
	Target []NodeID `json:"target,omitempty"`
	// Unclean lists in-sync replicas whose copies may have lost what they had
	// acknowledged: they must not lead or acknowledge before they were taken out
	// and copied anew. It empties by itself as they leave.
	Unclean []NodeID `json:"unclean,omitempty"`
	// Loss marks a partition that was forced: acknowledged writes may be gone.
	// LossAt is the epoch with which that happened last.
	Loss   bool  `json:"loss,omitempty"`
	LossAt Epoch `json:"loss_at,omitempty"`
	// Forced: what the primary's copy holds was declared the truth, so that it
	// leads although the copy is unclean or not whole. It stays for as long as
	// this store leads, since its process may have missed the epoch that said so
	// first.
	Forced bool `json:"forced,omitempty"`
	// Disputed marks a configuration whose primary before called others silent
	// that the managers heard, and lost the lead for it. If this primary says the
	// same it is believed.
	Disputed bool `json:"disputed,omitempty"`
}

// Size returns the number of partitions, a power of two, or 0 before Init and of
// no table at all.
func (t *Table) Size() int {
	if t == nil {
		return 0
	}
	return len(t.Partitions)
}

// Of returns the partition of a key. The table must have partitions.
func (t *Table) Of(key []byte) Partition { return Of(key, len(t.Partitions)) }

// Node returns the node with this ID.
func (t *Table) Node(id NodeID) (Node, bool) {
	i, ok := t.find(id)
	if !ok {
		return Node{}, false
	}
	return t.Nodes[i], true
}

func (t *Table) find(id NodeID) (int, bool) {
	return slices.BinarySearchFunc(t.Nodes, id, func(n Node, id NodeID) int { return cmp.Compare(n.ID, id) })
}

// NodeNamed returns the node with this name or address. A store that is up goes
// before one that had the address in earlier times.
func (t *Table) NodeNamed(name string) (found Node, ok bool) {
	for _, n := range t.Nodes {
		if (n.Name == name || n.Addr == name) && (!ok || n.Up) {
			found, ok = n, true
		}
	}
	return found, ok
}

// Primary returns the node of the partition's primary.
func (t *Table) Primary(p Partition) (Node, bool) {
	return t.Node(t.Partitions[p].Primary.Store)
}

// Alive reports whether the process runs as far as the table knows.
func (t *Table) Alive(p Process) bool {
	n, ok := t.Node(p.Store)
	return ok && n.Up && n.Boot == p.Boot
}

// HasISR reports whether the node is an in-sync replica.
func (c Config) HasISR(id NodeID) bool { return slices.Contains(c.ISR, id) }

// HasLearner reports whether the node is a learner.
func (c Config) HasLearner(id NodeID) bool { return slices.Contains(c.Learners, id) }

// Holds reports whether the node is in the configuration at all.
func (c Config) Holds(id NodeID) bool { return c.HasISR(id) || c.HasLearner(id) }

// uncleanAmong returns the unclean replicas that are in this list.
func (c Config) uncleanAmong(ids []NodeID) (unclean []NodeID) {
	for _, id := range c.Unclean {
		if slices.Contains(ids, id) {
			unclean = append(unclean, id)
		}
	}
	return unclean
}

// Check returns an error if the configuration breaks what always holds: the
// primary is in sync, nobody is there twice, nobody is both replica and learner.
func (c Config) Check() error {
	if c.Epoch == 0 {
		if len(c.ISR)+len(c.Learners) > 0 {
			return fmt.Errorf("epoch 0 with members")
		}
		return nil
	}
	if len(c.ISR) == 0 {
		return fmt.Errorf("no in-sync replica")
	}
	if !c.HasISR(c.Primary.Store) {
		return fmt.Errorf("primary %s is not in sync", c.Primary.Store)
	}
	seen := make(map[NodeID]bool, len(c.ISR)+len(c.Learners))
	for _, list := range [][]NodeID{c.ISR, c.Learners} {
		for _, id := range list {
			if seen[id] || id == 0 {
				return fmt.Errorf("node %s is there twice or zero", id)
			}
			seen[id] = true
		}
	}
	return nil
}

// Update carries a table's change from one revision to a later one, or the
// whole of it (Base 0). Partitions lists only what changed.
type Update struct {
	Base     uint64 `json:"base"`
	Revision uint64 `json:"revision"`
	Head     Table  `json:"head"` // everything but Partitions
	// SameNodes: the nodes are those of Base, and Head has none. Of 1,000 nodes the
	// list takes 175 KB, and most changes are of a single partition.
	SameNodes bool              `json:"same_nodes,omitempty"`
	Size      int               `json:"size"`
	Changed   []PartitionConfig `json:"changed"`
	// Next is the first partition that did not fit; 0 when all is here. The
	// rest is asked for with ring.get from Next on.
	Next int `json:"next,omitempty"`
}

// PartitionConfig is a configuration with its number.
type PartitionConfig struct {
	Partition Partition `json:"partition"`
	Config
}

// Diff returns the update from base to t; a nil base means everything.
func (t *Table) Diff(base *Table) Update {
	u := Update{Revision: t.Revision, Head: *t, Size: len(t.Partitions), Changed: []PartitionConfig{}}
	u.Head.Partitions = nil
	if base != nil && len(base.Partitions) == len(t.Partitions) && base.ClusterID == t.ClusterID {
		u.Base = base.Revision
		if u.SameNodes = slices.Equal(t.Nodes, base.Nodes); u.SameNodes {
			u.Head.Nodes = nil
		}
	} else {
		base = nil
	}
	for i, c := range t.Partitions {
		if base == nil || !equal(c, base.Partitions[i]) {
			u.Changed = append(u.Changed, PartitionConfig{Partition(i), c})
		}
	}
	return u
}

// Page returns at most n partitions from one on, as part of the whole table. The
// nodes come with the first.
func (t *Table) Page(from, n int) Update {
	u := Update{Revision: t.Revision, Head: *t, Size: len(t.Partitions), Changed: []PartitionConfig{}}
	u.Head.Partitions = nil
	if from > 0 {
		u.Head.Nodes = nil
	}
	to := min(from+n, len(t.Partitions))
	for i := from; i < to; i++ {
		u.Changed = append(u.Changed, PartitionConfig{Partition(i), t.Partitions[i]})
	}
	if to < len(t.Partitions) {
		u.Next = to
	}
	return u
}

// Merge applies an update. ok is false when the update does not fit t, which
// may be nil: its base is not t's revision (something was missed), it is not
// whole, or it is of another cluster. An update that is not newer changes
// nothing and is ok.
func (t *Table) Merge(u Update) (_ *Table, ok bool) {
	if t != nil && t.ClusterID != 0 && u.Head.ClusterID != t.ClusterID {
		return t, false
	}
	if t != nil && u.Revision <= t.Revision {
		return t, true
	}
	if u.Next != 0 || u.Size < 0 || u.Size > MaxPartitions {
		return t, false
	}
	if u.Base != 0 && (t == nil || t.Revision != u.Base || len(t.Partitions) != u.Size) {
		return t, false
	}
	if u.SameNodes && u.Base == 0 {
		return t, false
	}
	n := u.Head
	if u.SameNodes {
		n.Nodes = t.Nodes
	}
	n.Revision = u.Revision
	n.Partitions = make([]Config, u.Size)
	if u.Base != 0 {
		copy(n.Partitions, t.Partitions)
	} else if len(u.Changed) != u.Size {
		return t, false
	}
	for _, c := range u.Changed {
		if int(c.Partition) >= u.Size {
			return t, false
		}
		n.Partitions[c.Partition] = c.Config
	}
	return &n, true
}

func equal(a, b Config) bool {
	return a.Epoch == b.Epoch && a.Primary == b.Primary && a.Disputed == b.Disputed &&
		a.Loss == b.Loss && a.LossAt == b.LossAt && a.Forced == b.Forced &&
		slices.Equal(a.Unclean, b.Unclean) && slices.Equal(a.ISR, b.ISR) && slices.Equal(a.Learners, b.Learners) && slices.Equal(a.Target, b.Target)
}
