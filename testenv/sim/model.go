package sim

import (
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/etolabo/kumofs/subjects"
)

// value is what a key is in the model; the zero value is no value.
type value struct {
	text   string
	flags  uint32
	expiry int64
	bits   uint32
	cas    uint64 // 0: there is none
}

// answer is what a success tells of a value.
type answer struct {
	value
	size int // of the text in the store, where the answer has none or another
}

// over reports whether the value's time is over at a clock.
func (v value) over(clock int64) bool { return v.cas != 0 && v.expiry != 0 && v.expiry <= clock/1000 }

// model is one key of memcached. The token of a value is that of the entry
// which made it, or the one that its maker asked for, and the clock by which its
// time is over that of the entry that said so, known also where the answer was
// lost.
var model = porcupine.Model{
	Init: func() any { return value{} },
	Step: func(state, input, _ any) (bool, any) {
		v, op := state.(value), input.(*operation)
		return v.step(op)
	},
	Equal: func(a, b any) bool { return a.(value) == b.(value) },
}

// step says whether an operation can have ended as it did on this value, and
// what it leaves.
func (v value) step(op *operation) (bool, value) {
	e := op.effect
	if op.expiry {
		return v.over(e.Clock), value{}
	}
	seen, next := v, v
	if e != nil && v.over(e.Clock) {
		if e.Kind == subjects.EntryAnswer {
			return false, v // it would have said so
		}
		seen, next = value{}, value{} // the entry says so too
	} else if e != nil && e.Kind == subjects.EntryDelete && e.Answer != subjects.StatusOK {
		return false, v // a failure that ends a key whose time is not over
	}
	want, made, told := seen.after(op)
	if want == subjects.StatusOK && op.w.Verb != 0 {
		next = made
		if !made.logged(op, seen, told) {
			return false, v
		}
	}
	if op.ret == 0 { // it committed, whatever its client knows
		return want == e.Answer, next
	}
	return op.reply.Status == want && (want != subjects.StatusOK || told.is(&op.reply)), next
}

// logged reports whether the log says of a success that it leaves this value. Of
// a read that changes nothing it need not say anything.
func (v value) logged(op *operation, seen value, told answer) bool {
	e := op.effect
	if e == nil || e.Kind == subjects.EntryAnswer {
		return op.reads() && seen.cas != 0 && v == seen && (e == nil || e.Answer == subjects.StatusOK)
	}
	switch {
	case e.Answer != subjects.StatusOK, op.reads() && v == seen && v.cas != 0:
		return false
	case v.cas == 0:
		return e.Kind == subjects.EntryDelete || e.Kind == subjects.EntryFlush
	}
	return e.Kind == subjects.EntryPut && string(e.Value) == v.text && e.Flags == v.flags && e.Expiry == v.expiry &&
		e.Bits == told.bits && e.CAS() == v.cas
}

// reads reports whether an operation answers with the value and may change
// nothing.
func (op *operation) reads() bool {
	return op.w.Verb == 0 || op.w.Verb == subjects.VerbFetch || op.w.Verb == subjects.VerbTouch
}

// is reports whether a client was told that.
func (a answer) is(r *subjects.Reply) bool {
	return string(r.Value) == a.text && r.Flags == a.flags && r.Expiry == a.expiry && r.Cas == a.cas &&
		r.Marks == a.bits && int(r.Size) == a.size
}

// after says how an operation ends on this value, what it leaves and what its
// client is told.
func (v value) after(op *operation) (subjects.Status, value, answer) {
	w, e := &op.w, op.effect
	if w.Verb == 0 {
		if v.cas == 0 {
			return subjects.StatusNotFound, v, answer{}
		}
		return subjects.StatusOK, v, answer{v, len(v.text)}
	}
	switch s := v.refuse(w); {
	case s != subjects.StatusOK:
		return s, v, answer{}
	case e == nil && (!op.reads() || v.cas == 0):
		return subjects.StatusOK, v, answer{} // which is found out, for nothing is logged
	case w.Verb == subjects.VerbDelete && w.Options&(subjects.OptionStale|subjects.OptionEmpty) == 0, w.Verb == subjects.VerbFlush:
		return subjects.StatusOK, value{}, answer{value: value{cas: e.Version.CAS()}}
	}
	next, won := v.changed(op), uint32(0)
	if w.Verb == subjects.VerbFetch && next.bits&^v.bits&subjects.MarkSent != 0 {
		won = subjects.MarkWon
	}
	gone := next.expiry < 0
	if gone {
		next.expiry = 0
	}
	told := answer{next, len(next.text)}
	told.bits |= won
	switch w.Verb {
	case subjects.VerbFetch, subjects.VerbTouch:
	case subjects.VerbIncr, subjects.VerbDecr:
		told.text, told.flags = strings.TrimRight(next.text, " "), 0
	default:
		told.text, told.flags, told.expiry = "", 0, 0
	}
	if gone {
		next = value{}
	}
	return subjects.StatusOK, next, told
}

// changed is the value that an operation makes of this one.
func (v value) changed(op *operation) value {
	w, e := &op.w, op.effect
	there := v.cas != 0
	next := value{}
	if e != nil {
		next.cas = e.Version.CAS()
	}
	if w.Options&subjects.OptionToken != 0 {
		next.cas = w.Token
	}
	vivified := next
	vivified.flags, vivified.expiry = w.Flags, until(w.Vivify, e)
	switch w.Verb {
	case subjects.VerbSet, subjects.VerbAdd, subjects.VerbReplace:
		next.text, next.flags, next.expiry = string(w.Value), w.Flags, until(w.Exptime, e)
		if there && v.late(w) {
			next.expiry, next.bits = v.expiry, subjects.MarkStale|v.bits&subjects.MarkSent
		}
	case subjects.VerbAppend, subjects.VerbPrepend:
		if !there {
			vivified.text = string(w.Value)
			return vivified
		}
		next.flags, next.expiry = v.flags, v.expiry
		if next.text = v.text + string(w.Value); w.Verb == subjects.VerbPrepend {
			next.text = string(w.Value) + v.text
		}
	case subjects.VerbDelete:
		return v.leave(w, e, next)
	case subjects.VerbIncr, subjects.VerbDecr:
		if !there {
			vivified.text = strconv.FormatUint(w.Initial, 10)
			return vivified
		}
		next.text, next.flags, next.expiry = counted(v.text, w), v.flags, v.expiry
		if len(next.text) == len(v.text) {
			next.bits = v.bits
		}
		if w.Options&subjects.OptionTouch != 0 {
			next.expiry = until(w.Exptime, e)
		}
	case subjects.VerbTouch, subjects.VerbFetch:
		if !there {
			vivified.bits = subjects.MarkSent
			return vivified
		}
		return v.fetched(w, e)
	}
	return next
}

// leave is what a delete leaves that does not delete.
func (v value) leave(w *subjects.Write, e *subjects.Entry, next value) value {
	stale := w.Options&subjects.OptionStale != 0
	if w.Options&subjects.OptionEmpty != 0 {
		next.flags = w.Flags
		if !stale && w.Options&subjects.OptionToken == 0 {
			next.cas = v.cas
		}
	} else {
		next.text, next.flags, next.expiry = v.text, v.flags, v.expiry
	}
	if stale {
		next.bits = subjects.MarkStale
	}
	if w.Options&subjects.OptionTouch != 0 {
		next.expiry = until(w.Exptime, e)
	}
	return next
}

// fetched is what a fetch or touch leaves of a value. Where it made no entry its
// clock is not known: then it found the end that it wanted, and did not win by
// it.
func (v value) fetched(w *subjects.Write, e *subjects.Entry) value {
	next := v
	if w.Verb == subjects.VerbTouch || w.Options&subjects.OptionTouch != 0 {
		if next.expiry = until(w.Exptime, e); e == nil && w.Exptime > 0 && v.expiry > 0 {
			next.expiry = v.expiry
		}
	}
	expiry := v.expiry
	if w.Options&subjects.OptionRenewed != 0 {
		expiry = next.expiry
	}
	soon := e != nil && w.Options&subjects.OptionRecache != 0 && expiry != 0 && until(w.Recache, e) > 0 && expiry < until(w.Recache, e)
	if w.Verb == subjects.VerbFetch && (v.bits&subjects.MarkStale != 0 || soon) {
		next.bits |= subjects.MarkSent
	}
	return next
}

// until is the end that a client asks for, by the clock of its entry; -1 is at
// once.
func until(t int64, e *subjects.Entry) int64 {
	switch {
	case t == 0:
		return 0
	case t < 0:
		return -1
	case e == nil:
		return 1 // nobody has that
	}
	return e.Clock/1000 + t
}

// late reports whether a set with a token of an older value is stored all the
// same.
func (v value) late(w *subjects.Write) bool {
	return w.Options&subjects.OptionStale != 0 && w.Cas != 0 && w.Cas < v.cas
}

// refuse says why a write does not apply to this value.
func (v value) refuse(w *subjects.Write) subjects.Status {
	if w.Verb == subjects.VerbFlush {
		return subjects.StatusOK
	}
	if v.cas == 0 {
		return missing(w)
	}
	counts := w.Verb == subjects.VerbIncr || w.Verb == subjects.VerbDecr
	switch {
	case w.Verb == subjects.VerbAdd:
		return subjects.StatusNotStored
	case counts && v.text == "":
		return subjects.StatusNonNumeric
	case w.Cas == 0 || w.Cas == v.cas:
		return subjects.StatusOK
	case (w.Verb == subjects.VerbSet || w.Verb == subjects.VerbReplace) && v.late(w):
		return subjects.StatusOK
	}
	return subjects.StatusExists
}

// missing says why a write does not apply where there is no value.
func missing(w *subjects.Write) subjects.Status {
	vivify := w.Options&subjects.OptionVivify != 0
	switch v := w.Verb; {
	case v == subjects.VerbAdd, v == subjects.VerbSet && w.Cas == 0:
		return subjects.StatusOK
	case v == subjects.VerbReplace && w.Cas == 0:
		return subjects.StatusNotStored
	case v == subjects.VerbDelete, v == subjects.VerbTouch, v == subjects.VerbSet, v == subjects.VerbReplace:
		return subjects.StatusNotFound
	case vivify:
		return subjects.StatusOK
	case v == subjects.VerbAppend, v == subjects.VerbPrepend:
		return subjects.StatusNotStored
	}
	return subjects.StatusNotFound
}

func counted(text string, w *subjects.Write) string {
	n, _ := strconv.ParseUint(strings.TrimRight(text, " "), 10, 64)
	switch {
	case w.Verb == subjects.VerbIncr:
		n += w.Delta
	case n < w.Delta:
		n = 0
	default:
		n -= w.Delta
	}
	digits := strconv.FormatUint(n, 10)
	return digits + strings.Repeat(" ", max(0, len(text)-len(digits)))
}
