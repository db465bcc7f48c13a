package replica

import (
	"bytes"
	"strconv"

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
		e := &subjects.Entry{Kind: subjects.EntryFlush}
		l.prepare(r, ev.ID, e, subjects.Reply{Status: subjects.StatusOK}, clock, w)
		return
	}
	cur, found, open, err := r.newest(w.Key)
	if err != nil {
		if !blind(w) {
			r.answer(ev.ID, r.unreadable())
			return
		}
		found = true
	}
	expired := found && over(cur.Expiry, clock)
	e, reply := judge(w, cur, found && !expired, clock)
	switch {
	case e != nil:
		l.prepare(r, ev.ID, e, reply, clock, w)
	case expired:
		// The failing answer depends on the key's end, which is logged first.
		e = &subjects.Entry{Kind: subjects.EntryDelete, Key: w.Key}
		l.prepare(r, ev.ID, e, reply, clock, w)
	case w.Attempt > 1 && w.Op.Boot != 0:
		// An attempt that is late must find what this one was told.
		e = &subjects.Entry{Kind: subjects.EntryAnswer, Key: w.Key}
		l.prepare(r, ev.ID, e, reply, clock, w)
	case open:
		l.wait(r, ev.ID, reply)
	case !l.reads(r):
		r.answer(ev.ID, subjects.StatusRetry)
	case r.o.Confirm:
		reply.Epoch = l.epoch
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

// told is the answer that was recorded.
func told(a subjects.Recorded, e ring.Epoch) subjects.Reply {
	rep := subjects.Reply{Status: a.Status, Value: a.Value, Flags: a.Flags, Expiry: a.Expiry, Epoch: e}
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
		e := &subjects.Entry{Kind: subjects.EntryDelete, Key: ev.Key}
		l.prepare(r, ev.ID, e, gone, clock, &subjects.Write{})
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

// blind reports whether the result of a write does not depend on the value that
// there was, so that it mends a record that cannot be read.
func blind(w *subjects.Write) bool {
	return w.Cas == 0 && (w.Verb == subjects.VerbSet || w.Verb == subjects.VerbDelete)
}

// unreadable is the answer where a stored record is damaged: another copy may
// have it, and will soon lead.
func (r *Replica) unreadable() subjects.Status {
	if len(r.able()) > 0 {
		return subjects.StatusRetry
	}
	return subjects.StatusCorrupt
}

// prepare makes e the newest entry of the log. The reply waits for its commit.
func (l *lead) prepare(r *Replica, id uint64, e *subjects.Entry, reply subjects.Reply, clock int64, w *subjects.Write) {
	e.Partition, e.Prev = r.p, r.tail
	e.Version = subjects.Version{Epoch: l.epoch, Seq: r.tail.Seq + 1}
	e.Op, e.Clock, e.Answer, e.Returns = w.Op, clock, reply.Status, returns(w.Verb, reply.Status)
	e.Encode(make([]byte, 0, len(e.Key)+len(e.Value)+128))
	r.append(e)
	l.prepared(e)
	if reply.Status == subjects.StatusOK {
		reply.Cas = e.CAS()
	}
	reply.Epoch = l.epoch
	if w.Options&subjects.OptionEarly != 0 {
		r.emit(Reply{ID: id, Reply: reply})
		return
	}
	l.ops = append(l.ops, op{id, e.Version.Seq, reply})
}

// returns says what the answer to a repeat must carry.
func returns(v subjects.Verb, s subjects.Status) subjects.Returns {
	switch {
	case s != subjects.StatusOK:
		return subjects.ReturnsNothing
	case v == subjects.VerbTouch:
		return subjects.ReturnsValue
	case v == subjects.VerbIncr || v == subjects.VerbDecr:
		return subjects.ReturnsCounter
	}
	return subjects.ReturnsNothing
}

// judge returns the entry that a write makes, or nil when it fails, and its
// answer. It is memcached's table of outcomes; cur is the value there is.
func judge(w *subjects.Write, cur subjects.Record, found bool, clock int64) (*subjects.Entry, subjects.Reply) {
	if s := condition(w, cur, found); s != 0 {
		return nil, subjects.Reply{Status: s}
	}
	put := &subjects.Entry{Kind: subjects.EntryPut, Key: w.Key, Value: w.Value, Flags: w.Flags, Expiry: Absolute(w.Exptime, clock)}
	ok := subjects.Reply{Status: subjects.StatusOK}
	switch w.Verb {
	case subjects.VerbSet, subjects.VerbAdd, subjects.VerbReplace:
	case subjects.VerbAppend, subjects.VerbPrepend:
		limit := int(w.MaxItem)
		if limit == 0 {
			limit = subjects.DefaultMaxItem
		}
		if len(cur.Value)+len(w.Value) > limit {
			return nil, subjects.Reply{Status: subjects.StatusTooLarge}
		}
		a, b := cur.Value, w.Value
		if w.Verb == subjects.VerbPrepend {
			a, b = b, a
		}
		put.Value = append(append(make([]byte, 0, len(a)+len(b)), a...), b...)
		put.Flags, put.Expiry = cur.Flags, cur.Expiry
	case subjects.VerbDelete:
		return &subjects.Entry{Kind: subjects.EntryDelete, Key: w.Key}, ok
	case subjects.VerbIncr, subjects.VerbDecr:
		return count(w, cur, found, put)
	case subjects.VerbTouch:
		put.Value, put.Flags = cur.Value, cur.Flags
		ok.Value, ok.Flags, ok.Expiry = cur.Value, cur.Flags, put.Expiry
	default:
		return nil, subjects.Reply{Status: subjects.StatusBad}
	}
	if put.Expiry < 0 { // over already
		put.Kind, put.Expiry = subjects.EntryDelete, 0
	}
	return put, ok
}

// condition returns why a write does not apply, or 0.
func condition(w *subjects.Write, cur subjects.Record, found bool) subjects.Status {
	if !found {
		switch w.Verb {
		case subjects.VerbReplace, subjects.VerbAppend, subjects.VerbPrepend:
			return subjects.StatusNotStored
		case subjects.VerbDelete, subjects.VerbTouch:
			return subjects.StatusNotFound
		case subjects.VerbIncr, subjects.VerbDecr:
			if w.Options&subjects.OptionVivify == 0 {
				return subjects.StatusNotFound
			}
		}
		if w.Cas != 0 {
			return subjects.StatusNotFound
		}
		return 0
	}
	if w.Verb == subjects.VerbAdd {
		return subjects.StatusNotStored
	}
	if w.Cas != 0 && w.Cas != cur.CAS() {
		return subjects.StatusExists
	}
	return 0
}

// count increments or decrements. A counter keeps its length: one that gets
// shorter is padded with spaces, as in memcached.
func count(w *subjects.Write, cur subjects.Record, found bool, put *subjects.Entry) (*subjects.Entry, subjects.Reply) {
	v := w.Initial
	if found {
		n, ok := subjects.ParseUint(cur.Value)
		switch {
		case !ok:
			return nil, subjects.Reply{Status: subjects.StatusNonNumeric}
		case w.Verb == subjects.VerbIncr:
			v = n + w.Delta // wraps at 2^64
		case n < w.Delta:
			v = 0
		default:
			v = n - w.Delta
		}
		put.Flags, put.Expiry = cur.Flags, cur.Expiry
	}
	digits := strconv.AppendUint(make([]byte, 0, 20), v, 10)
	put.Value = digits
	if pad := len(cur.Value) - len(digits); found && pad > 0 {
		put.Value = append(bytes.Clone(digits), bytes.Repeat([]byte{' '}, pad)...)
	}
	return put, subjects.Reply{Status: subjects.StatusOK, Value: digits}
}

// monthSeconds divides relative from absolute expiry times, as in memcached.
const monthSeconds = 60 * 60 * 24 * 30

// Absolute turns a client's expiry time into Unix seconds: 0 is never, up to 30
// days is from now, more is absolute, and -1 means that it is over already. An
// absolute time in the past is over too. The clock is in Unix milliseconds.
func Absolute(exptime, clock int64) int64 {
	switch {
	case exptime == 0:
		return 0
	case exptime < 0:
		return -1
	case exptime <= monthSeconds:
		return clock/1000 + exptime
	case exptime <= clock/1000:
		return -1
	}
	return exptime
}

// over reports whether a time of expiry has come.
func over(expiry, clock int64) bool { return expiry != 0 && expiry <= clock/1000 }

// Expired reports whether a record's time is over at a clock in Unix
// milliseconds.
func Expired(rec *subjects.Record, clock int64) bool { return over(rec.Expiry, clock) }
