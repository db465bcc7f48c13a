package dashboard

import (
	"encoding/json"
	"slices"

	"github.com/etolabo/kumofs/subjects"
)

// shown is what there is to tell.
type shown struct {
	last  State // that state is of
	state topic
	ring  topic
	log   journal
}

// topic is the newest of its kind, encoded once for all listeners.
type topic struct {
	version uint64
	data    []byte
}

func (t *topic) set(v any) {
	data, err := json.Marshal(v)
	if err != nil { // none of our types can
		data = []byte("null")
	}
	t.version++
	t.data = data
}

// Entry is an event with its number: later ones have greater numbers.
type Entry struct {
	Number uint64 `json:"n"`
	Kind   string `json:"kind"`
	Time   int64  `json:"time"` // Unix milliseconds
	Node   string `json:"node,omitempty"`
	Text   string `json:"text"`
}

// journal is the last events, the oldest first.
type journal struct {
	older   []Entry // from before this dashboard, for listeners that begin; without a number
	entries []Entry
	number  uint64
}

// before takes what happened before the first event, the oldest first, without what
// is known already.
func (j *journal) before(list []subjects.Event) {
	for _, e := range list[max(0, len(list)-maxEntries):] {
		is := Entry{0, clip(e.Kind), e.Time, clip(e.Node), clip(e.Text)}
		known := slices.ContainsFunc(j.entries, func(o Entry) bool {
			o.Number = 0
			return o == is
		})
		if !known {
			j.older = append(j.older, is)
		}
	}
	j.number++ // so that who has seen them has seen something
}

// add takes an event. Epochs, which may be many at once, only drive out epochs.
func (j *journal) add(e subjects.Event) {
	epoch := func(e Entry) bool { return e.Kind == subjects.EventEpoch }
	is := Entry{j.number + 1, clip(e.Kind), e.Time, clip(e.Node), clip(e.Text)}
	alike := 0
	for _, o := range j.entries {
		if epoch(o) == epoch(is) {
			alike++
		}
	}
	if alike == maxEntries {
		first := slices.IndexFunc(j.entries, func(o Entry) bool { return epoch(o) == epoch(is) })
		j.entries = slices.Delete(j.entries, first, first+1)
	}
	j.number++
	j.entries = append(j.entries, is)
}

// since is a copy of what came after a number; after 0 all that is known.
func (j *journal) since(number uint64) []Entry {
	var list []Entry
	if number == 0 {
		list = slices.Clone(j.older)
	}
	first := slices.IndexFunc(j.entries, func(e Entry) bool { return e.Number > number })
	if first < 0 {
		return list
	}
	return append(list, j.entries[first:]...)
}

// clip bounds a text that comes from the cluster.
func clip(s string) string {
	n := 0
	for i := range s {
		if n == maxText {
			return s[:i] + "…"
		}
		n++
	}
	return s
}
