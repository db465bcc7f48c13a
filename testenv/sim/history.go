package sim

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/etolabo/kumofs/subjects"
)

// last checks the end of a run: equal copies, every acknowledged write in the
// committed log, and a linearizable history of each key.
func (s *Sim) last() {
	for i, c := range s.mgr.table.Partitions {
		for _, id := range c.ISR {
			s.nodes[id].parts[i].checkData("ends")
		}
	}
	byKey := map[string][]porcupine.Operation{}
	for _, op := range s.ops {
		e := s.effect(op)
		switch {
		case op.ret != 0 && op.reply.Status == subjects.StatusOK && op.w.Verb != 0 && (e == nil || e.Version.CAS() != op.reply.Cas):
			s.fail("an acknowledged write is not in the log: %s", op)
		case op.ret != 0 && e != nil && op.reply.Status != e.Answer:
			s.fail("an operation had another outcome than its client was told: %s", op)
		case op.ret == 0 && (e == nil || e.Answer != subjects.StatusOK):
			continue
		}
		h := porcupine.Operation{ClientId: op.client, Input: op, Output: op, Call: op.call, Return: op.ret}
		if op.ret == 0 {
			h.Return = math.MaxInt64
			s.rep.Unknown++
		}
		byKey[string(op.w.Key)] = append(byKey[string(op.w.Key)], h)
	}
	for k := range s.prof.Keys {
		key := "k" + strconv.Itoa(k)
		s.checkHistory(key, byKey[key])
	}
}

// effect returns the entry of an operation that has committed, of which there
// is at most one.
func (s *Sim) effect(op *operation) (found *subjects.Entry) {
	for _, e := range op.entries {
		l, v := s.ledger[op.p], e.Version
		if v.Seq > uint64(len(l.log)) || l.log[v.Seq-1].Version != v {
			continue
		}
		if found != nil {
			s.fail("an operation took effect twice: %s", op)
		}
		found = e
	}
	op.effect = found
	return found
}

func (s *Sim) checkHistory(key string, h []porcupine.Operation) {
	switch porcupine.CheckOperationsTimeout(model, h, 5*time.Second) {
	case porcupine.Unknown:
		s.rep.Undecided++
	case porcupine.Illegal:
		slices.SortFunc(h, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
		b := &strings.Builder{}
		for _, o := range h {
			b.WriteString(o.Input.(*operation).String() + "\n")
		}
		s.fail("the history of %s is not linearizable:\n%s", key, b)
	}
}

// value is what a key is in the model; the zero value is no value.
type value struct {
	text string
	cas  uint64 // 0: there is none
}

// model is one key of memcached. The token of a value is that of the entry
// which made it, known also where the answer was lost.
var model = porcupine.Model{
	Init: func() any { return value{} },
	Step: func(state, input, _ any) (bool, any) {
		v, op := state.(value), input.(*operation)
		want, next := v.after(op)
		switch {
		case op.ret == 0: // it committed, whatever its client knows
			return want == subjects.StatusOK && string(op.effect.Value) == next.text, next
		case op.reply.Status != want:
			return false, v
		case want != subjects.StatusOK:
			return true, v
		}
		ok := true
		switch op.w.Verb {
		case 0:
			ok = string(op.reply.Value) == v.text && op.reply.Cas == v.cas
		case subjects.VerbTouch:
			ok = string(op.reply.Value) == v.text
		case subjects.VerbIncr, subjects.VerbDecr:
			ok = string(op.reply.Value) == strings.TrimRight(next.text, " ")
		}
		return ok, next
	},
}

// after says how an operation ends on this value, and what it leaves.
func (v value) after(op *operation) (subjects.Status, value) {
	w, there := &op.w, v.cas != 0
	next := value{text: v.text}
	if op.effect != nil {
		next.cas = op.effect.Version.CAS()
	}
	switch w.Verb {
	case 0:
		if !there {
			return subjects.StatusNotFound, v
		}
		return subjects.StatusOK, v
	case subjects.VerbAdd:
		if there {
			return subjects.StatusNotStored, v
		}
		next.text = string(w.Value)
		return subjects.StatusOK, next
	case subjects.VerbReplace, subjects.VerbAppend, subjects.VerbPrepend:
		if !there {
			return subjects.StatusNotStored, v
		}
	case subjects.VerbSet:
		if !there && w.Cas == 0 {
			next.text = string(w.Value)
			return subjects.StatusOK, next
		}
	}
	switch {
	case !there:
		return subjects.StatusNotFound, v
	case w.Cas != 0 && w.Cas != v.cas:
		return subjects.StatusExists, v
	}
	switch w.Verb {
	case subjects.VerbSet, subjects.VerbReplace:
		next.text = string(w.Value)
	case subjects.VerbAppend:
		next.text += string(w.Value)
	case subjects.VerbPrepend:
		next.text = string(w.Value) + v.text
	case subjects.VerbDelete:
		next = value{}
	case subjects.VerbIncr, subjects.VerbDecr:
		next.text = counted(v.text, w)
	}
	return subjects.StatusOK, next
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
