package subjects

// MaxRange is about how many bytes of records one Range carries, or one record.
const MaxRange = 512 << 10

// Range replaces all that a learner holds from key From (inclusive) to key To
// (exclusive; the end of the partition when Last). It holds everything
// committed through seq Through, and may hold later committed values. A
// learner takes the Range that begins at its cursor and answers others with the
// cursor that it has.
type Range struct {
	Header
	From, To []byte
	Last     bool
	Through  uint64
	Records  []Record
	Sessions []byte // with the last range: the partition's Sessions
}

// Append appends the message in its wire form.
func (m *Range) Append(b []byte) []byte {
	b = m.append(b, KindRange, 6)
	b = appendBytes(b, m.From)
	b = appendBytes(b, m.To)
	b = appendBool(b, m.Last)
	b = appendUint(b, m.Through)
	b = appendArray32(b, len(m.Records))
	for i := range m.Records {
		b = m.Records[i].append(b)
	}
	return appendBytes(b, m.Sessions)
}

// Decode reads what Append wrote; records alias b.
func (m *Range) Decode(b []byte) error {
	r := reader{b: b}
	more := m.decode(&r, KindRange, 6)
	m.From, m.To, m.Last, m.Through = r.bytes(), r.bytes(), r.bool(), r.uint()
	n := r.array()
	if n > len(r.b) {
		return ErrMalformed
	}
	m.Records = make([]Record, n)
	for i := range m.Records {
		m.Records[i].read(&r)
	}
	m.Sessions = r.bytes()
	return r.end(more)
}

const recordFields = 8

func (m *Record) append(b []byte) []byte {
	b = appendArray(b, recordFields)
	b = appendBytes(b, m.Key)
	b = appendBytes(b, m.Value)
	b = appendUint(b, uint64(m.Flags))
	b = appendInt(b, m.Expiry)
	b = appendUint(b, uint64(m.Bits))
	b = appendVersion(b, m.Version)
	return appendUint(b, m.Token)
}

func (m *Record) read(r *reader) {
	if r.array() != recordFields {
		r.fail = true
		return
	}
	m.Key, m.Value = r.bytes(), r.bytes()
	m.Flags, m.Expiry, m.Bits = uint32(r.uint()), r.int(), uint32(r.uint())
	m.Version, m.Token = r.version(), r.uint()
}

// RangeReply tells how far a learner's copy reaches. Cursor is the first key
// that is missing; Complete that none is.
type RangeReply struct {
	Header
	Answer   Answer
	Cursor   []byte
	Complete bool
}

// Append appends the message in its wire form.
func (m *RangeReply) Append(b []byte) []byte {
	b = m.append(b, KindRangeReply, 3)
	b = appendUint(b, uint64(m.Answer))
	b = appendBytes(b, m.Cursor)
	return appendBool(b, m.Complete)
}

// Decode reads what Append wrote.
func (m *RangeReply) Decode(b []byte) error {
	r := reader{b: b}
	more := m.decode(&r, KindRangeReply, 3)
	m.Answer, m.Cursor, m.Complete = Answer(r.uint()), r.bytes(), r.bool()
	return r.end(more)
}
