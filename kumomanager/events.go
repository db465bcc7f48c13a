package kumomanager

import (
	"fmt"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// maxEpochEvents is how many changes of partitions are told one by one; more in
// one step are summed up.
const maxEpochEvents = 16

// events tells what happened between two tables.
func events(old, now *ring.Table) []subjects.Event {
	if old == nil {
		old = &ring.Table{}
	}
	out := nodeEvents(old, now)
	var changed, lost []ring.Partition
	for p, c := range now.Partitions {
		var before ring.Config
		if p < old.Size() {
			before = old.Partitions[p]
		}
		if c.Epoch != before.Epoch {
			changed = append(changed, ring.Partition(p))
		}
		if c.LossAt != before.LossAt {
			lost = append(lost, ring.Partition(p))
		}
	}
	out = append(out, lossEvents(now, lost)...)
	if len(changed) > maxEpochEvents {
		first := changed[0]
		return append(out, subjects.Event{
			Kind: subjects.EventEpoch,
			Text: fmt.Sprintf("%d partitions have new configurations, partition %d the first of them", len(changed), first),
		})
	}
	for _, p := range changed {
		out = append(out, epochEvent(now, p, subjects.EventEpoch))
	}
	return out
}

// lossEvents tells of partitions of which one copy was declared the truth.
func lossEvents(t *ring.Table, lost []ring.Partition) (out []subjects.Event) {
	for i, p := range lost {
		e := epochEvent(t, p, subjects.EventPossibleLoss)
		e.Text += ": what its primary holds was made all that there is, acknowledged writes may be lost"
		if i == maxEpochEvents {
			e.Text = fmt.Sprintf("%d more partitions of which acknowledged writes may be lost, partition %d the first of them", len(lost)-i, p)
		}
		if out = append(out, e); i == maxEpochEvents {
			break
		}
	}
	return out
}

func epochEvent(t *ring.Table, p ring.Partition, kind string) subjects.Event {
	c := t.Partitions[p]
	n, _ := t.Primary(p)
	return subjects.Event{
		Kind: kind, Partition: &p, Epoch: c.Epoch, Node: n.Name,
		Text: fmt.Sprintf("partition %d: epoch %d, primary %s, %d in sync, %d joining", p, c.Epoch, n.Name, len(c.ISR), len(c.Learners)),
	}
}

func nodeEvents(old, now *ring.Table) (out []subjects.Event) {
	add := func(kind string, n ring.Node, text string) {
		out = append(out, subjects.Event{Kind: kind, Node: n.Name, Text: n.Name + " " + text})
	}
	for _, n := range now.Nodes {
		o, known := old.Node(n.ID)
		switch {
		case !known:
			add(subjects.EventNodeSeen, n, "was seen for the first time")
		case n.Up && !o.Up:
			add(subjects.EventNodeUp, n, "is up")
		case n.Up && n.Boot != o.Boot:
			add(subjects.EventNodeUp, n, "was started anew")
		case !n.Up && o.Up:
			add(subjects.EventNodeDown, n, "is down")
		}
		switch {
		case n.Attached && !o.Attached:
			add(subjects.EventAttached, n, "is attached")
		case !n.Attached && o.Attached:
			add(subjects.EventDetached, n, "is detached")
		}
	}
	return out
}

// progressEvery is how often the progress of moves is told.
const progressEvery = time.Second

// progress tells how far the wished placement is reached, while it is not.
type progress struct {
	at              time.Time
	pending, active int
}

// look returns an event when moves began, went on or ended since the last one.
func (g *progress) look(t *ring.Table, now time.Time) []subjects.Event {
	if now.Sub(g.at) < progressEvery || t.Size() == 0 {
		return nil
	}
	m := countMoves(t)
	if m.Pending == g.pending && m.Active == g.active {
		return nil
	}
	g.at, g.pending, g.active = now, m.Pending, m.Active
	text := "all copies are where they should be"
	if m.Pending+m.Active > 0 {
		text = fmt.Sprintf("%d copies to go, %d under way", m.Pending, m.Active)
	}
	return []subjects.Event{{Kind: subjects.EventMove, Text: text}}
}
