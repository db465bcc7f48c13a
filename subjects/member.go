package subjects

import "github.com/etolabo/kumofs/subjects/ring"

// EpochStart is how a primary takes the lead of an epoch: the receiver promises
// it, cuts its log after the last entry that it shares with the outline, in one
// durable record, and reports. Every change of epoch uses it.
type EpochStart struct {
	Header
	Outline Outline
	// Members of the epoch, so that a receiver whose ring is older knows its role.
	ISR      []ring.NodeID
	Learners []ring.NodeID
	// Restart tells a learner to begin anew, with a stream, after Base: the
	// primary's log no longer reaches back to what they share.
	Restart bool
	Base    Version
	// Try numbers what this primary has sent to the receiver in the epoch.
	Try uint64
}

// Append appends the message in its wire form.
func (m *EpochStart) Append(b []byte) []byte {
	b = m.append(b, KindEpochStart, 7)
	b = appendOutline(b, m.Outline)
	b = appendNodes(b, m.ISR)
	b = appendNodes(b, m.Learners)
	b = appendBool(b, m.Restart)
	return appendUint(appendVersion(b, m.Base), m.Try)
}

// Decode reads what Append wrote.
func (m *EpochStart) Decode(b []byte) error {
	r := reader{b: b}
	more := m.decode(&r, KindEpochStart, 7)
	m.Outline = r.outline()
	m.ISR, m.Learners = r.nodes(), r.nodes()
	m.Restart, m.Base, m.Try = r.bool(), r.version(), r.uint()
	return r.end(more)
}

// EpochReply answers EpochStart once promise and cut are on disk. With
// AnswerFault the copy cannot go on from its log (it would cut below what it
// knows committed, it is unclean, or it never was whole).
type EpochReply struct {
	Header
	Answer  Answer
	Outline Outline // after the cut
	// Incomplete copies wait for ranges from Cursor on.
	Incomplete bool
	Cursor     []byte
	Try        uint64 // of the EpochStart that it answers
}

// Append appends the message in its wire form.
func (m *EpochReply) Append(b []byte) []byte {
	b = m.append(b, KindEpochReply, 5)
	b = appendUint(b, uint64(m.Answer))
	b = appendOutline(b, m.Outline)
	b = appendBool(b, m.Incomplete)
	return appendUint(appendBytes(b, m.Cursor), m.Try)
}

// Decode reads what Append wrote.
func (m *EpochReply) Decode(b []byte) error {
	r := reader{b: b}
	more := m.decode(&r, KindEpochReply, 5)
	m.Answer, m.Outline = Answer(r.uint()), r.outline()
	m.Incomplete, m.Cursor, m.Try = r.bool(), r.bytes(), r.uint()
	return r.end(more)
}

// DefaultLease is how long a lease lasts unless a giver says otherwise,
// nanoseconds.
const DefaultLease = int64(1e9)

// Lease asks a process for leases of every partition that it shares with the
// sender. Sent is the sender's CLOCK_BOOTTIME in nanoseconds and means nothing
// to the receiver, who returns it. Length is how long the sender would have
// them, nanoseconds.
type Lease struct {
	From   ring.Process
	Sent   int64
	Epochs []PartitionEpoch
	Length int64
}

// PartitionEpoch is a partition with the epoch that a lease is asked for.
type PartitionEpoch struct {
	Partition ring.Partition `json:"partition"`
	Epoch     ring.Epoch     `json:"epoch"`
}

// Append appends the message in its wire form.
func (m *Lease) Append(b []byte) []byte {
	return appendLease(b, KindLease, m.From, m.Sent, m.Epochs, m.Length)
}

// Decode reads what Append wrote.
func (m *Lease) Decode(b []byte) error {
	return decodeLease(b, KindLease, &m.From, &m.Sent, &m.Epochs, &m.Length)
}

// LeaseReply grants leases for the listed partitions: those whose promise is
// still the epoch that was asked for. They last for Length from Sent, which is
// what the giver is set to, and no longer than the asker is set to.
type LeaseReply struct {
	From   ring.Process
	Sent   int64
	Epochs []PartitionEpoch
	Length int64
}

// Append appends the message in its wire form.
func (m *LeaseReply) Append(b []byte) []byte {
	return appendLease(b, KindLeaseReply, m.From, m.Sent, m.Epochs, m.Length)
}

// Decode reads what Append wrote.
func (m *LeaseReply) Decode(b []byte) error {
	return decodeLease(b, KindLeaseReply, &m.From, &m.Sent, &m.Epochs, &m.Length)
}

func appendLease(b []byte, kind Kind, from ring.Process, sent int64, epochs []PartitionEpoch, length int64) []byte {
	b = appendArray(b, 6)
	b = appendUint(b, uint64(kind))
	b = appendUint(b, uint64(from.Store))
	b = appendUint(b, uint64(from.Boot))
	b = appendInt(b, sent)
	b = appendArray(b, 2*len(epochs))
	for _, e := range epochs {
		b = appendUint(appendUint(b, uint64(e.Partition)), uint64(e.Epoch))
	}
	return appendInt(b, length)
}

func decodeLease(b []byte, kind Kind, from *ring.Process, sent *int64, epochs *[]PartitionEpoch, length *int64) error {
	r := reader{b: b}
	more := r.fields(5)
	if Kind(r.uint()) != kind {
		return ErrMalformed
	}
	*from = ring.Process{Store: ring.NodeID(r.uint()), Boot: ring.BootID(r.uint())}
	*sent = r.int()
	n := r.array() / 2
	if n > ring.MaxPartitions || n > len(r.b) {
		return ErrMalformed
	}
	*epochs = make([]PartitionEpoch, n)
	for i := range *epochs {
		(*epochs)[i] = PartitionEpoch{ring.Partition(r.uint()), ring.Epoch(r.uint())}
	}
	*length = DefaultLease // of a sender that knows no other
	if more > 0 {
		*length, more = r.int(), more-1
	}
	return r.end(more)
}

func appendNodes(b []byte, ids []ring.NodeID) []byte {
	b = appendArray(b, len(ids))
	for _, id := range ids {
		b = appendUint(b, uint64(id))
	}
	return b
}

func (r *reader) nodes() []ring.NodeID {
	n := r.array()
	if n > 4*ring.MaxReplicas {
		r.fail = true
		return nil
	}
	ids := make([]ring.NodeID, n)
	for i := range ids {
		ids[i] = ring.NodeID(r.uint())
	}
	return ids
}
