package subjects

import "github.com/etolabo/kumofs/subjects/ring"

// CompareRequest asks the server that leads a partition how its copies compare, and
// with Start to compare them, unless it does. It does so at one entry, at which all
// of them are frozen, by digests of ranges of keys. What is asked for goes on when
// nobody asks any more.
type CompareRequest struct {
	Partition ring.Partition `json:"partition"`
	Start     bool           `json:"start,omitempty"`
	// Mend has a copy that differs made anew from the others, one at a time. It is
	// the primary's if there are several others that agree with each other.
	Mend bool `json:"mend,omitempty"`
}

// CompareReport answers CompareRequest: with what is known so far while it runs, and
// with the newest result otherwise; Began is 0 if there is none.
type CompareReport struct {
	Partition ring.Partition `json:"partition"`
	Running   bool           `json:"running,omitempty"`
	Began     int64          `json:"began_ms,omitempty"` // Unix milliseconds
	Ended     int64          `json:"ended_ms,omitempty"`
	Epoch     ring.Epoch     `json:"epoch,omitempty"`
	At        Version        `json:"at"`      // the entry at which they were compared
	Records   int64          `json:"records"` // of the primary's copy
	Bytes     int64          `json:"bytes"`   // of these; while it runs, of all copies, as far as they were read
	Copies    []ComparedCopy `json:"copies"`  // all, the primary's first
	// Absent is how many copies are wanted and not in sync, and so not compared.
	Absent int `json:"absent,omitempty"`
	// Mended is the node whose copy is made anew.
	Mended string `json:"mended,omitempty"`
	// Unsure says why none is made anew although some differ: which are right cannot
	// be told.
	Unsure string `json:"unsure,omitempty"`
	// Error says why they could not be compared.
	Error *WireError `json:"error,omitempty"`
}

// ComparedCopy is one of the copies.
type ComparedCopy struct {
	ID   ring.NodeID `json:"id"`
	Node string      `json:"node"`
	// Differs is how many ranges are not as those of the copy that counts, and From
	// where the first of them begins.
	Differs int    `json:"differs,omitempty"`
	From    []byte `json:"from,omitempty"`
	// Error says why the copy could not be read; damage is mended by itself.
	Error string `json:"error,omitempty"`
}

// Differing counts the copies that differ.
func (r *CompareReport) Differing() (n int) {
	for _, c := range r.Copies {
		if c.Differs > 0 {
			n++
		}
	}
	return n
}

// MendRequest tells a server that its copy of a partition is not what it should be, so
// that it is made anew from others that are in sync. It is refused if the partition is
// at another epoch, or no other copy is in sync.
type MendRequest struct {
	Partition ring.Partition `json:"partition"`
	Epoch     ring.Epoch     `json:"epoch"`
	Why       string         `json:"why"`
}
