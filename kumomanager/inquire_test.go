package kumomanager

import (
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// What a process says of its copies counts for itself, and for the epoch of
// which it was asked.
func TestWhatWasSaidCountsForAProcessAndAnEpoch(t *testing.T) {
	s := newSim(t, true, 3)
	s.pass(5 * time.Second)
	c, p := s.c, ring.Partition(2)
	epoch := c.table.Partitions[p].Epoch
	if epoch == 0 {
		t.Fatal("not placed")
	}
	nodes := c.members.Status(c.at(s.now))
	says := func(id ring.NodeID, boot ring.BootID, e ring.Epoch, seq uint64) saidCopy {
		return saidCopy{e, ring.Process{Store: id, Boot: boot}, subjects.Copy{Partition: p, Tail: subjects.Version{Epoch: 1, Seq: seq}, Unclean: true}}
	}
	c.heardOf([]saidCopy{
		says(1, nodes[1].Boot, epoch, 7),
		says(2, nodes[2].Boot+100, epoch, 8), // of another process
		says(3, nodes[3].Boot, epoch-1, 9),   // of another epoch
	})
	got := c.copies(c.table, nodes)
	if want := (rebalance.Copy{Epoch: 1, Seq: 7, Unclean: true}); len(got[p]) != 1 || got[p][1] != want {
		t.Fatalf("%+v", got)
	}
	moved := *c.table
	moved.Partitions = append([]ring.Config(nil), c.table.Partitions...)
	moved.Partitions[p].Epoch++
	if got := c.copies(&moved, nodes); len(got) > 0 || len(c.said) > 0 {
		t.Fatalf("in a later epoch: %+v", got)
	}
	c.unsure = []ring.Partition{p}
	if q := c.doubts(); len(q.nodes) != 3 || q.partitions[p] != epoch {
		t.Fatalf("%+v", q)
	}
}
