package ring

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// large is a table at rest with every node attached, and three copies of each
// partition.
func large(nodes, partitions int) *Table {
	t := &Table{Cluster: "kumo", ClusterID: 0x0123456789abcdef, Revision: 1000, Replicas: 3, Partitions: make([]Config, partitions)}
	for i := range nodes {
		t.Nodes = append(t.Nodes, Node{
			ID: NodeID(uint64(i+1) << 50), Boot: BootID(uint64(i+1) * 0x9e3779b97f4a7c15),
			Name: fmt.Sprintf("10-20-%d-%d-19800", i/250, i%250), Addr: fmt.Sprintf("10.20.%d.%d:19800", i/250, i%250),
			Proof: fmt.Sprintf("10.20.%d.%d:41234", i/250, i%250), Zone: fmt.Sprintf("rack-%d", i%20), Up: true, Attached: true,
		})
	}
	for p := range t.Partitions {
		var ids []NodeID
		for draw := uint64(p); len(ids) < 3; { // a server shares its partitions with many others
			draw = draw*6364136223846793005 + 1442695040888963407
			if id := t.Nodes[draw>>33%uint64(nodes)].ID; !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		primary, _ := t.Node(ids[0])
		t.Partitions[p] = Config{Epoch: 12, Primary: primary.Process(), ISR: ids, Target: ids}
	}
	return t
}

// afterDeath is the table once the first node is down and its partitions have
// gone to others.
func afterDeath(t *Table) *Table {
	dead := t.Nodes[0]
	c := Command{Down: []Process{dead.Process()}}
	for p, old := range t.Partitions {
		if !old.HasISR(dead.ID) {
			continue
		}
		isr := slices.DeleteFunc(slices.Clone(old.ISR), func(id NodeID) bool { return id == dead.ID })
		primary, _ := t.Node(isr[0])
		c.Change = append(c.Change, Change{Partition: Partition(p), Epoch: old.Epoch, Primary: primary.Process(), ISR: isr, Reason: "the primary is gone"})
	}
	next, res, err := t.Apply(c)
	if err != nil || len(res.Refused) > 0 {
		panic(fmt.Sprint(err, res.Refused))
	}
	return next
}

// afterJoin is the table once one copy is in sync somewhere else.
func afterJoin(t *Table) *Table {
	n := *t
	n.Revision++
	n.Partitions = slices.Clone(t.Partitions)
	n.Partitions[7].Epoch++
	return &n
}

// A change of one partition costs what one partition takes, however many servers
// there are, and the death of one server what it held.
func TestUpdatesOfALargeTableAreSmall(t *testing.T) {
	was := large(1000, MaxPartitions)
	for _, tt := range []struct {
		name string
		now  *Table
		most int
	}{{"one partition", afterJoin(was), 1 << 10}, {"a death", afterDeath(was), 256 << 10}} {
		u := tt.now.Diff(was)
		data, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > tt.most {
			t.Errorf("%s: %d bytes, want at most %d", tt.name, len(data), tt.most)
		}
		var back Update
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		got, ok := was.Merge(back)
		if d := cmp.Diff(tt.now, got); !ok || d != "" {
			t.Errorf("%s: ok %v: %s", tt.name, ok, d)
		}
	}
}

// BenchmarkUpdate is what a change of the largest table costs: the leader to find
// and encode it, and each process that follows to decode and take it. The whole
// table travels in pages.
func BenchmarkUpdate(b *testing.B) {
	for _, nodes := range []int{100, 1000} {
		was := large(nodes, MaxPartitions)
		for _, bb := range []struct {
			name      string
			base, now *Table
		}{{"whole", nil, was}, {"death", was, afterDeath(was)}, {"one-partition", was, afterJoin(was)}} {
			name := fmt.Sprintf("nodes=%d/%s", nodes, bb.name)
			data, err := json.Marshal(bb.now.Diff(bb.base))
			if err != nil {
				b.Fatal(err)
			}
			b.Run(name+"/encode", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if data, err = json.Marshal(bb.now.Diff(bb.base)); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(data)), "bytes")
			})
			b.Run(name+"/merge", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					var u Update
					if err := json.Unmarshal(data, &u); err != nil {
						b.Fatal(err)
					}
					if _, ok := bb.base.Merge(u); !ok {
						b.Fatal("refused")
					}
				}
			})
		}
	}
}

// BenchmarkApply is one server's death in the managers' log.
func BenchmarkApply(b *testing.B) {
	for _, nodes := range []int{100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d/death", nodes), func(b *testing.B) {
			t := large(nodes, MaxPartitions)
			b.ReportAllocs()
			for b.Loop() {
				afterDeath(t)
			}
		})
	}
}
