package replica

import (
	"bytes"
	"strconv"

	"github.com/etolabo/kumofs/subjects"
)

// judge returns what comes of a write as an entry: what is to be logged, and
// what its client is told. Where the write fails, or changes nothing, that is an
// EntryAnswer, which need not go into the log. It is memcached's table of
// outcomes; cur is the value there is.
func judge(w *subjects.Write, cur subjects.Record, found bool, clock int64) *subjects.Entry {
	e := &subjects.Entry{Kind: subjects.EntryAnswer, Key: w.Key, Answer: condition(w, cur, found)}
	if e.Answer != 0 {
		return e
	}
	e.Kind, e.Answer = subjects.EntryPut, subjects.StatusOK
	if w.Options&subjects.OptionToken != 0 {
		e.Token = w.Token
	}
	switch w.Verb {
	case subjects.VerbSet, subjects.VerbAdd, subjects.VerbReplace:
		store(e, w, cur, found, clock)
	case subjects.VerbAppend, subjects.VerbPrepend:
		extend(e, w, cur, found, clock)
	case subjects.VerbDelete:
		remove(e, w, cur, clock)
	case subjects.VerbIncr, subjects.VerbDecr:
		count(e, w, cur, found, clock)
	case subjects.VerbTouch, subjects.VerbFetch:
		fetch(e, w, cur, found, clock)
	default:
		fail(e, subjects.StatusBad)
	}
	if e.Kind == subjects.EntryPut && e.Expiry < 0 { // over already
		e.Kind, e.Expiry = subjects.EntryDelete, 0
	}
	return e
}

// fail makes the outcome a failure.
func fail(e *subjects.Entry, s subjects.Status) {
	*e = subjects.Entry{Kind: subjects.EntryAnswer, Key: e.Key, Answer: s}
}

// condition returns why a write does not apply, or 0. As in memcached add, and
// what makes a value of its own where there is none, ask no token then.
func condition(w *subjects.Write, cur subjects.Record, found bool) subjects.Status {
	if found {
		switch {
		case w.Verb == subjects.VerbAdd:
			return subjects.StatusNotStored
		case w.Cas == 0 || w.Cas == cur.CAS() || late(w, cur):
			return 0
		case len(cur.Value) == 0 && (w.Verb == subjects.VerbIncr || w.Verb == subjects.VerbDecr):
			return subjects.StatusNonNumeric
		}
		return subjects.StatusExists
	}
	makes := w.Options&subjects.OptionVivify != 0
	switch w.Verb {
	case subjects.VerbSet, subjects.VerbReplace:
		if w.Cas != 0 {
			return subjects.StatusNotFound
		}
		if w.Verb == subjects.VerbReplace {
			return subjects.StatusNotStored
		}
	case subjects.VerbAppend, subjects.VerbPrepend:
		if !makes {
			return subjects.StatusNotStored
		}
	case subjects.VerbDelete, subjects.VerbTouch:
		return subjects.StatusNotFound
	case subjects.VerbIncr, subjects.VerbDecr, subjects.VerbFetch:
		if !makes {
			return subjects.StatusNotFound
		}
	}
	return 0
}

// late reports whether a write has an older token than the value, and stores all
// the same: what it brings is stale from the start.
func late(w *subjects.Write, cur subjects.Record) bool {
	return w.Options&subjects.OptionStale != 0 && w.Cas != 0 && w.Cas < cur.CAS() &&
		(w.Verb == subjects.VerbSet || w.Verb == subjects.VerbReplace)
}

// store puts the client's value. One that comes late does not live longer than
// the value that it should have replaced.
func store(e *subjects.Entry, w *subjects.Write, cur subjects.Record, found bool, clock int64) {
	e.Value, e.Flags, e.Expiry = w.Value, w.Flags, Absolute(w.Exptime, clock)
	if found && late(w, cur) {
		e.Expiry, e.Bits = cur.Expiry, subjects.MarkStale|cur.Bits&subjects.MarkSent
	}
}

// extend appends or prepends.
func extend(e *subjects.Entry, w *subjects.Write, cur subjects.Record, found bool, clock int64) {
	limit := int(w.MaxItem)
	if limit == 0 {
		limit = subjects.DefaultMaxItem
	}
	if len(cur.Value)+len(w.Value) > limit {
		fail(e, subjects.StatusTooLarge)
		return
	}
	if !found {
		e.Value, e.Flags, e.Expiry = w.Value, w.Flags, Absolute(w.Vivify, clock)
		return
	}
	a, b := cur.Value, w.Value
	if w.Verb == subjects.VerbPrepend {
		a, b = b, a
	}
	e.Value = append(append(make([]byte, 0, len(a)+len(b)), a...), b...)
	e.Flags, e.Expiry = cur.Flags, cur.Expiry
}

// remove deletes, or leaves an empty value under the same token, or a stale one
// under a new token, which the next fetch wins.
func remove(e *subjects.Entry, w *subjects.Write, cur subjects.Record, clock int64) {
	stale, empty := w.Options&subjects.OptionStale != 0, w.Options&subjects.OptionEmpty != 0
	switch {
	case empty:
		e.Flags, e.Value = w.Flags, nil
		if !stale && e.Token == 0 {
			e.Token = cur.CAS()
		}
	case stale:
		e.Value, e.Flags, e.Expiry = cur.Value, cur.Flags, cur.Expiry
	default:
		e.Kind, e.Token = subjects.EntryDelete, 0
		return
	}
	if stale {
		e.Bits = subjects.MarkStale
	}
	if w.Options&subjects.OptionTouch != 0 {
		e.Expiry = Absolute(w.Exptime, clock)
	}
}

// count increments or decrements. A counter keeps its length: one that gets
// shorter is padded with spaces, as in memcached, where marks go with the old
// value when a longer one takes its place.
func count(e *subjects.Entry, w *subjects.Write, cur subjects.Record, found bool, clock int64) {
	e.Returns = subjects.ReturnsCounter
	if !found {
		e.Value, e.Flags = strconv.AppendUint(nil, w.Initial, 10), w.Flags
		e.Expiry = Absolute(w.Vivify, clock)
		return
	}
	v, ok := subjects.ParseUint(cur.Value)
	switch {
	case !ok:
		fail(e, subjects.StatusNonNumeric)
		return
	case w.Verb == subjects.VerbIncr:
		v += w.Delta // wraps at 2^64
	case v < w.Delta:
		v = 0
	default:
		v -= w.Delta
	}
	e.Value = strconv.AppendUint(make([]byte, 0, 20), v, 10)
	e.Flags, e.Expiry = cur.Flags, cur.Expiry
	if pad := len(cur.Value) - len(e.Value); pad >= 0 {
		e.Value = append(e.Value, bytes.Repeat([]byte{' '}, pad)...)
		e.Bits = cur.Bits
	}
	if w.Options&subjects.OptionTouch != 0 {
		e.Expiry = Absolute(w.Exptime, clock)
	}
}

// fetch answers with the value, and may give it another time of expiry, tell
// this client that it is to make the value anew, or make an empty one for it to
// fill. Of all clients that fetch a stale value, or one whose time is soon over,
// one wins. The value keeps its token: the winner stores with it.
func fetch(e *subjects.Entry, w *subjects.Write, cur subjects.Record, found bool, clock int64) {
	e.Returns = subjects.ReturnsValue
	if !found {
		e.Flags, e.Expiry = w.Flags, Absolute(w.Vivify, clock)
		e.Bits = subjects.MarkSent | subjects.MarkWon
		return
	}
	e.Value, e.Flags, e.Expiry, e.Bits, e.Token = cur.Value, cur.Flags, cur.Expiry, cur.Bits, cur.CAS()
	if w.Verb == subjects.VerbTouch || w.Options&subjects.OptionTouch != 0 {
		e.Expiry = Absolute(w.Exptime, clock)
	}
	if w.Verb == subjects.VerbFetch && cur.Bits&subjects.MarkSent == 0 && due(w, cur, e.Expiry, clock) {
		e.Bits |= subjects.MarkSent | subjects.MarkWon
	}
	if e.Expiry == cur.Expiry && e.Bits == cur.Bits {
		e.Kind = subjects.EntryAnswer
	}
}

// due reports whether a value that is there should be made anew. Its time is the
// one that there was, unless the client set one before it asked.
func due(w *subjects.Write, cur subjects.Record, next, clock int64) bool {
	expiry := cur.Expiry
	if w.Options&subjects.OptionRenewed != 0 {
		expiry = next
	}
	before := Absolute(w.Recache, clock)
	return cur.Bits&subjects.MarkStale != 0 ||
		w.Options&subjects.OptionRecache != 0 && expiry != 0 && before > 0 && expiry < before
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
