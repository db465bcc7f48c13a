package kumomanager

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// askAround prepares an operator's recovery: every server that is up says what
// it has of the partition.
func (s *seat) askAround(o *order, data []byte) error {
	if err := json.Unmarshal(data, &o.recover); err != nil {
		return fmt.Errorf("%w: %w", subjects.ErrBadRequest, err)
	}
	t, p := s.machine.table.Load(), o.recover.Partition
	if int(p) >= t.Size() {
		return fmt.Errorf("%w: there is no partition %d", subjects.ErrBadRequest, p)
	}
	q := inquiry{partitions: map[ring.Partition]ring.Epoch{p: t.Partitions[p].Epoch}}
	for _, n := range t.Nodes {
		if n.Up {
			q.nodes = append(q.nodes, n)
		}
	}
	o.said = s.inquire(q)
	return nil
}

// recover makes a copy the truth, or says what that would cost.
func (c *core) recover(o *order, d *draft, now time.Time) (subjects.AdminDone, error) {
	req := o.recover
	if int(req.Partition) >= d.table.Size() {
		return subjects.AdminDone{}, fmt.Errorf("%w: there is no partition %d", subjects.ErrBadRequest, req.Partition)
	}
	cfg := d.table.Partitions[req.Partition]
	if req.AcceptLoss && req.Epoch != 0 && cfg.LossAt == req.Epoch+1 {
		n, _ := d.table.Node(cfg.Primary.Store)
		return subjects.AdminDone{Nodes: []string{n.Name}, Text: fmt.Sprintf("partition %d: done already", req.Partition)}, nil
	}
	if req.Epoch != 0 && req.Epoch != cfg.Epoch {
		return subjects.AdminDone{}, fmt.Errorf("%w: partition %d has epoch %d by now, look again", subjects.ErrRefused, req.Partition, cfg.Epoch)
	}
	var want ring.NodeID
	if req.Node != "" {
		nodes, err := choose(d.table, []string{req.Node}, nil)
		if err != nil {
			return subjects.AdminDone{}, err
		}
		want = nodes[0].ID
	}
	said := map[ring.NodeID]saidCopy{}
	for _, s := range o.said {
		if s.epoch == cfg.Epoch {
			said[s.by.Store] = s
		}
	}
	v := c.view(d.table, now)
	v.Copies = map[ring.Partition]map[ring.NodeID]rebalance.Copy{req.Partition: current(said, v.Nodes)}
	ch, why := rebalance.Recover(v, req.Partition, want)
	if why != "" {
		return subjects.AdminDone{}, fmt.Errorf("%w: partition %d: %s", subjects.ErrRefused, req.Partition, why)
	}
	rep := recoverReport(d.table, ch, said)
	done := subjects.AdminDone{Nodes: []string{rep.Node}, Recover: rep}
	if !req.AcceptLoss {
		done.Text = fmt.Sprintf("partition %d: nothing was done; what %s holds would be all that there is", ch.Partition, rep.Node)
		return done, nil
	}
	if res := d.step(ring.Command{Change: []ring.Change{ch}}); len(res.Done) != 1 {
		return subjects.AdminDone{}, fmt.Errorf("%w: partition %d: %+v", subjects.ErrRefused, ch.Partition, res.Refused)
	}
	rep.Done = true
	done.Text = fmt.Sprintf("partition %d: what %s holds is all that there is", ch.Partition, rep.Node)
	return done, nil
}

// recoverReport says what is lost with a change.
func recoverReport(t *ring.Table, ch ring.Change, said map[ring.NodeID]saidCopy) *subjects.RecoverReport {
	cfg := t.Partitions[ch.Partition]
	name := func(id ring.NodeID) string {
		if n, ok := t.Node(id); ok {
			return n.Name
		}
		return id.String()
	}
	chosen := said[ch.Primary.Store]
	rep := &subjects.RecoverReport{Partition: ch.Partition, Epoch: ch.Epoch, Node: name(ch.Primary.Store), Loss: losses(cfg, chosen)}
	for id, s := range said {
		rep.Copies = append(rep.Copies, subjects.NodeCopy{Node: name(id), InSync: cfg.HasISR(id), Copy: s.Copy})
		if id != ch.Primary.Store && chosen.Tail.Less(s.Tail) {
			rep.Loss = append(rep.Loss, fmt.Sprintf("what %s has after %s, to %s", name(id), chosen.Tail, s.Tail))
		}
	}
	slices.SortFunc(rep.Copies, func(a, b subjects.NodeCopy) int {
		if a.Tail == b.Tail {
			return slices.Compare([]byte(a.Node), []byte(b.Node))
		}
		if a.Tail.Less(b.Tail) {
			return 1
		}
		return -1
	})
	for _, id := range cfg.ISR {
		if _, ok := said[id]; !ok {
			rep.Missing = append(rep.Missing, name(id))
			rep.Loss = append(rep.Loss, fmt.Sprintf("what %s, which is in sync and does not answer, has after %s", name(id), chosen.Tail))
		}
	}
	return rep
}

// losses says what a copy lacks by itself.
func losses(cfg ring.Config, s saidCopy) (out []string) {
	if s.Tail == (subjects.Version{}) {
		return []string{"everything: this copy holds nothing of the partition"}
	}
	if !cfg.HasISR(s.by.Store) {
		out = append(out, "what was written since this copy was in sync")
	}
	if s.Unclean {
		out = append(out, "what this copy acknowledged and had not on disk when its machine died")
	}
	if s.Incomplete {
		out = append(out, "keys that this copy never had: it was being made")
	}
	if s.Damaged > 0 {
		out = append(out, fmt.Sprintf("%d records that cannot be read", s.Damaged))
	}
	return out
}
