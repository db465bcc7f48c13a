package ring

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawTable is what a short random history leaves, and an earlier state of it.
func drawTables(t *rapid.T) (old, now *Table) {
	now = mustApply(t, nil,
		Command{Init: &Init{Cluster: "k", ClusterID: 7, Partitions: 4, Replicas: 3}},
		Command{Seen: []Sighting{{Node: node(1, 1)}, {Node: node(2, 1)}, {Node: node(3, 1)}}})
	old = now
	for i := range rapid.IntRange(0, 10).Draw(t, "commands") {
		now, _, _ = now.Apply(drawCommand(t, now))
		if i == 4 {
			old = now
		}
	}
	return old, now
}

func wire(t *rapid.T, u Update) Update {
	b, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	var out Update
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMergeUndoesDiff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, now := drawTables(t)
		for _, base := range []*Table{nil, old} {
			got, ok := base.Merge(wire(t, now.Diff(base)))
			if d := cmp.Diff(now, got); !ok || d != "" {
				t.Fatalf("ok %v: %s", ok, d)
			}
		}
		if got, ok := now.Merge(wire(t, old.Diff(nil))); !ok || got != now {
			t.Fatal("an older update changed a newer table")
		}
	})
}

func TestMergeRefuses(t *testing.T) {
	a := small(t)
	b := mustApply(t, a, Command{Down: []Process{{1, 11}}})
	c := mustApply(t, b, Command{Down: []Process{{2, 21}}})
	foreign := b.Diff(nil)
	foreign.Head.ClusterID = 8
	part := b.Diff(nil)
	part.Next = 3
	nobody := b.Diff(nil)
	nobody.SameNodes = true
	short := b.Diff(nil)
	short.Changed = short.Changed[1:]
	for name, u := range map[string]Update{
		"missed one": c.Diff(b), "another cluster": foreign, "a part": part, "nodes of no table": nobody, "not all": short, "absurd size": {Revision: 99, Head: Table{ClusterID: 9}, Size: 1 << 30},
	} {
		if got, ok := a.Merge(u); ok || got != a {
			t.Errorf("%s: was taken", name)
		}
	}
	if got, ok := (*Table)(nil).Merge(c.Diff(b)); ok || got != nil {
		t.Error("a difference was taken without a base")
	}
}

func TestOfSpreadsKeys(t *testing.T) {
	const n, keys = 256, 1 << 16
	var count [n]int
	for i := range keys {
		count[Of(fmt.Appendf(nil, "key-%d", i), n)]++
	}
	for p, c := range count {
		if c < keys/n/2 || c > keys/n*2 {
			t.Errorf("partition %d has %d of %d keys", p, c, keys)
		}
	}
	if Of([]byte("a"), 256) != 0xd24ec4f1a98c6e5b%256 { // XXH64("a") as published
		t.Error("the hash of a key has changed: data would no longer be found")
	}
}

func TestIdentitiesInJSON(t *testing.T) {
	in := Process{Store: 1<<63 + 1, Boot: 0xfedcba9876543211}
	b, _ := json.Marshal(in)
	if string(b) != `{"node":"8000000000000001","boot":"fedcba9876543211"}` {
		t.Fatal(string(b))
	}
	var out Process
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Fatal(out, err)
	}
	if _, err := ParseNodeID("not hex"); err == nil {
		t.Fatal("took rubbish as an identity")
	}
}
