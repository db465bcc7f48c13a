package replica_test

import (
	"fmt"
	"testing"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// BenchmarkCommit is the way of writes through a primary with two replicas,
// without store and network: propose, turn, own log durable, two answers, reply.
func BenchmarkCommit(b *testing.B) {
	for _, batch := range []int{1, 32, 128} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			p := newPrimary(b)
			value := make([]byte, 100)
			writes := make([]subjects.Write, batch)
			events := make([]replica.Propose, batch)
			for i := range writes {
				writes[i] = subjects.Write{Verb: subjects.VerbSet, Key: fmt.Appendf(nil, "key-%d", i), Value: value}
			}
			b.ReportAllocs()
			for n := 0; n < b.N; n += batch {
				for i := range events {
					events[i] = replica.Propose{ID: uint64(n + i), Write: &writes[i], Clock: 1}
					p.step(&events[i])
				}
				p.commit()
			}
			if p.replies < b.N {
				b.Fatalf("%d replies to %d writes", p.replies, b.N)
			}
		})
	}
}

// primary is a machine whose store and peers do all that is asked.
type primary struct {
	b       testing.TB
	m       *replica.Replica
	tail    subjects.Version
	replies int
	peers   [2]*subjects.PrepareReply
}

func newPrimary(b testing.TB) *primary {
	self := ring.Process{Store: 1, Boot: 1}
	p := &primary{b: b, m: replica.New(0, self, replica.State{}, newMemory(self, nil), replica.Defaults())}
	p.step(replica.Configure{Config: ring.Config{Epoch: 1, Primary: self, ISR: []ring.NodeID{1, 2, 3}}, Now: 1})
	for i := range p.peers {
		h := subjects.Header{Epoch: 1, From: ring.Process{Store: ring.NodeID(i + 2), Boot: 1}}
		p.peers[i] = &subjects.PrepareReply{Header: h, Answer: subjects.AnswerOK}
		p.step(replica.Receive{Msg: &subjects.EpochReply{Header: h, Answer: subjects.AnswerOK, Outline: subjects.Outline{{}}}, Now: 1})
	}
	return p
}

func (p *primary) step(ev replica.Event) {
	for _, e := range p.m.Step(ev) {
		switch e := e.(type) {
		case replica.Append:
			p.tail = e.Version
		case replica.Reply:
			if e.Reply.Status != subjects.StatusOK {
				p.b.Fatalf("%+v", e)
			}
			p.replies++
		}
	}
}

func (p *primary) commit() {
	p.step(replica.Turn{})
	p.step(replica.Logged{Tail: p.tail, Promised: 1})
	for _, m := range p.peers {
		m.Tail = p.tail
		p.step(replica.Receive{Msg: m, Now: 1})
	}
}
