package replica

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// epochStart promises an epoch to its primary and makes the log a prefix of the
// primary's.
func (r *Replica) epochStart(m *subjects.EpochStart) {
	if m.Epoch < r.promised || m.Epoch == r.promised && !r.leader.Zero() && r.leader != m.From {
		r.refuse(m.From.Store)
		return
	}
	if m.From == r.self {
		return
	}
	if m.Epoch > r.config.Epoch {
		// The message was faster than the ring, and says what the ring will.
		r.config = ring.Config{Epoch: m.Epoch, Primary: m.From, ISR: m.ISR, Learners: m.Learners}
	}
	r.stepDown()
	learner := slices.Contains(m.Learners, r.self.Store)
	fresh := m.Epoch > r.promised || r.leader.Zero()
	r.leader, r.ack = m.From, false
	rep := &subjects.EpochReply{Answer: subjects.AnswerOK}
	switch {
	case m.Restart && learner:
		stream := begun{m.Epoch, m.Base}
		if r.begun.epoch == m.Epoch && m.Base.Seq < r.begun.base.Seq {
			return // a late repeat of an earlier stream's start
		}
		if r.begun != stream {
			r.begun = stream
			r.reset(m.Epoch, m.Base)
		}
	case r.unclean:
		r.promise(m.Epoch)
		rep.Answer = subjects.AnswerFault
	default:
		rep.Answer = r.cutTo(m, fresh)
	}
	rep.Header = r.header()
	rep.Outline = slices.Clone(r.outline)
	rep.Incomplete, rep.Cursor = r.incomplete, r.cursor
	r.send(m.From.Store, rep, true)
}

// cutTo drops what the primary does not have, in one record with the promise.
func (r *Replica) cutTo(m *subjects.EpochStart, fresh bool) subjects.Answer {
	shared, ok := r.outline.Shared(m.Outline)
	if !ok {
		r.promise(m.Epoch)
		return subjects.AnswerFault
	}
	if shared == r.tail {
		r.promise(m.Epoch)
		return subjects.AnswerOK
	}
	if !fresh {
		// A repeat: since the first, entries of the epoch itself have come.
		return subjects.AnswerOK
	}
	if shared.Seq < r.commit {
		r.promise(m.Epoch)
		r.emit(Fault{fmt.Sprintf("primary %s shares the log only to %s, but %d is committed here", m.From, shared, r.commit)})
		return subjects.AnswerFault
	}
	r.promised = max(r.promised, m.Epoch)
	r.outline = r.outline.Cut(shared)
	r.tail = shared
	r.durable = min(r.durable, shared.Seq)
	r.emit(Cut{m.Epoch, shared})
	return subjects.AnswerOK
}

func (r *Replica) promise(e ring.Epoch) {
	if e > r.promised {
		r.promised = e
		r.emit(Promise{e})
	}
}

func (r *Replica) reset(e ring.Epoch, base subjects.Version) {
	r.promised = max(r.promised, e)
	r.outline = subjects.Outline{base}
	r.tail, r.commit, r.durable = base, base.Seq, base.Seq
	r.incomplete, r.cursor, r.unclean = true, nil, false
	r.emit(Reset{e, base})
}

func (r *Replica) refuse(to ring.NodeID) {
	r.send(to, &subjects.PrepareReply{Header: r.header(), Answer: subjects.AnswerRefused, Tail: r.tail}, false)
}

// follows reports whether a message is of the promised epoch and of the process
// that began it; otherwise it is refused.
func (r *Replica) follows(h *subjects.Header) bool {
	if h.Epoch == r.promised && h.From == r.leader && r.lead == nil {
		return true
	}
	if h.From != r.self {
		r.refuse(h.From.Store)
	}
	return false
}

// prepare takes entries that continue the log. One that is there already is
// acknowledged again; a gap is answered with the tail.
func (r *Replica) prepare(m *subjects.Prepare) {
	if !r.follows(&m.Header) {
		return
	}
	for _, e := range m.Entries {
		switch {
		case e.Version.Seq <= r.tail.Seq:
			// In this epoch the log is a prefix of the primary's: it is the same.
		case e.Prev != r.tail:
			r.gap(m.From.Store)
			return
		default:
			r.append(e)
		}
	}
	if len(m.Entries) == 0 && m.Prev.Seq > r.tail.Seq {
		r.gap(m.From.Store)
		return
	}
	r.commitTo(min(m.Commit, r.tail.Seq))
	r.ack = true
}

func (r *Replica) gap(to ring.NodeID) {
	r.ack = false
	r.send(to, &subjects.PrepareReply{Header: r.header(), Answer: subjects.AnswerGap, Tail: r.tail}, true)
}

// takeRange installs the range at the cursor. The range holds what was
// committed through m.Through; what this log has committed since is put on top,
// so that nothing that came while the range was on its way is lost.
func (r *Replica) takeRange(m *subjects.Range) {
	if !r.follows(&m.Header) {
		return
	}
	rep := &subjects.RangeReply{Answer: subjects.AnswerOK}
	if r.incomplete && bytes.Equal(m.From, r.cursor) && (m.Last || bytes.Compare(m.From, m.To) < 0) {
		if r.catchUp(m) {
			r.incomplete, r.cursor = !m.Last, nil
			if !m.Last {
				r.cursor = bytes.Clone(m.To)
			}
			r.emit(Install{m})
		} else {
			rep.Answer = subjects.AnswerGap
		}
	}
	rep.Header, rep.Cursor, rep.Complete = r.header(), r.cursor, !r.incomplete
	r.send(m.Header.From.Store, rep, true)
}

// catchUp brings the range from m.Through up to what is committed here. It
// fails when the log no longer reaches back so far; the range is then read anew.
func (r *Replica) catchUp(m *subjects.Range) bool {
	if m.Through >= r.commit {
		return true
	}
	byKey := make(map[string]*subjects.Record, len(m.Records))
	for i := range m.Records {
		byKey[string(m.Records[i].Key)] = &m.Records[i]
	}
	for next := m.Through + 1; next <= r.commit; {
		entries, ok := r.log.Entries(next, subjects.MaxRange)
		if !ok || len(entries) == 0 {
			return false
		}
		for _, e := range entries {
			if e.Version.Seq > r.commit {
				break
			}
			switch inside := bytes.Compare(e.Key, m.From) >= 0 && (m.Last || bytes.Compare(e.Key, m.To) < 0); {
			case e.Kind == subjects.EntryFlush:
				clear(byKey)
			case e.Kind == subjects.EntryPut && inside:
				rec := e.Record()
				byKey[string(e.Key)] = &rec
			case e.Kind == subjects.EntryDelete && inside:
				delete(byKey, string(e.Key))
			}
		}
		next = entries[len(entries)-1].Version.Seq + 1
	}
	records := make([]subjects.Record, 0, len(byKey))
	for _, k := range slices.Sorted(maps.Keys(byKey)) {
		records = append(records, *byKey[k])
	}
	m.Records, m.Through = records, r.commit
	return true
}
