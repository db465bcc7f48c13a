package sim

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// last checks the end of a run: equal copies, every acknowledged write in the
// committed log, and a linearizable history of each key.
func (s *Sim) last() {
	for i, c := range s.mgr.table.Partitions {
		for _, id := range c.ISR {
			s.nodes[id].parts[i].checkData("ends")
			s.nodes[id].parts[i].checkSessions()
		}
	}
	byKey := map[string][]porcupine.Operation{}
	for _, op := range s.ops {
		e := s.effect(op)
		switch {
		case op.ret != 0 && op.reply.Status == subjects.StatusOK && (e == nil && !op.reads() || e != nil && e.CAS() != op.reply.Cas):
			s.fail("an acknowledged write is not in the log: %s", op)
		case op.ret != 0 && e != nil && op.reply.Status != e.Answer:
			s.fail("an operation had another outcome than its client was told: %s", op)
		case op.nothing && e != nil && e.Answer == subjects.StatusOK:
			s.fail("a gateway said that nothing was done, but it was: %s", op)
		case op.ret == 0 && (e == nil || e.Kind == subjects.EntryAnswer):
			continue
		}
		s.countMarks(op)
		h := porcupine.Operation{ClientId: op.client, Input: op, Output: op, Call: op.call, Return: op.ret}
		if op.ret == 0 {
			h.Return = math.MaxInt64
			s.rep.Unknown++
		}
		if op.w.Verb != subjects.VerbFlush {
			byKey[string(op.w.Key)] = append(byKey[string(op.w.Key)], h)
			continue
		}
		for k := range s.prof.Keys {
			if key := "k" + strconv.Itoa(k); ring.Of([]byte(key), s.prof.Partitions) == op.p {
				byKey[key] = append(byKey[key], h)
			}
		}
	}
	s.expiries(byKey)
	for k := range s.prof.Keys {
		key := "k" + strconv.Itoa(k)
		s.checkHistory(key, byKey[key])
	}
}

// countMarks counts what a client was told of marks.
func (s *Sim) countMarks(op *operation) {
	switch m := op.reply.Marks; {
	case op.ret == 0:
	case m&subjects.MarkWon != 0:
		s.rep.Won++
	case m&subjects.MarkStale != 0 && (op.w.Verb == subjects.VerbSet || op.w.Verb == subjects.VerbReplace):
		s.rep.Late++
	}
}

// expiries adds the ends of keys that nobody asked for to the histories.
func (s *Sim) expiries(byKey map[string][]porcupine.Operation) {
	for _, l := range s.ledger {
		for _, e := range l.log {
			if e.Op.Boot != 0 {
				continue
			}
			op := &operation{p: l.p, effect: e, expiry: true, w: subjects.Write{Key: e.Key}, call: l.made[e].from, ret: l.made[e].to}
			byKey[string(e.Key)] = append(byKey[string(e.Key)], porcupine.Operation{
				ClientId: s.prof.Clients, Input: op, Output: op, Call: op.call, Return: op.ret,
			})
		}
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
	s.rep.Histories++
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
