package replica_test

import (
	"testing"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// A learner far behind is sent messages that it can decode, however small the
// entries are, and one after the other makes the whole log.
func TestManySmallEntries(t *testing.T) {
	const entries = 3*subjects.MaxEntries + 5
	self, learner := ring.Process{Store: 1, Boot: 1}, ring.Process{Store: 2, Boot: 1}
	log := newMemory(self, subjects.Outline{{}, {Epoch: 1, Seq: entries}})
	o := replica.Defaults()
	o.Chunk = subjects.MaxRange // more than is decoded, if entries are small
	m := replica.New(0, self, replica.State{Promised: 1, Outline: log.state.Outline, Commit: entries}, log, o)
	m.Step(replica.Configure{Config: ring.Config{Epoch: 2, Primary: self, ISR: []ring.NodeID{1}, Learners: []ring.NodeID{2}}, Now: 1})
	tail := subjects.Version{Epoch: 1, Seq: 1}
	m.Step(replica.Receive{Msg: &subjects.EpochReply{
		Header: subjects.Header{Epoch: 2, From: learner}, Answer: subjects.AnswerOK, Outline: subjects.Outline{{}, tail},
	}, Now: 1})
	for range 4 {
		sent := 0
		for _, e := range m.Step(replica.Turn{}) {
			send, ok := e.(replica.Send)
			if !ok {
				continue
			}
			var p subjects.Prepare
			if err := p.Decode(send.Msg.Append(nil)); err != nil {
				t.Fatal(err)
			}
			if p.Prev != tail {
				t.Fatalf("a message after %s begins after %s", tail, p.Prev)
			}
			tail = p.Entries[len(p.Entries)-1].Version
			sent++
		}
		if sent > 1 {
			t.Fatalf("%d messages of old entries in one turn: everybody waits while they are read", sent)
		}
		m.Step(replica.Receive{Msg: &subjects.PrepareReply{Header: subjects.Header{Epoch: 2, From: learner}, Tail: tail}, Now: 1})
	}
	if tail.Seq != entries {
		t.Errorf("sent to %s of %d", tail, entries)
	}
}
