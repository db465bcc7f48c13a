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
// primary's. A learner that is told to begin anew does so only if it cannot go
// on otherwise: a late repeat must not destroy what has been copied, and perhaps
// acknowledged, since.
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
	r.leader, r.ack = m.From, false
	rep := &subjects.EpochReply{Answer: subjects.AnswerOK}
	shared, ok := r.shared(m)
	r.faulty = !ok
	switch {
	case m.Restart && slices.Contains(m.Learners, r.self.Store) && (!ok || shared.Seq < m.Base.Seq):
		r.reset(m.Epoch, m.Base)
	case !ok:
		r.promise(m.Epoch)
		rep.Answer = subjects.AnswerFault
	case shared == r.tail:
		r.promise(m.Epoch)
	default:
		r.cut(m.Epoch, shared)
	}
	if ok && r.unclean {
		r.unclean = false
		r.emit(Clean{})
	}
	rep.Header = r.header()
	rep.Outline = slices.Clone(r.outline)
	rep.Incomplete, rep.Cursor, rep.Try = r.incomplete, r.cursor, m.Try
	r.send(m.From.Store, rep, true)
}

// shared returns the last entry that this log shares with its new primary's; ok
// is false when the copy cannot go on from there. A message that is late, or
// repeated, finds nothing to cut: a log with entries of the epoch itself was
// cut before they came and is a prefix of the primary's, which has grown since
// it wrote the message.
func (r *Replica) shared(m *subjects.EpochStart) (_ subjects.Version, ok bool) {
	switch {
	case r.damaged:
		return subjects.Version{}, false
	case r.unclean && (m.Epoch == r.promised || !slices.Contains(m.Learners, r.self.Store)):
		// Only a later epoch that it is a learner of owes nothing to what it
		// acknowledged; then what is left of its log is as good as any prefix.
		return subjects.Version{}, false
	case r.tail.Epoch == m.Epoch:
		return r.tail, true
	}
	shared, ok := r.outline.Shared(m.Outline)
	if ok && shared.Seq < r.commit {
		r.emit(Fault{fmt.Sprintf("primary %s shares the log only to %s, but %d is committed here", m.From, shared, r.commit)})
		return shared, false
	}
	return shared, ok
}

// cut drops the entries after an entry, in one record with the promise.
func (r *Replica) cut(e ring.Epoch, after subjects.Version) {
	r.promised = max(r.promised, e)
	r.outline = r.outline.Cut(after)
	r.tail = after
	r.durable = min(r.durable, after.Seq)
	r.emit(Cut{e, after})
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
	r.incomplete, r.cursor = true, nil
	r.unclean, r.damaged, r.faulty = false, false, false
	r.emit(Reset{e, base})
}

func (r *Replica) refuse(to ring.NodeID) {
	r.send(to, &subjects.PrepareReply{Header: r.header(), Answer: subjects.AnswerRefused, Tail: r.tail}, false)
}

// follows reports whether a message is of the promised epoch and of the process
// that began it; otherwise it is refused. A faulty log takes nothing, so that
// nothing false is told: its primary, who may have missed that, is refused too.
func (r *Replica) follows(h *subjects.Header) bool {
	if h.Epoch == r.promised && h.From == r.leader && r.lead == nil && !r.faulty {
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
