package subjects

import (
	"fmt"
	"hash/crc32"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Limits of a record.
const (
	MaxKey         = 250      // bytes, after the gateway's prefix
	MaxValue       = 16 << 20 // bytes, the most that --max-item-size takes
	DefaultMaxItem = 1 << 20  // bytes
)

// Version is an entry's place in its partition's log. Seq grows by one with
// every entry, through all epochs; Epoch is that in which the entry was first
// proposed.
type Version struct {
	Epoch ring.Epoch `json:"epoch"`
	Seq   uint64     `json:"seq"`
}

const seqBits = 40 // leaves 24 bits for the epoch: 10^12 writes, 16 million changes

// CAS packs the version in 64 bits: the CAS token of the value that the entry
// made. Never used twice, so that a delete and a re-set cannot bring an old
// token back.
func (v Version) CAS() uint64 { return uint64(v.Epoch)<<seqBits | v.Seq&(1<<seqBits-1) }

// FromCAS is the inverse of CAS.
func FromCAS(c uint64) Version {
	return Version{Epoch: ring.Epoch(c >> seqBits), Seq: c & (1<<seqBits - 1)}
}

// Less orders versions by epoch, then sequence.
func (v Version) Less(o Version) bool {
	return v.Epoch < o.Epoch || v.Epoch == o.Epoch && v.Seq < o.Seq
}

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch, v.Seq) }

// OpID names one operation of one gateway, through all of its attempts.
type OpID struct {
	Boot   ring.BootID // of the gateway
	N      uint64      // counted per gateway and partition, from 1
	Lowest uint64      // the lowest N of this gateway and partition that is still open
}

// Record is a stored value as the world sees it.
type Record struct {
	Key     []byte
	Value   []byte
	Flags   uint32  // the client's
	Expiry  int64   // Unix seconds; 0: never
	Bits    uint32  // MarkStale, MarkSent
	Version Version // of the entry that made it
	Token   uint64  // an explicit CAS token; 0: the version's
}

// Marks of a value, for clients that make values anew before they are gone
// (memcached's meta commands).
const (
	MarkStale uint32 = 1 << iota // the value is out of date; somebody should make it anew
	MarkSent                     // a client was told that it is to do so
	MarkWon                      // only in entries and answers: this operation was the one that was told
)

// CAS is the token by which a client names this value.
func (r *Record) CAS() uint64 { return token(r.Token, r.Version) }

func token(explicit uint64, v Version) uint64 {
	if explicit != 0 {
		return explicit
	}
	return v.CAS()
}

// Size is what the record weighs in memory and on the wire, about, in bytes.
func (r *Record) Size() int { return len(r.Key) + len(r.Value) + 64 }

// EntryKind says what an entry does to its key.
type EntryKind uint8

const (
	EntryNoop   EntryKind = iota // nothing; it only takes a place in the log
	EntryPut                     // Key gets Value, Flags, Expiry, Bits, Token
	EntryDelete                  // Key is gone
	EntryFlush                   // every key of the partition is gone
	EntryAnswer                  // no key changes; the answer of Op is recorded, with the value that it tells of
)

// Returns says what an answer tells beside its status.
type Returns uint8

const (
	ReturnsNothing Returns = iota
	ReturnsValue           // Value, Flags and Expiry of the entry
	ReturnsCounter         // Value without the spaces that keep its length, and Expiry
)

// Entry is one element of a partition's log: the result of an operation, never
// the computation. It is written and sent as one msgpack array whose last
// element is the CRC-32C of the bytes before it.
type Entry struct {
	Partition ring.Partition
	Version   Version
	Prev      Version // of the entry before it; zero for the first
	Op        OpID    // zero when no gateway asked (expiry, flush)
	Kind      EntryKind
	Key       []byte
	Value     []byte
	Flags     uint32
	Expiry    int64  // Unix seconds; 0: never
	Bits      uint32 // the marks, MarkWon among them
	Clock     int64  // the primary's clock when it made the entry, Unix milliseconds
	Answer    Status // what the client is told once this has committed
	Returns   Returns
	Token     uint64 // an explicit CAS token; 0: the version's
	// Raw is the entry as encoded; Encode and Decode set it, and let Key and
	// Value alias it, so that nothing else of a message is kept alive.
	Raw []byte
}

const entryFields = 19

// Record is what the entry puts.
func (e *Entry) Record() Record {
	return Record{
		Key: e.Key, Value: e.Value, Flags: e.Flags, Expiry: e.Expiry, Bits: e.Bits &^ MarkWon,
		Version: e.Version, Token: e.Token,
	}
}

// CAS is the token that the entry's value has, and that its answer tells.
func (e *Entry) CAS() uint64 { return token(e.Token, e.Version) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode appends the entry to b and sets Raw, Key and Value to what it
// appended.
func (e *Entry) Encode(b []byte) []byte {
	start := len(b)
	b = appendArray(b, entryFields)
	b = appendUint(b, uint64(e.Partition))
	b = appendUint(b, uint64(e.Version.Epoch))
	b = appendUint(b, e.Version.Seq)
	b = appendUint(b, uint64(e.Prev.Epoch))
	b = appendUint(b, e.Prev.Seq)
	b = appendUint(b, uint64(e.Op.Boot))
	b = appendUint(b, e.Op.N)
	b = appendUint(b, e.Op.Lowest)
	b = appendUint(b, uint64(e.Kind))
	b = appendBytes(b, e.Key)
	key := len(b)
	b = appendBytes(b, e.Value)
	value := len(b)
	b = appendUint(b, uint64(e.Flags))
	b = appendInt(b, e.Expiry)
	b = appendUint(b, uint64(e.Bits))
	b = appendInt(b, e.Clock)
	b = appendUint(b, uint64(e.Answer))
	b = appendUint(b, uint64(e.Returns))
	b = appendUint(b, e.Token)
	sum := crc32.Checksum(b[start:], castagnoli)
	b = append(b, 0xce, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
	e.Raw = b[start:len(b):len(b)]
	e.Key = b[key-len(e.Key) : key : key]
	e.Value = b[value-len(e.Value) : value : value]
	return b
}

// Decode takes an entry from the front of b, checks its CRC and returns the
// rest. Key, Value and Raw alias b.
func (e *Entry) Decode(b []byte) (rest []byte, err error) {
	r := reader{b: b}
	if r.array() != entryFields {
		return nil, ErrMalformed
	}
	e.Partition = ring.Partition(r.uint())
	e.Version = Version{ring.Epoch(r.uint()), r.uint()}
	e.Prev = Version{ring.Epoch(r.uint()), r.uint()}
	e.Op = OpID{ring.BootID(r.uint()), r.uint(), r.uint()}
	e.Kind = EntryKind(r.uint())
	e.Key = r.bytes()
	e.Value = r.bytes()
	e.Flags = uint32(r.uint())
	e.Expiry = r.int()
	e.Bits = uint32(r.uint())
	e.Clock = r.int()
	e.Answer = Status(r.uint())
	e.Returns = Returns(r.uint())
	e.Token = r.uint()
	if r.fail {
		return nil, ErrMalformed
	}
	sum := crc32.Checksum(b[:len(b)-len(r.b)], castagnoli)
	if r.byte() != 0xce || uint32(r.number(4)) != sum || r.fail {
		return nil, fmt.Errorf("entry %d %s: checksum does not match: %w", e.Partition, e.Version, ErrMalformed)
	}
	n := len(b) - len(r.b)
	e.Raw = b[:n:n]
	return b[n:], nil
}

// Verb is what a client wants of a key.
type Verb uint8

const (
	VerbSet     Verb = iota + 1 // store; with Cas: only if the value's token is that
	VerbAdd                     // store if there is none
	VerbReplace                 // store if there is one
	VerbAppend                  // behind the value, flags and expiry kept
	VerbPrepend
	VerbDelete
	VerbIncr
	VerbDecr
	VerbTouch // new expiry; the answer carries the value (gat)
	VerbFlush // empties the partition; Key is empty
	VerbFetch // a read that may change marks and expiry, or make the value (mg with N, R or T)
)

// Read asks for a key's value. Answered by Reply: StatusOK or StatusNotFound,
// or a routing status.
type Read struct {
	Partition ring.Partition
	Epoch     ring.Epoch // of the partition, as the sender's ring has it
	Peek      bool       // it does not count as a use of the value; see Reply.Idle and Hit
	Key       []byte     // last, so that its place in the message is known
}

// Append appends the message in its wire form.
func (m *Read) Append(b []byte) []byte {
	b = appendArray(b, 4)
	b = appendUint(b, uint64(m.Partition))
	b = appendUint(b, uint64(m.Epoch))
	b = appendBool(b, m.Peek)
	return appendBytes(b, m.Key)
}

// Decode reads what Append wrote; byte strings alias b.
func (m *Read) Decode(b []byte) error {
	r := reader{b: b}
	more := r.fields(4)
	m.Partition, m.Epoch, m.Peek, m.Key = ring.Partition(r.uint()), ring.Epoch(r.uint()), r.bool(), r.bytes()
	return r.end(more)
}

// Write asks for a change of a key. Answered by Reply once the outcome has
// committed. A gateway repeats it under the same Op with the next Attempt.
type Write struct {
	Partition ring.Partition
	Epoch     ring.Epoch // of the partition, as the sender's ring has it
	Op        OpID
	Attempt   uint32
	Verb      Verb
	Key       []byte
	Value     []byte
	Flags     uint32
	Exptime   int64  // as the client gave it: relative, absolute, negative, 0
	Cas       uint64 // 0: no condition; otherwise only if the value's token is that
	Delta     uint64 // of incr and decr
	Options   uint32 // the Option bits
	Initial   uint64 // with OptionVivify: what incr and decr store when there is no value
	MaxItem   uint32 // largest value that append and prepend may make; 0: DefaultMaxItem
	Token     uint64 // with OptionToken: the CAS token of the value that is made
	Vivify    int64  // with OptionVivify: the exptime of a value that is made because there was none
	Recache   int64  // with OptionRecache: an exptime
}

// Options of a Write.
const (
	// OptionVivify: where there is no value, incr and decr make one of Initial,
	// append and prepend of Value, and fetch an empty one that its client is told
	// to fill (MarkWon).
	OptionVivify uint32 = 1 << iota
	OptionEarly         // answer before the replicas have it (-As, -Ad); no acknowledgement
	OptionToken         // the value that is made has Token
	// OptionStale: a set whose Cas is older than the value's token stores all the
	// same, and marks the value stale; a delete leaves the value, marked stale, for
	// the next fetch to win.
	OptionStale
	OptionEmpty   // delete: the key stays, with an empty value and its token
	OptionTouch   // fetch, incr, decr, and delete with OptionStale: a value that is there gets Exptime
	OptionRecache // fetch: win if the value's time is over before Recache
	OptionRenewed // with OptionTouch and OptionRecache: judge by the time that Exptime sets
)

// Append appends the message in its wire form.
func (m *Write) Append(b []byte) []byte {
	b = appendArray(b, 19)
	b = appendUint(b, uint64(m.Partition))
	b = appendUint(b, uint64(m.Epoch))
	b = appendUint(b, uint64(m.Op.Boot))
	b = appendUint(b, m.Op.N)
	b = appendUint(b, m.Op.Lowest)
	b = appendUint(b, uint64(m.Attempt))
	b = appendUint(b, uint64(m.Verb))
	b = appendBytes(b, m.Key)
	b = appendBytes(b, m.Value)
	b = appendUint(b, uint64(m.Flags))
	b = appendInt(b, m.Exptime)
	b = appendUint(b, m.Cas)
	b = appendUint(b, m.Delta)
	b = appendUint(b, uint64(m.Options))
	b = appendUint(b, m.Initial)
	b = appendUint(b, uint64(m.MaxItem))
	b = appendUint(b, m.Token)
	b = appendInt(b, m.Vivify)
	return appendInt(b, m.Recache)
}

// Decode reads what Append wrote; byte strings alias b.
func (m *Write) Decode(b []byte) error {
	r := reader{b: b}
	more := r.fields(19)
	m.Partition, m.Epoch = ring.Partition(r.uint()), ring.Epoch(r.uint())
	m.Op = OpID{ring.BootID(r.uint()), r.uint(), r.uint()}
	m.Attempt = uint32(r.uint())
	m.Verb = Verb(r.uint())
	m.Key, m.Value = r.bytes(), r.bytes()
	m.Flags = uint32(r.uint())
	m.Exptime = r.int()
	m.Cas, m.Delta = r.uint(), r.uint()
	m.Options = uint32(r.uint())
	m.Initial = r.uint()
	m.MaxItem = uint32(r.uint())
	m.Token = r.uint()
	m.Vivify, m.Recache = r.int(), r.int()
	return r.end(more)
}

// Reply answers Read and Write.
type Reply struct {
	Status Status
	Value  []byte // of a read, fetch, touch; the digits of a counter
	Flags  uint32
	Cas    uint64
	Expiry int64 // Unix seconds; 0: never
	// Epoch is the answerer's own epoch of the partition: with StatusNotPrimary
	// it tells whose ring is older.
	Epoch ring.Epoch
	Marks uint32 // the value's, and MarkWon
	Size  uint32 // bytes of the value that the key has now
	// Idle and Hit are what the primary remembers of the key: the seconds since it
	// was last read or written, and whether it was read since it was written.
	Idle uint32
	Hit  bool
}

// Fill makes it the answer to a read that found a record, whose value it aliases.
func (m *Reply) Fill(rec *Record) {
	m.Status, m.Value, m.Flags, m.Expiry = StatusOK, rec.Value, rec.Flags, rec.Expiry
	m.Cas, m.Marks, m.Size = rec.CAS(), rec.Bits, uint32(len(rec.Value))
}

// Append appends the message in its wire form.
func (m *Reply) Append(b []byte) []byte {
	b = appendArray(b, 10)
	b = appendUint(b, uint64(m.Status))
	b = appendBytes(b, m.Value)
	b = appendUint(b, uint64(m.Flags))
	b = appendUint(b, m.Cas)
	b = appendInt(b, m.Expiry)
	b = appendUint(b, uint64(m.Epoch))
	b = appendUint(b, uint64(m.Marks))
	b = appendUint(b, uint64(m.Size))
	b = appendUint(b, uint64(m.Idle))
	return appendBool(b, m.Hit)
}

// Decode reads what Append wrote; Value aliases b.
func (m *Reply) Decode(b []byte) error {
	r := reader{b: b}
	more := r.fields(10)
	m.Status, m.Value = Status(r.uint()), r.bytes()
	m.Flags, m.Cas, m.Expiry, m.Epoch = uint32(r.uint()), r.uint(), r.int(), ring.Epoch(r.uint())
	m.Marks, m.Size, m.Idle, m.Hit = uint32(r.uint()), uint32(r.uint()), uint32(r.uint()), r.bool()
	return r.end(more)
}
