package replica

import (
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// propose judges a write against the newest prepared value of its key and
// prepares its result. The answer waits until everything that it depends on has
// committed.
func (r *Replica) propose(ev *Propose) {
	l, w := r.lead, ev.Write
	switch {
	case l == nil:
		r.answer(ev.ID, subjects.StatusNotPrimary)
		return
	case w.Epoch > l.epoch || len(l.ops) >= r.o.Waiting:
		r.answer(ev.ID, subjects.StatusRetry)
		return
	}
	if r.repeated(ev) {
		return
	}
	clock := max(ev.Clock, r.Clock())
	if w.Verb == subjects.VerbFlush {
		l.prepare(r, ev.ID, &subjects.Entry{Kind: subjects.EntryFlush, Answer: subjects.StatusOK}, clock, w)
		return
	}
	var cur subjects.Record
	var found, open bool
	if !certain(w) {
		var err error
		if cur, found, open, err = r.newest(w.Key); err != nil {
			if !mends(w) {
				r.answer(ev.ID, r.unreadable())
				return
			}
			found = true
		}
	}
	expired := found && over(cur.Expiry, clock)
	e := judge(w, cur, found && !expired, clock)
	reply := told(e.Recorded(), l.epoch)
	switch {
	case e.Kind != subjects.EntryAnswer:
		l.prepare(r, ev.ID, e, clock, w)
	case expired:
		// The failing answer depends on the key's end, which is logged first.
		e.Kind = subjects.EntryDelete
		l.prepare(r, ev.ID, e, clock, w)
	case w.Attempt > 1 && w.Op.Boot != 0:
		// An attempt that is late must find what this one was told.
		l.prepare(r, ev.ID, e, clock, w)
	case open:
		l.wait(r, ev.ID, reply)
	case !l.reads(r):
		r.answer(ev.ID, subjects.StatusRetry)
	case r.o.Confirm:
		r.confirm(&Confirm{ID: ev.ID, Epoch: l.epoch, Reply: reply, Now: r.now})
	default:
		r.emit(Reply{ID: ev.ID, Reply: reply, Until: l.leased()})
	}
}

// repeated answers an operation that has already made an entry, or that its
// gateway no longer waits for.
func (r *Replica) repeated(ev *Propose) bool {
	l, op := r.lead, ev.Write.Op
	if op.Boot == 0 {
		return false
	}
	if e := l.byOp[opKey{op.Boot, op.N}]; e != nil {
		l.wait(r, ev.ID, told(e.Recorded(), l.epoch))
		return true
	}
	a, past := r.log.Session(op)
	switch past {
	case subjects.PastDone:
		r.emit(Reply{ID: ev.ID, Reply: told(a, l.epoch)})
	case subjects.PastOver:
		r.answer(ev.ID, subjects.StatusUnknown)
	}
	return past != subjects.PastUnknown
}

// told is the answer to an operation that was recorded, the same to its first
// attempt as to any other.
func told(a subjects.Recorded, e ring.Epoch) subjects.Reply {
	rep := subjects.Reply{Status: a.Status, Value: a.Value, Flags: a.Flags, Expiry: a.Expiry, Epoch: e, Marks: a.Marks, Size: a.Size}
	if a.Status == subjects.StatusOK {
		rep.Cas = a.CAS()
	}
	return rep
}

// wait answers an operation once all that is in the log now has committed.
func (l *lead) wait(r *Replica, id uint64, reply subjects.Reply) {
	l.ops = append(l.ops, op{id, r.tail.Seq, reply})
}

// expire deletes a key whose time is over. Anything else is told to read again.
func (r *Replica) expire(ev *Expire) {
	l := r.lead
	if l == nil {
		r.answer(ev.ID, subjects.StatusNotPrimary)
		return
	}
	clock := max(ev.Clock, r.Clock())
	cur, found, open, err := r.newest(ev.Key)
	gone := subjects.Reply{Status: subjects.StatusNotFound, Epoch: l.epoch}
	switch {
	case err != nil:
		r.answer(ev.ID, r.unreadable())
	case found && over(cur.Expiry, clock):
		e := &subjects.Entry{Kind: subjects.EntryDelete, Key: ev.Key, Answer: gone.Status}
		l.prepare(r, ev.ID, e, clock, &subjects.Write{})
	case !found && open:
		l.wait(r, ev.ID, gone)
	default:
		r.answer(ev.ID, subjects.StatusRetry)
	}
}

func (r *Replica) answer(id uint64, s subjects.Status) {
	r.emit(Reply{ID: id, Reply: subjects.Reply{Status: s, Epoch: r.config.Epoch}})
}

// newest returns the newest prepared or else committed value of a key; open
// tells that it is not committed yet.
func (r *Replica) newest(key []byte) (rec subjects.Record, found, open bool, err error) {
	if e, ok := r.lead.newest[string(key)]; ok {
		return e.Record(), e.Kind == subjects.EntryPut, true, nil
	}
	if r.lead.flushed != nil {
		return rec, false, true, nil
	}
	rec, found, err = r.log.Get(key)
	return rec, found, false, err
}

// certain reports whether a write has the same outcome whatever there was, so that
// nobody need look.
func certain(w *subjects.Write) bool { return w.Verb == subjects.VerbSet && w.Cas == 0 }

// mends reports whether a write can take the place of a record that cannot be
// read.
func mends(w *subjects.Write) bool {
	return w.Verb == subjects.VerbDelete && w.Cas == 0 && w.Options&(subjects.OptionStale|subjects.OptionEmpty) == 0
}

// unreadable is the answer where a stored record is damaged: another copy may
// have it, and will soon lead.
func (r *Replica) unreadable() subjects.Status {
	if len(r.able()) > 0 {
		return subjects.StatusRetry
	}
	return subjects.StatusCorrupt
}

// prepare makes e the newest entry of the log. Its answer waits for its commit.
func (l *lead) prepare(r *Replica, id uint64, e *subjects.Entry, clock int64, w *subjects.Write) {
	e.Partition, e.Prev = r.p, r.tail
	e.Version = subjects.Version{Epoch: l.epoch, Seq: r.tail.Seq + 1}
	e.Op, e.Clock = w.Op, clock
	e.Encode(make([]byte, 0, len(e.Key)+len(e.Value)+128))
	r.append(e)
	l.prepared(e)
	reply := told(e.Recorded(), l.epoch)
	if w.Options&subjects.OptionEarly != 0 {
		r.emit(Reply{ID: id, Reply: reply})
		return
	}
	l.ops = append(l.ops, op{id, e.Version.Seq, reply})
}
