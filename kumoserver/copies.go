package kumoserver

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// loopWait is how long a question to the core loop may take.
const loopWait = time.Second

// inLoop has the core loop answer a question; ok is false when it does not in
// time.
func inLoop[T any](s *Server, f func(*core) T) (answer T, ok bool) {
	ch := make(chan T, 1)
	if !s.inbox.push(work{call: func(c *core) { ch <- f(c) }}, 0) {
		return answer, false
	}
	t := time.NewTimer(loopWait)
	defer t.Stop()
	select {
	case answer = <-ch:
		return answer, true
	case <-t.C:
	case <-s.ctx.Done():
	}
	return answer, false
}

// copies tells what this process knows of its copies of partitions.
func (s *Server) copies(data []byte) (subjects.CopiesReport, error) {
	rep := subjects.CopiesReport{ID: s.store.ID(), Boot: s.boot}
	var req subjects.CopiesRequest
	if err := json.Unmarshal(data, &req); err != nil {
		return rep, fmt.Errorf("%w: %w", subjects.ErrBadRequest, err)
	}
	if len(req.Partitions) > subjects.MaxCopies {
		return rep, fmt.Errorf("%w: %d partitions, at most %d", subjects.ErrBadRequest, len(req.Partitions), subjects.MaxCopies)
	}
	list, ok := inLoop(s, func(c *core) (list []subjects.Copy) {
		for _, id := range req.Partitions {
			list = append(list, c.copyOf(id))
		}
		return list
	})
	if !ok {
		return rep, subjects.ErrTimeout
	}
	rep.Copies = list
	return rep, nil
}

func (c *core) copyOf(id ring.Partition) subjects.Copy {
	st := c.store.State(id)
	cp := subjects.Copy{
		Partition: id, Tail: st.Tail, Commit: st.Commit, Items: c.store.Items(id),
		Incomplete: st.Incomplete, Unclean: st.Unclean,
	}
	cp.Damaged = c.store.Bad(id)
	if p := c.parts[id]; p != nil {
		ms := p.machine.Status()
		cp.Leads, cp.Unclean = ms.Leading, cp.Unclean || ms.Unclean
	}
	return cp
}
