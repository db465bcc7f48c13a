package kumoserver

import (
	"time"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// readNow answers a read from within the process on the goroutine that asks. What
// has to wait, or needs more than a look at the store, is left to the reader.
func (s *Server) readNow(body []byte) (answer []byte, ok bool) {
	var m subjects.Read
	if s.o.Replica.Confirm || m.Decode(body) != nil {
		return nil, false
	}
	lead, status := s.readable(m.Partition, m.Epoch, m.Key, 0)
	if status != subjects.StatusOK {
		return nil, false
	}
	rec, found, err := s.store.Get(m.Partition, m.Key)
	if err != nil {
		return nil, false
	}
	// As in found, and for the same reason, only now.
	if after, status := s.readable(m.Partition, m.Epoch, m.Key, boottime()); status != subjects.StatusOK || after != lead {
		return nil, false
	}
	rep := subjects.Reply{Status: subjects.StatusNotFound, Epoch: m.Epoch}
	if found {
		clock := time.Now().UnixMilli()
		if replica.Expired(&rec, clock+s.serving[m.Partition].ahead.Load()) {
			return nil, false
		}
		rep.Fill(&rec)
		rep.Idle, rep.Hit = s.recent.read(ring.Hash(m.Key), clock, !m.Peek)
	}
	s.gets.Add(1)
	return rep.Append(make([]byte, 0, len(rep.Value)+replyHead)), true
}

// replyHead is about how many bytes an answer to a read has beside its value.
const replyHead = 64
