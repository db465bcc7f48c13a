package kumogateway_test

import (
	"strconv"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

func (n *node) found(key string) subjects.Reply {
	rec, ok := n.items[key]
	if !ok {
		return subjects.Reply{Status: subjects.StatusNotFound}
	}
	return reply(&rec)
}

func reply(rec *subjects.Record) subjects.Reply {
	return subjects.Reply{
		Status: subjects.StatusOK, Value: rec.Value, Flags: rec.Flags, Cas: rec.CAS(), Expiry: rec.Expiry,
		Marks: rec.Bits, Size: uint32(len(rec.Value)),
	}
}

func status(s subjects.Status) subjects.Reply { return subjects.Reply{Status: s} }

// expiry is the absolute time of a client's.
func expiry(exptime int64) int64 {
	switch {
	case exptime == 0:
		return 0
	case exptime < 0:
		return 1
	case exptime <= 30*24*60*60:
		return time.Now().Unix() + exptime
	}
	return exptime
}

// put makes a value that has a token of its own, or the one that was asked for.
func (n *node) put(w *subjects.Write, rec subjects.Record) subjects.Reply {
	n.seq++
	rec.Version = subjects.Version{Epoch: w.Epoch, Seq: n.seq}
	if rec.Token = 0; w.Options&subjects.OptionToken != 0 {
		rec.Token = w.Token
	}
	rec.Value = append([]byte(nil), rec.Value...)
	n.items[string(w.Key)] = rec
	rep := reply(&rec)
	rep.Value = nil
	return rep
}

func (n *node) write(w *subjects.Write) subjects.Reply {
	old, found := n.items[string(w.Key)]
	vivify := w.Options&subjects.OptionVivify != 0
	if found && w.Cas != 0 && w.Cas != old.CAS() && w.Verb != subjects.VerbAdd {
		if w.Verb == subjects.VerbSet && w.Options&subjects.OptionStale != 0 && w.Cas < old.CAS() {
			return n.put(w, subjects.Record{Value: w.Value, Flags: w.Flags, Expiry: old.Expiry, Bits: old.Bits | subjects.MarkStale})
		}
		return status(subjects.StatusExists)
	}
	made := subjects.Record{Value: w.Value, Flags: w.Flags, Expiry: expiry(w.Exptime)}
	switch w.Verb {
	case subjects.VerbSet:
		if w.Cas != 0 && !found {
			return status(subjects.StatusNotFound)
		}
		return n.put(w, made)
	case subjects.VerbAdd, subjects.VerbReplace:
		if found == (w.Verb == subjects.VerbAdd) {
			return status(subjects.StatusNotStored)
		}
		return n.put(w, made)
	case subjects.VerbAppend, subjects.VerbPrepend:
		switch {
		case !found && vivify:
			made.Expiry = expiry(w.Vivify)
			return n.put(w, made)
		case !found:
			return status(subjects.StatusNotStored)
		case w.Verb == subjects.VerbAppend:
			old.Value = append(old.Value[:len(old.Value):len(old.Value)], w.Value...)
		default:
			old.Value = append(w.Value[:len(w.Value):len(w.Value)], old.Value...)
		}
		if len(old.Value) > int(w.MaxItem) {
			return status(subjects.StatusTooLarge)
		}
		return n.put(w, old)
	case subjects.VerbDelete:
		return n.delete(w, old, found)
	case subjects.VerbIncr, subjects.VerbDecr:
		return n.count(w, old, found)
	case subjects.VerbFetch:
		return n.fetch(w, old, found)
	case subjects.VerbTouch:
		if !found {
			return status(subjects.StatusNotFound)
		}
		old.Expiry = expiry(w.Exptime)
		n.items[string(w.Key)] = old
		return reply(&old)
	case subjects.VerbFlush:
		for k := range n.items {
			if ring.Of([]byte(k), testSize) == w.Partition {
				delete(n.items, k)
			}
		}
		return status(subjects.StatusOK)
	}
	return status(subjects.StatusBad)
}

func (n *node) delete(w *subjects.Write, old subjects.Record, found bool) subjects.Reply {
	stale, empty := w.Options&subjects.OptionStale != 0, w.Options&subjects.OptionEmpty != 0
	switch {
	case !found:
		return status(subjects.StatusNotFound)
	case !stale && !empty:
		delete(n.items, string(w.Key))
		return status(subjects.StatusOK)
	}
	if empty {
		old.Value, old.Flags, old.Bits = nil, w.Flags, 0
	}
	if stale {
		old.Bits = subjects.MarkStale
	}
	if w.Options&subjects.OptionTouch != 0 {
		old.Expiry = expiry(w.Exptime)
	}
	return n.put(w, old)
}

func (n *node) count(w *subjects.Write, old subjects.Record, found bool) subjects.Reply {
	v := w.Initial
	switch {
	case !found && w.Options&subjects.OptionVivify == 0:
		return status(subjects.StatusNotFound)
	case !found:
		old = subjects.Record{Expiry: expiry(w.Vivify)}
	default:
		var err error
		if v, err = strconv.ParseUint(string(old.Value), 10, 64); err != nil {
			return status(subjects.StatusNonNumeric)
		}
		if w.Verb == subjects.VerbIncr {
			v += w.Delta
		} else {
			v -= min(v, w.Delta)
		}
		if w.Options&subjects.OptionTouch != 0 {
			old.Expiry = expiry(w.Exptime)
		}
	}
	old.Value = strconv.AppendUint(nil, v, 10)
	rep := n.put(w, old)
	rep.Value = old.Value
	return rep
}

func (n *node) fetch(w *subjects.Write, old subjects.Record, found bool) subjects.Reply {
	won := false
	switch {
	case !found && w.Options&subjects.OptionVivify == 0:
		return status(subjects.StatusNotFound)
	case !found:
		old, won = subjects.Record{Expiry: expiry(w.Vivify)}, true
		n.put(w, old)
		old = n.items[string(w.Key)]
	default:
		if w.Options&subjects.OptionTouch != 0 {
			old.Expiry = expiry(w.Exptime)
		}
		soon := w.Options&subjects.OptionRecache != 0 && old.Expiry != 0 && old.Expiry < expiry(w.Recache)
		won = old.Bits&subjects.MarkSent == 0 && (old.Bits&subjects.MarkStale != 0 || soon)
	}
	if won {
		old.Bits |= subjects.MarkSent
	}
	n.items[string(w.Key)] = old
	rep := reply(&old)
	if won {
		rep.Marks |= subjects.MarkWon
	}
	return rep
}
