package subjects

import (
	"github.com/etolabo/kumofs/subjects/ring"
)

// Kind tells the messages between servers apart; it is the first element of
// each of them.
type Kind uint8

const (
	KindPrepare Kind = iota + 1
	KindPrepareReply
	KindEpochStart
	KindEpochReply
	KindRange
	KindRangeReply
	KindLease
	KindLeaseReply
)

// KindOf returns the kind of a message between servers, 0 if it is none.
func KindOf(b []byte) Kind {
	r := reader{b: b}
	if r.array() < 1 {
		return 0
	}
	return Kind(r.uint())
}

// PartitionOf returns the partition of a message between servers that is about
// one (all but leases).
func PartitionOf(b []byte) ring.Partition {
	r := reader{b: b}
	r.array()
	r.uint()
	return ring.Partition(r.uint())
}

// Header begins every message between the replicas of one partition. Only one
// of the receiver's own epoch counts, from the process that EpochStart met.
type Header struct {
	Partition ring.Partition
	Epoch     ring.Epoch   // the sender's promise
	From      ring.Process // the sender
	Commit    uint64       // all entries to this seq are committed, as far as the sender knows
}

const headerFields = 6 // with the kind

func (h *Header) append(b []byte, kind Kind, fields int) []byte {
	b = appendArray(b, headerFields+fields)
	b = appendUint(b, uint64(kind))
	b = appendUint(b, uint64(h.Partition))
	b = appendUint(b, uint64(h.Epoch))
	b = appendUint(b, uint64(h.From.Store))
	b = appendUint(b, uint64(h.From.Boot))
	return appendUint(b, h.Commit)
}

func (h *Header) decode(r *reader, kind Kind, fields int) (more int) {
	more = r.fields(headerFields + fields)
	if Kind(r.uint()) != kind {
		r.fail = true
	}
	h.Partition = ring.Partition(r.uint())
	h.Epoch = ring.Epoch(r.uint())
	h.From = ring.Process{Store: ring.NodeID(r.uint()), Boot: ring.BootID(r.uint())}
	h.Commit = r.uint()
	return more
}

func appendVersion(b []byte, v Version) []byte {
	return appendUint(appendUint(b, uint64(v.Epoch)), v.Seq)
}

func (r *reader) version() Version { return Version{ring.Epoch(r.uint()), r.uint()} }

// Prepare gives a replica entries to keep. Prev is the version before the
// first; without entries the message only tells the commit index.
type Prepare struct {
	Header
	Prev    Version
	Entries []*Entry
}

// Append appends the message in its wire form. Entries that carry Raw are
// copied as they are.
func (m *Prepare) Append(b []byte) []byte {
	b = m.append(b, KindPrepare, 3)
	b = appendVersion(b, m.Prev)
	b = append(b, 0xdc, byte(len(m.Entries)>>8), byte(len(m.Entries)))
	for _, e := range m.Entries {
		if e.Raw != nil {
			b = append(b, e.Raw...)
		} else {
			b = e.Encode(b)
		}
	}
	return b
}

// MaxEntries is how many entries one Prepare holds at the most.
const MaxEntries = 1 << 12

// Decode reads what Append wrote; entries alias b.
func (m *Prepare) Decode(b []byte) error {
	r := reader{b: b}
	more := m.decode(&r, KindPrepare, 3)
	m.Prev = r.version()
	n := r.array()
	if n > MaxEntries || n > len(r.b) {
		return ErrMalformed
	}
	all := make([]Entry, n)
	m.Entries = make([]*Entry, n)
	for i := range all {
		rest, err := all[i].Decode(r.b)
		if err != nil {
			return err
		}
		r.b, m.Entries[i] = rest, &all[i]
	}
	return r.end(more)
}

// Answer is how a replica takes a message of its primary.
type Answer uint8

const (
	AnswerOK      Answer = iota + 1
	AnswerGap            // entries before these are missing; Tail says from where
	AnswerRefused        // Header.Epoch, the replica's promise, is another
	AnswerFault          // the copy cannot go on from its log and must be made anew
)

// PrepareReply says how far a replica's log reaches, durable as the sync mode
// says. Header.Epoch is its promise.
type PrepareReply struct {
	Header
	Answer Answer
	Tail   Version
}

// Append appends the message in its wire form.
func (m *PrepareReply) Append(b []byte) []byte {
	b = m.append(b, KindPrepareReply, 3)
	b = appendUint(b, uint64(m.Answer))
	return appendVersion(b, m.Tail)
}

// Decode reads what Append wrote.
func (m *PrepareReply) Decode(b []byte) error {
	r := reader{b: b}
	more := m.decode(&r, KindPrepareReply, 3)
	m.Answer, m.Tail = Answer(r.uint()), r.version()
	return r.end(more)
}

// Outline tells which entries a log has held, without the entries: for each
// epoch that has any, the last of it, oldest first. Two logs that share an
// (epoch, seq) share everything before it.
type Outline []Version

// MaxOutline is how many epochs an outline goes back.
const MaxOutline = 128

// Tail is the last entry of the log.
func (o Outline) Tail() Version {
	if len(o) == 0 {
		return Version{}
	}
	return o[len(o)-1]
}

// Holds reports whether the log has held this version: whether it is at or
// before the last entry of its epoch and after the last of the epoch before.
func (o Outline) Holds(v Version) bool { return o.At(v.Seq) == v }

// At returns the version of the entry with this seq: that of the first epoch
// that reaches it. Zero when the outline does not reach so far. For a seq before
// the first version of an outline that is not whole the answer is a guess.
func (o Outline) At(seq uint64) Version {
	for _, v := range o {
		if seq <= v.Seq {
			return Version{v.Epoch, seq}
		}
	}
	return Version{}
}

// Add returns the outline after an entry of this version was appended; it may
// change o.
func (o Outline) Add(v Version) Outline {
	if n := len(o); n > 0 && o[n-1].Epoch == v.Epoch {
		o[n-1] = v
		return o
	}
	o = append(o, v)
	if len(o) > MaxOutline {
		o = append(o[:0], o[len(o)-MaxOutline:]...)
	}
	return o
}

// Cut returns the outline of a log whose entries after v were dropped; it may
// change o. The log must hold v.
func (o Outline) Cut(v Version) Outline {
	for len(o) > 0 && v.Less(o[len(o)-1]) {
		o = o[:len(o)-1]
	}
	if len(o) == 0 || o[len(o)-1] != v {
		o = append(o, v)
	}
	return o
}

// Shared returns the last entry that both logs hold; ok is false when the
// outlines do not reach back to one. A whole outline begins with the zero
// version, the empty log that all logs share; one of a log that was begun by a
// stream, or that grew past MaxOutline epochs, does not.
func (o Outline) Shared(p Outline) (v Version, ok bool) {
	i, j := len(o)-1, len(p)-1
	for i >= 0 && j >= 0 {
		switch {
		case o[i].Epoch == p[j].Epoch:
			return Version{o[i].Epoch, min(o[i].Seq, p[j].Seq)}, true
		case o[i].Epoch > p[j].Epoch:
			i--
		default:
			j--
		}
	}
	return Version{}, false
}

func appendOutline(b []byte, o Outline) []byte {
	b = appendArray(b, 2*len(o))
	for _, v := range o {
		b = appendVersion(b, v)
	}
	return b
}

func (r *reader) outline() Outline {
	n := r.array() / 2
	if n > 2*MaxOutline {
		r.fail = true
		return nil
	}
	o := make(Outline, 0, n)
	for range n {
		o = append(o, r.version())
	}
	return o
}
