package ring

import (
	"errors"
	"fmt"
	"slices"
)

// Command is one entry of the managers' log. Exactly one field is set.
type Command struct {
	Init     *Init     `json:"init,omitempty"`
	Seen     *Node     `json:"seen,omitempty"`     // a server's process said hello
	Down     *Process  `json:"down,omitempty"`     // a server's process is taken for dead
	Attach   []NodeID  `json:"attach,omitempty"`   // give these servers partitions
	Detach   []NodeID  `json:"detach,omitempty"`   // take all partitions from these
	Forget   []NodeID  `json:"forget,omitempty"`   // drop servers that are down and hold nothing
	Target   []Target  `json:"target,omitempty"`   // where copies should be
	Change   []Change  `json:"change,omitempty"`   // configuration changes, each by itself
	Settings *Settings `json:"settings,omitempty"` // switches
}

// Init makes the cluster. A second Init changes nothing.
type Init struct {
	Cluster     string    `json:"cluster"`
	ClusterID   ClusterID `json:"cluster_id"`
	Partitions  int       `json:"partitions"`
	Replicas    int       `json:"replicas"`
	AutoReplace bool      `json:"auto_replace"`
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
	By     Process `json:"by,omitzero"`
	Reason string  `json:"reason,omitempty"`
	// Loss lets a node that was not in sync lead: an operator's command.
	Loss bool `json:"loss,omitempty"`
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
	var changed bool
	var err error
	switch {
	case c.Init != nil:
		changed, err = n.init(*c.Init)
	case c.Seen != nil:
		changed, err = n.seen(*c.Seen)
	case c.Down != nil:
		changed = n.down(*c.Down)
	case c.Attach != nil:
		changed, err = n.attach(c.Attach, true)
	case c.Detach != nil:
		changed, err = n.attach(c.Detach, false)
	case c.Forget != nil:
		changed, err = n.forget(c.Forget)
	case c.Target != nil:
		changed, err = n.target(c.Target)
	case c.Change != nil:
		res.Done, res.Refused = n.change(c.Change)
		changed = len(res.Done) > 0
	case c.Settings != nil:
		changed = n.set(*c.Settings)
	default:
		err = errors.New("empty command")
	}
	if err != nil || !changed {
		res.Revision = t.Revision
		return t, res, err
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
	t.Partitions = make([]Config, c.Partitions)
	return true, nil
}

// seen records a server's newest process. Attached is the managers' own
// knowledge and kept.
func (t *Table) seen(n Node) (bool, error) {
	if n.ID == 0 || n.Boot == 0 || n.Name == "" {
		return false, errors.New("a node without identity")
	}
	t.Nodes = slices.Clone(t.Nodes)
	n.Up = true
	for i, o := range t.Nodes {
		if o.ID == n.ID {
			n.Attached = o.Attached
			if n == o {
				return false, nil
			}
			t.Nodes[i] = n
			return true, nil
		}
	}
	n.Attached = false
	t.Nodes = append(t.Nodes, n)
	slices.SortFunc(t.Nodes, func(a, b Node) int { return compare(a.ID, b.ID) })
	return true, nil
}

func (t *Table) down(p Process) bool {
	for i, n := range t.Nodes {
		if n.ID == p.Store && n.Boot == p.Boot && n.Up {
			t.Nodes = slices.Clone(t.Nodes)
			t.Nodes[i].Up = false
			return true
		}
	}
	return false
}

func (t *Table) attach(ids []NodeID, on bool) (changed bool, err error) {
	t.Nodes = slices.Clone(t.Nodes)
	for _, id := range ids {
		i := slices.IndexFunc(t.Nodes, func(n Node) bool { return n.ID == id })
		if i < 0 {
			return false, fmt.Errorf("node %s is not known", id)
		}
		changed = changed || t.Nodes[i].Attached != on
		t.Nodes[i].Attached = on
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
			t.Partitions[w.Partition].Target = slices.Clone(w.Nodes)
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
		t.Partitions[c.Partition] = Config{
			Epoch:    old.Epoch + 1,
			Primary:  c.Primary,
			ISR:      slices.Clone(c.ISR),
			Learners: slices.Clone(c.Learners),
			Target:   old.Target,
			Loss:     old.Loss || c.Loss,
		}
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
	for _, id := range c.ISR {
		if !old.HasISR(id) && (!old.HasLearner(id) || c.By != old.Primary) {
			return "node " + id.String() + " was neither in sync nor certified by the primary"
		}
	}
	return ""
}
