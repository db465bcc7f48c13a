package testenv_test

import (
	"testing"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/testenv"
)

// Messages of another cluster, another wire version and a lower epoch reach a
// server, which refuses and counts them, and keeps what it has.
func TestForeignMessagesAreRefused(t *testing.T) {
	t.Parallel()
	c := testenv.New(t)
	c.EventuallyWhole()
	c.Set("k", "v")
	table := c.Table()
	p := table.Of([]byte("k"))
	config := table.Partitions[p]
	replica, _ := table.Node(other(config.ISR, config.Primary.Store))
	l := c.Layout()
	b, err := bus.Dial(bus.DialOptions{Name: "stranger", URLs: l.Addrs(subjects.RoleManager)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	cluster := subjects.Cluster(l.Cluster)
	subject := cluster.Part(replica.Name, p, subjects.VerbPrepare)

	// prepare sends an entry that would follow what the replica has.
	prepare := func(id uint64, e ring.Epoch) {
		t.Helper()
		entry := &subjects.Entry{Partition: p, Version: subjects.Version{Epoch: e, Seq: 2}, Prev: subjects.Version{Epoch: config.Epoch, Seq: 1}, Kind: subjects.EntryPut, Key: []byte("k"), Value: []byte("false")}
		entry.Encode(nil)
		m := subjects.Prepare{Header: subjects.Header{Partition: p, Epoch: e, From: config.Primary, Commit: 2}, Prev: entry.Prev, Entries: []*subjects.Entry{entry}}
		o := b.NewOutbox(func() uint64 { return id })
		o.End(m.Append(o.Begin(replica.Name, subject, "", 0)))
		if err := o.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	stat := func() (frames, messages uint64) {
		t.Helper()
		var s struct {
			Refused uint64
			Bus     bus.Stats
		}
		c.Stat(replica.Name, &s)
		return s.Bus.RefusedFrames, s.Refused
	}
	frames, messages := stat()
	prepare(uint64(table.ClusterID)+1, config.Epoch)
	if err := b.Publish(subject, []byte{0x94, 99, 0, 0xa0, 0x90}); err != nil {
		t.Fatal(err)
	}
	c.Eventually("frames of another cluster and version are counted", func() bool {
		now, _ := stat()
		return now == frames+2
	})
	prepare(uint64(table.ClusterID), config.Epoch-1)
	c.Eventually("a message of a lower epoch is counted", func() bool {
		_, now := stat()
		return now == messages+1
	})
	if v := c.Get("k"); v != "v" {
		t.Errorf("k is %q", v)
	}
}

func other(ids []ring.NodeID, not ring.NodeID) ring.NodeID {
	for _, id := range ids {
		if id != not {
			return id
		}
	}
	return 0
}
