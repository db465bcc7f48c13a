package ring

import (
	"errors"
	"fmt"
	"slices"
)

// Command is one entry of the managers' log. The parts that are set take
// effect in the order of the fields, all together or, with an error, not at all:
// a death and the fail-overs that follow from it are one entry.
type Command struct {
	Init     *Init      `json:"init,omitempty"`
	Seen     []Sighting `json:"seen,omitempty"`     // servers' processes said hello
	Down     []Process  `json:"down,omitempty"`     // servers' processes are taken for dead
	Attach   []NodeID   `json:"attach,omitempty"`   // give these servers partitions
	Detach   []NodeID   `json:"detach,omitempty"`   // take all partitions from these
	Drain    []NodeID   `json:"drain,omitempty"`    // the same, and they stay attached
	Target   []Target   `json:"target,omitempty"`   // where copies should be
	Change   []Change   `json:"change,omitempty"`   // configuration changes, each refused or made by itself
	Forget   []NodeID   `json:"forget,omitempty"`   // drop servers that are down and hold nothing
	Settings *Settings  `json:"settings,omitempty"` // switches
}

// Sighting is a server's newest process, and what it said of its copies.
type Sighting struct {
	Node
	// Unclean are the partitions of which the store might lack what it had
	// acknowledged: its machine crashed, or a disk lost something.
	Unclean PartitionSet `json:"unclean_copies,omitzero"`
}

// Init makes the cluster. A second Init changes nothing.
type Init struct {
	Cluster     string    `json:"cluster"`
	ClusterID   ClusterID `json:"cluster_id"`
	Partitions  int       `json:"partitions"`
	Replicas    int       `json:"replicas"`
	AutoReplace bool      `json:"auto_replace"`
	MoveRate    int64     `json:"move_rate,omitempty"`
}

// Target is the planner's wish for one partition, the wished primary first.
type Target struct {
	Partition Partition `json:"partition"`
	Nodes     []NodeID  `json:"nodes"`
}

// Settings are switches; nil leaves one as it is.
type Settings struct {
	AutoReplace *bool `json:"auto_replace,omitempty"`
	Paused      *bool `json:"paused,omitempty"`
	// MoveRate is bytes a second, 0 for no limit. One that is neither 0 nor
	// between MinMoveRate and MaxMoveRate is taken for the nearest.
	MoveRate *int64 `json:"move_rate,omitempty"`
}

// The bounds of MoveRate: less than a range of keys in a second would look like
// standing still.
const (
	MinMoveRate = 100_000
	MaxMoveRate = 1_000_000_000_000
)

// BoundMoveRate is the nearest rate that a table can have.
func BoundMoveRate(rate int64) int64 {
	if rate == 0 {
		return 0
	}
	return min(max(rate, MinMoveRate), MaxMoveRate)
}

// Change asks for the configuration after Epoch of one partition: a
// compare-and-set. Fields other than By, Reason and Loss are the wanted
// configuration, whose epoch is Epoch+1.
type Change struct {
	Partition Partition `json:"partition"`
	Epoch     Epoch     `json:"epoch"` // the configuration that this replaces
	Primary   Process   `json:"primary"`
	ISR       []NodeID  `json:"isr"`
	Learners  []NodeID  `json:"learners,omitempty"`
	// By is the primary that asks; zero for the leader's own changes. Only the
	// primary of Epoch may certify that a learner is in sync.
	By Process `json:"by,omitzero"`
	// Joined are the processes of the learners that it certifies. One that has begun
	// since may lack what the one before it acknowledged, and what it said of its
	// copies did not go for one that was only a learner.
	Joined []Process `json:"joined,omitempty"`
	Reason string    `json:"reason,omitempty"`
	// Loss lets a node lead that was not in sync or not clean, and makes what it
	// holds the truth: acknowledged writes may be gone.
	Loss bool `json:"loss,omitempty"`
	// Told: those that are left out have said themselves that their copies
	// cannot go on.
	Told bool `json:"told,omitempty"`
	// Disputed: see Config.
	Disputed bool `json:"disputed,omitempty"`
}

// Refusal says why one change was not made.
type Refusal struct {
	Partition Partition `json:"partition"`
	Epoch     Epoch     `json:"epoch"` // the current one
	Why       string    `json:"why"`
}

// Result tells what a command did. Done lists the partitions whose
// configuration (not merely target) changed.
type Result struct {
	Revision uint64      `json:"revision"`
	Done     []Partition `json:"done,omitempty"`
	Refused  []Refusal   `json:"refused,omitempty"`
}

// ErrNoCluster is the answer to any command before Init.
var ErrNoCluster = errors.New("the cluster has not been made yet")

// ErrEmpty is the answer to a command without parts.
var ErrEmpty = errors.New("empty command")

// Apply returns the table after one command, which is t itself when nothing
// changed. It is the managers' state machine: the same commands give the same
// table everywhere. It never fails half way: with an error the table is t.
func (t *Table) Apply(c Command) (*Table, Result, error) {
	if t == nil {
		t = &Table{}
	}
	if len(t.Partitions) == 0 && c.Init == nil {
		return t, Result{Revision: t.Revision}, ErrNoCluster
	}
	n := *t
	var res Result
	steps := []struct {
		set bool
		do  func() (bool, error)
	}{
		{c.Init != nil, func() (bool, error) { return n.init(*c.Init) }},
		{len(c.Seen) > 0, func() (bool, error) { return n.seen(c.Seen) }},
		{len(c.Down) > 0, func() (bool, error) { return n.down(c.Down), nil }},
		{len(c.Attach) > 0, func() (bool, error) { return n.attach(c.Attach, true) }},
		{len(c.Detach) > 0, func() (bool, error) { return n.attach(c.Detach, false) }},
		{len(c.Drain) > 0, func() (bool, error) { return n.drain(c.Drain) }},
		{len(c.Target) > 0, func() (bool, error) { return n.target(c.Target) }},
		{len(c.Change) > 0, func() (bool, error) {
			res.Done, res.Refused = n.change(c.Change)
			return len(res.Done) > 0, nil
		}},
		{len(c.Forget) > 0, func() (bool, error) { return n.forget(c.Forget) }},
		{c.Settings != nil, func() (bool, error) { return n.set(*c.Settings), nil }},
	}
	changed, empty := false, true
	for _, s := range steps {
		if !s.set {
			continue
		}
		empty = false
		did, err := s.do()
		if err != nil {
			return t, Result{Revision: t.Revision}, err
		}
		changed = changed || did
	}
	if empty {
		return t, Result{Revision: t.Revision}, ErrEmpty
	}
	if !changed {
		res.Revision = t.Revision
		return t, res, nil
	}
	n.Revision++
	res.Revision = n.Revision
	return &n, res, nil
}

func (t *Table) init(c Init) (bool, error) {
	if len(t.Partitions) > 0 {
		return false, nil
	}
	switch {
	case c.Partitions < 1 || c.Partitions > MaxPartitions || c.Partitions&(c.Partitions-1) != 0:
		return false, fmt.Errorf("%d partitions: want a power of two from 1 to %d", c.Partitions, MaxPartitions)
	case c.Replicas < 1 || c.Replicas > MaxReplicas:
		return false, fmt.Errorf("%d replicas: want 1 to %d", c.Replicas, MaxReplicas)
	case c.ClusterID == 0:
		return false, errors.New("cluster ID 0")
	}
	t.Cluster, t.ClusterID, t.Replicas, t.AutoReplace = c.Cluster, c.ClusterID, c.Replicas, c.AutoReplace
	t.MoveRate = BoundMoveRate(c.MoveRate)
	t.Partitions = make([]Config, c.Partitions)
	return true, nil
}

// seen records servers' newest processes. Attached is the managers' own
// knowledge and kept. What a new process says of its copies goes for where they
// count as in sync.
func (t *Table) seen(sightings []Sighting) (changed bool, err error) {
	t.Nodes = slices.Clone(t.Nodes)
	for _, s := range sightings {
		n := s.Node
		if n.ID == 0 || n.Boot == 0 || n.Name == "" {
			return false, errors.New("a node without identity")
		}
		n.Up = true
		i, known := t.find(n.ID)
		if !known {
			n.Attached, n.Detached, n.Draining = false, false, false
			t.Nodes = slices.Insert(t.Nodes, i, n)
			changed = true
			continue
		}
		old := t.Nodes[i]
		n.Attached, n.Detached, n.Draining = old.Attached, old.Detached, old.Draining
		if n == old {
			continue
		}
		t.Nodes[i] = n
		changed = true
		if n.Boot != old.Boot {
			t.soil(n.ID, s.Unclean)
		}
	}
	return changed, nil
}

// soil marks a node's copies unclean where it is in sync. They are so until it
// left the in-sync set.
func (t *Table) soil(id NodeID, unclean PartitionSet) {
	t.Partitions = slices.Clone(t.Partitions)
	for p, c := range t.Partitions {
		if unclean.Has(Partition(p)) && c.HasISR(id) && !slices.Contains(c.Unclean, id) {
			t.Partitions[p].Unclean = append(slices.Clone(c.Unclean), id)
		}
	}
}

func (t *Table) down(ps []Process) (changed bool) {
	t.Nodes = slices.Clone(t.Nodes)
	for _, p := range ps {
		if i, ok := t.find(p.Store); ok && t.Nodes[i].Boot == p.Boot && t.Nodes[i].Up {
			t.Nodes[i].Up = false
			changed = true
		}
	}
	return changed
}

func (t *Table) attach(ids []NodeID, on bool) (changed bool, err error) {
	t.Nodes = slices.Clone(t.Nodes)
	for _, id := range ids {
		i, ok := t.find(id)
		if !ok {
			return false, fmt.Errorf("node %s is not known", id)
		}
		old := t.Nodes[i]
		t.Nodes[i].Attached, t.Nodes[i].Detached, t.Nodes[i].Draining = on, !on && old.Up, false
		changed = changed || t.Nodes[i] != old
	}
	return changed, nil
}

func (t *Table) drain(ids []NodeID) (changed bool, err error) {
	t.Nodes = slices.Clone(t.Nodes)
	for _, id := range ids {
		i, ok := t.find(id)
		if !ok || !t.Nodes[i].Attached {
			return false, fmt.Errorf("node %s is not attached", id)
		}
		changed = changed || !t.Nodes[i].Draining
		t.Nodes[i].Draining = true
	}
	return changed, nil
}

func (t *Table) forget(ids []NodeID) (bool, error) {
	for _, id := range ids {
		n, ok := t.Node(id)
		switch {
		case !ok:
			return false, fmt.Errorf("node %s is not known", id)
		case n.Up || n.Attached:
			return false, fmt.Errorf("node %s is up or attached", n.Name)
		}
		for p, c := range t.Partitions {
			if c.Holds(id) || slices.Contains(c.Target, id) {
				return false, fmt.Errorf("node %s holds partition %d", n.Name, p)
			}
		}
	}
	t.Nodes = slices.DeleteFunc(slices.Clone(t.Nodes), func(n Node) bool { return slices.Contains(ids, n.ID) })
	return len(ids) > 0, nil
}

func (t *Table) target(ts []Target) (changed bool, err error) {
	t.Partitions = slices.Clone(t.Partitions)
	for _, w := range ts {
		if int(w.Partition) >= len(t.Partitions) || len(w.Nodes) > MaxReplicas {
			return false, fmt.Errorf("target of partition %d is out of bounds", w.Partition)
		}
		for i, id := range w.Nodes {
			if _, ok := t.Node(id); !ok || slices.Contains(w.Nodes[:i], id) {
				return false, fmt.Errorf("target of partition %d: node %s is not known or there twice", w.Partition, id)
			}
		}
		if !slices.Equal(t.Partitions[w.Partition].Target, w.Nodes) {
			t.Partitions[w.Partition].Target = copyOf(w.Nodes)
			changed = true
		}
	}
	return changed, nil
}

func (t *Table) set(s Settings) (changed bool) {
	if s.AutoReplace != nil && *s.AutoReplace != t.AutoReplace {
		t.AutoReplace, changed = *s.AutoReplace, true
	}
	if s.Paused != nil && *s.Paused != t.Paused {
		t.Paused, changed = *s.Paused, true
	}
	if s.MoveRate != nil && BoundMoveRate(*s.MoveRate) != t.MoveRate {
		t.MoveRate, changed = BoundMoveRate(*s.MoveRate), true
	}
	return changed
}

func (t *Table) change(cs []Change) (done []Partition, refused []Refusal) {
	t.Partitions = slices.Clone(t.Partitions)
	for _, c := range cs {
		if int(c.Partition) >= len(t.Partitions) {
			refused = append(refused, Refusal{c.Partition, 0, "no such partition"})
			continue
		}
		old := t.Partitions[c.Partition]
		if why := t.refuse(old, c); why != "" {
			refused = append(refused, Refusal{c.Partition, old.Epoch, why})
			continue
		}
		next := Config{
			Epoch:    old.Epoch + 1,
			Primary:  c.Primary,
			ISR:      copyOf(c.ISR),
			Learners: copyOf(c.Learners),
			Target:   old.Target,
			Loss:     old.Loss || c.Loss,
			LossAt:   old.LossAt,
			Forced:   c.Loss || old.Forced && c.Primary.Store == old.Primary.Store,
			Disputed: c.Disputed,
		}
		if c.Loss { // what the new primary holds is the truth
			next.LossAt = next.Epoch
		} else {
			next.Unclean = old.uncleanAmong(c.ISR)
		}
		t.Partitions[c.Partition] = next
		done = append(done, c.Partition)
	}
	return done, refused
}

// refuse holds rule R1: the reason why a change must not be made, or "".
func (t *Table) refuse(old Config, c Change) string {
	if c.Epoch != old.Epoch {
		return "the epoch has moved on"
	}
	want := Config{Epoch: old.Epoch + 1, Primary: c.Primary, ISR: c.ISR, Learners: c.Learners}
	if err := want.Check(); err != nil {
		return err.Error()
	}
	for _, list := range [][]NodeID{c.ISR, c.Learners} {
		for _, id := range list {
			if _, ok := t.Node(id); !ok {
				return "node " + id.String() + " is not known"
			}
		}
	}
	if old.Epoch == 0 || c.Loss {
		return ""
	}
	if !c.By.Zero() && c.By != old.Primary {
		return "only the primary may ask"
	}
	if !old.HasISR(c.Primary.Store) {
		return "the new primary was not in sync"
	}
	if slices.Contains(old.Unclean, c.Primary.Store) {
		return "the new primary's copy is unclean"
	}
	for _, id := range c.ISR {
		if !old.HasISR(id) && (!old.HasLearner(id) || c.By != old.Primary) {
			return "node " + id.String() + " was neither in sync nor certified by the primary"
		}
		if n, _ := t.Node(id); !old.HasISR(id) && !slices.Contains(c.Joined, n.Process()) {
			return "node " + id.String() + " was certified by the primary, but not the process that it runs now"
		}
	}
	return ""
}

// copyOf clones; an empty list is nil, as it is after its way through JSON.
func copyOf(ids []NodeID) []NodeID {
	if len(ids) == 0 {
		return nil
	}
	return slices.Clone(ids)
}
