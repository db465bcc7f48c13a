package ring

import "testing"

// A node that drains stays attached through a restart, and is filled again once
// it is attached again.
func TestDrain(t *testing.T) {
	table := mustApply(t, small(t), Command{Drain: []NodeID{2}}, Command{Seen: []Sighting{{Node: node(2, 22)}}})
	if n, _ := table.Node(2); !n.Draining || !n.Attached || n.Boot != 22 {
		t.Errorf("%+v", n)
	}
	for _, c := range []Command{{Attach: []NodeID{2}}, {Detach: []NodeID{2}}} {
		if n, _ := mustApply(t, table, c).Node(2); n.Draining {
			t.Errorf("after %+v: %+v", c, n)
		}
	}
	detached := mustApply(t, table, Command{Detach: []NodeID{2}})
	if _, _, err := detached.Apply(Command{Drain: []NodeID{2}}); err == nil {
		t.Error("a detached node drains")
	}
}

func TestMoveRateIsBounded(t *testing.T) {
	for rate, want := range map[int64]int64{0: 0, -5: MinMoveRate, 1: MinMoveRate, 5_000_000: 5_000_000, 1 << 62: MaxMoveRate} {
		table := mustApply(t, small(t), Command{Settings: &Settings{MoveRate: &rate}})
		if table.MoveRate != want {
			t.Errorf("%d becomes %d, want %d", rate, table.MoveRate, want)
		}
		fresh := mustApply(t, nil, Command{Init: &Init{Cluster: "k", ClusterID: 1, Partitions: 1, Replicas: 1, MoveRate: rate}})
		if fresh.MoveRate != want {
			t.Errorf("a new cluster with %d has %d, want %d", rate, fresh.MoveRate, want)
		}
	}
}
