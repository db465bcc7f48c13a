package watch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/subjects/watch"
)

// teller is somebody who knows a table, reached without a bus. Its page count and
// largest page are what a bus would carry.
type teller struct {
	table          *ring.Table
	pages, largest int
}

func (c *teller) Subscribe(string, func([]byte)) (func(), error) { return func() {}, nil }

func (c *teller) Request(_ context.Context, _ string, req []byte) ([]byte, error) {
	data := watch.Answer(c.table, req, 1024)
	c.pages++
	c.largest = max(c.largest, len(data))
	return data, nil
}

// huge is the largest table: every configuration in the midst of a move with as
// many copies as may be, and 1,000 nodes with long names.
func huge() *ring.Table {
	t := &ring.Table{Cluster: "kumo", ClusterID: 7, Revision: 9, Replicas: ring.MaxReplicas, Partitions: make([]ring.Config, ring.MaxPartitions)}
	host := strings.Repeat("long-", 12)
	for i := range 1000 {
		addr := fmt.Sprintf("%s%d.example.net:19800", host, i)
		t.Nodes = append(t.Nodes, ring.Node{
			ID: ring.NodeID(1<<60 + i), Boot: ring.BootID(1<<60 + i), Name: strings.NewReplacer(".", "-", ":", "-").Replace(addr),
			Addr: addr, Proof: addr, Zone: host, Up: true, Attached: true,
		})
	}
	for p := range t.Partitions {
		var sync, joining []ring.NodeID
		for i := range ring.MaxReplicas {
			sync = append(sync, t.Nodes[(p+i)%1000].ID)
			joining = append(joining, t.Nodes[(p+i+10)%1000].ID)
		}
		t.Partitions[p] = ring.Config{
			Epoch: 1 << 40, Primary: ring.Process{Store: sync[0], Boot: 1 << 60}, ISR: sync, Learners: joining, Target: joining,
			Unclean: sync, Loss: true, LossAt: 1 << 40, Forced: true, Disputed: true,
		}
	}
	return t
}

// The largest table reaches who asks for it, in messages of which each is well
// below what the bus carries.
func TestLargestTableComesInPages(t *testing.T) {
	c := &teller{table: huge()}
	got := make(chan *ring.Table, 1)
	w, err := watch.Start(watch.Options{Conn: c, Cluster: "kumo", Poll: time.Hour, OnTable: func(t *ring.Table) { got <- t }})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case table := <-got:
		if d := cmp.Diff(c.table, table); d != "" {
			t.Error(d)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the table never came")
	}
	w.Close()
	t.Logf("%d pages, the largest of %d bytes", c.pages, c.largest)
	if c.largest > 1<<20 {
		t.Errorf("a page of %d bytes", c.largest)
	}
}

func TestAnswerWithNothingNewer(t *testing.T) {
	table := huge()
	for name, tt := range map[string]struct {
		table *ring.Table
		req   string
		want  subjects.RingReply
	}{
		"nothing newer": {table, `{"have":9}`, subjects.RingReply{}},
		"no table":      {nil, "", subjects.RingReply{Error: subjects.ToWire(subjects.ErrNoCluster)}},
		"rubbish":       {table, "rubbish", subjects.RingReply{Error: subjects.ToWire(subjects.ErrBadRequest)}},
	} {
		var got subjects.RingReply
		if err := json.Unmarshal(watch.Answer(tt.table, []byte(tt.req), 10), &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	for _, from := range []int{-1, ring.MaxPartitions, 1 << 40} {
		data, _ := json.Marshal(subjects.RingGet{From: from})
		var got subjects.RingReply
		if err := json.Unmarshal(watch.Answer(table, data, 10), &got); err != nil || got.Update == nil || got.Update.Next < 0 {
			t.Errorf("from %d: %+v, %v", from, got.Error, err)
		}
	}
}
