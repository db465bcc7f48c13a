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
	cas    uint64 // 0: there is none
}

// over reports whether the value's time is over at a clock.
func (v value) over(clock int64) bool { return v.cas != 0 && v.expiry != 0 && v.expiry <= clock/1000 }

// model is one key of memcached. The token of a value is that of the entry
// which made it, and the clock by which its time is over that of the entry that
// said so, known also where the answer was lost.
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
	if e != nil && e.Kind != subjects.EntryAnswer && v.over(e.Clock) {
		seen, next = value{}, value{} // the entry says so too
	} else if e != nil && e.Kind == subjects.EntryDelete && e.Answer != subjects.StatusOK {
		return false, v // a failure that ends a key whose time is not over
	}
	want, made := seen.after(op)
	if want == subjects.StatusOK && op.w.Verb != 0 {
		next = made
		if e == nil || e.Answer != subjects.StatusOK || !made.is(e) {
			return false, v
		}
	}
	if op.ret == 0 { // it committed, whatever its client knows
		return want == e.Answer, next
	}
	r := &op.reply
	ok := r.Status == want
	if want != subjects.StatusOK {
		return ok, next
	}
	switch op.w.Verb {
	case 0:
		ok = ok && string(r.Value) == v.text && r.Cas == v.cas && r.Flags == v.flags && r.Expiry == v.expiry
	case subjects.VerbTouch:
		ok = ok && string(r.Value) == seen.text && r.Flags == seen.flags
	case subjects.VerbIncr, subjects.VerbDecr:
		ok = ok && string(r.Value) == strings.TrimRight(next.text, " ")
	}
	return ok, next
}

// is reports whether an entry leaves this value.
func (v value) is(e *subjects.Entry) bool {
	if v.cas == 0 {
		return e.Kind == subjects.EntryDelete || e.Kind == subjects.EntryFlush
	}
	return e.Kind == subjects.EntryPut && string(e.Value) == v.text && e.Flags == v.flags && e.Expiry == v.expiry
}

// after says how an operation ends on this value, and what it leaves.
func (v value) after(op *operation) (subjects.Status, value) {
	w, there := &op.w, v.cas != 0
	if w.Verb == 0 {
		if !there {
			return subjects.StatusNotFound, v
		}
		return subjects.StatusOK, v
	}
	if s := v.refuse(w); s != subjects.StatusOK {
		return s, v
	}
	next := v
	if e := op.effect; e != nil {
		next.cas = e.Version.CAS()
		if next.cas == 0 {
			return subjects.StatusOK, v
		}
	}
	switch w.Verb {
	case subjects.VerbSet, subjects.VerbAdd, subjects.VerbReplace:
		next.text, next.flags = string(w.Value), w.Flags
		return subjects.StatusOK, next.until(op)
	case subjects.VerbTouch:
		return subjects.StatusOK, next.until(op)
	case subjects.VerbAppend:
		next.text += string(w.Value)
	case subjects.VerbPrepend:
		next.text = string(w.Value) + v.text
	case subjects.VerbDelete, subjects.VerbFlush:
		next = value{}
	case subjects.VerbIncr, subjects.VerbDecr:
		if !there {
			next.text, next.flags = strconv.FormatUint(w.Initial, 10), w.Flags
			return subjects.StatusOK, next.until(op)
		}
		next.text = counted(v.text, w)
	}
	return subjects.StatusOK, next
}

// refuse says why a write does not apply to this value.
func (v value) refuse(w *subjects.Write) subjects.Status {
	there := v.cas != 0
	switch w.Verb {
	case subjects.VerbFlush:
		return subjects.StatusOK
	case subjects.VerbAdd:
		if there {
			return subjects.StatusNotStored
		}
		return subjects.StatusOK
	case subjects.VerbReplace, subjects.VerbAppend, subjects.VerbPrepend:
		if !there {
			return subjects.StatusNotStored
		}
	case subjects.VerbDelete, subjects.VerbTouch:
		if !there {
			return subjects.StatusNotFound
		}
	case subjects.VerbIncr, subjects.VerbDecr:
		if !there && w.Options&subjects.OptionVivify == 0 {
			return subjects.StatusNotFound
		}
	}
	switch {
	case w.Cas != 0 && !there:
		return subjects.StatusNotFound
	case w.Cas != 0 && w.Cas != v.cas:
		return subjects.StatusExists
	}
	return subjects.StatusOK
}

// until gives the value the end that its writer asked for, by the clock of the
// entry.
func (v value) until(op *operation) value {
	switch t := op.w.Exptime; {
	case t == 0:
		v.expiry = 0
	case t < 0:
		return value{}
	case op.effect != nil:
		v.expiry = op.effect.Clock/1000 + t
	}
	return v
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
