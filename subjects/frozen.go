package subjects

import "github.com/etolabo/kumofs/subjects/ring"

// FreezeRequest asks a server for its copy of a partition as it is at one entry. It
// is there to be read, while the copy goes on, until ThawRequest, or until nobody
// has asked for it for 45 s. The errors are ErrBusy (too many are frozen),
// ErrPassed, ErrUnavailable (the copy is not whole, or the server does not lead the
// partition) and ErrTimeout.
type FreezeRequest struct {
	Partition ring.Partition `json:"partition"`
	// Primary: only if the server leads the partition and may answer reads of every
	// key, so that all that was acknowledged before is there.
	Primary bool `json:"primary,omitempty"`
	// Seq is the entry; 0: the newest. One that has not committed is waited for, for
	// WaitMS milliseconds at most.
	Seq    uint64 `json:"seq,omitempty"`
	WaitMS int64  `json:"wait_ms,omitempty"`
}

// FrozenCopy answers FreezeRequest.
type FrozenCopy struct {
	Snapshot  string         `json:"snapshot"` // by which it is asked for
	Partition ring.Partition `json:"partition"`
	At        Version        `json:"at"`    // the newest entry that is in it
	Epoch     ring.Epoch     `json:"epoch"` // in which the server led; 0: it was not asked to
}

// ThawRequest gives a frozen copy up.
type ThawRequest struct {
	Snapshot string `json:"snapshot"`
}

// DigestsRequest asks for digests of the ranges of a frozen copy from a key on,
// which begins one.
type DigestsRequest struct {
	Snapshot string `json:"snapshot"`
	From     []byte `json:"from,omitempty"`
	To       []byte `json:"to,omitempty"` // exclusive; empty: the end
}

// DigestsReport answers DigestsRequest with some ranges, of 4 MiB or more together.
type DigestsReport struct {
	Ranges []KeyRange `json:"ranges"`
	Next   []byte     `json:"next,omitempty"` // the key to go on from, unless Last
	Last   bool       `json:"last,omitempty"`
}

// PieceRequest asks for records of a frozen copy.
type PieceRequest struct {
	Snapshot []byte
	From, To []byte // To is exclusive; empty: the end
	KeysOnly bool   // records without their values
	Pass     bool   // nobody will ask for keys before From any more
}

// Append appends the message in its wire form.
func (m *PieceRequest) Append(b []byte) []byte {
	b = appendArray(b, 5)
	b = appendBytes(b, m.Snapshot)
	b = appendBytes(b, m.From)
	b = appendBytes(b, m.To)
	b = appendBool(b, m.KeysOnly)
	return appendBool(b, m.Pass)
}

// Decode reads what Append wrote; byte strings alias b.
func (m *PieceRequest) Decode(b []byte) error {
	r := reader{b: b}
	more := r.fields(5)
	m.Snapshot, m.From, m.To = r.bytes(), r.bytes(), r.bytes()
	m.KeysOnly, m.Pass = r.bool(), r.bool()
	return r.end(more)
}

// Piece answers PieceRequest: about 64 KiB of records, or one, or none where many
// keys were removed, as package digest writes them.
type Piece struct {
	Code, Message []byte // of a WireError
	Records       []byte
	Next          []byte // the key to go on from, unless Last
	Last          bool
}

// Fail makes the piece an error's.
func (m *Piece) Fail(err error) {
	e := ToWire(err)
	*m = Piece{Code: []byte(e.Code), Message: []byte(e.Message)}
}

// Err is the error that was answered, nil for none.
func (m *Piece) Err() error {
	if len(m.Code) == 0 {
		return nil
	}
	return &WireError{Code: string(m.Code), Message: string(m.Message)}
}

// Append appends the message in its wire form.
func (m *Piece) Append(b []byte) []byte {
	b = appendArray(b, 5)
	b = appendBytes(b, m.Code)
	b = appendBytes(b, m.Message)
	b = appendBytes(b, m.Records)
	b = appendBytes(b, m.Next)
	return appendBool(b, m.Last)
}

// Decode reads what Append wrote; byte strings alias b.
func (m *Piece) Decode(b []byte) error {
	r := reader{b: b}
	more := r.fields(5)
	m.Code, m.Message, m.Records, m.Next, m.Last = r.bytes(), r.bytes(), r.bytes(), r.bytes(), r.bool()
	return r.end(more)
}
