package dashboard

import (
	"encoding/json"

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
	entries []Entry
	number  uint64
}

func (j *journal) add(e subjects.Event) {
	if len(j.entries) == maxEntries {
		copy(j.entries, j.entries[1:])
		j.entries = j.entries[:maxEntries-1]
	}
	j.number++
	j.entries = append(j.entries, Entry{j.number, clip(e.Kind), e.Time, clip(e.Node), clip(e.Text)})
}

// since is a copy of what came after a number.
func (j *journal) since(number uint64) []Entry {
	n := min(j.number-min(number, j.number), uint64(len(j.entries)))
	return append([]Entry{}, j.entries[uint64(len(j.entries))-n:]...)
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
