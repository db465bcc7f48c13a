package memcache

// Limits of the protocol.
const (
	MaxKey  = 250  // bytes of a key
	MaxLine = 2048 // bytes of a command line that has not ended yet, lists of keys aside

	// MonthSeconds separates expiry times: up to it they count from now, above
	// it they are Unix times.
	MonthSeconds = 60 * 60 * 24 * 30
)

// Op is what a request asks for.
type Op uint8

// The operations. Each has one meaning whatever the syntax it came in.
const (
	OpNone        Op = iota
	OpGet            // answers Key's value
	OpGetAndTouch    // the same, and sets Exptime
	OpListEnd        // ends a list of keys whose last key did not say so
	OpSet
	OpAdd
	OpReplace
	OpAppend
	OpPrepend
	OpCAS // stores if the item's token is CAS
	OpDelete
	OpIncr // adds Delta
	OpDecr // subtracts Delta, down to 0
	OpTouch
	OpVersion
	OpVerbosity
	OpStats    // Args holds what followed the command
	OpFlushAll // Exptime holds the delay in seconds
	OpQuit
	OpShutdown
	OpNoop
	OpFetch      // a get that may change the item: meta's mg with N, R or T
	OpDebug      // tells about an item and not its value: meta's me
	OpAuth       // Key holds the user and Value the password; see Admit of the parsers
	OpMechanisms // asks for SASL's mechanisms
	OpError      // there is nothing to do but to answer Status

	NumOps = iota // how many there are, OpNone among them
)

// IsStore says whether a value travels with the operation.
func (o Op) IsStore() bool { return o >= OpSet && o <= OpCAS }

// IsKeyed says whether the operation is about one key.
func (o Op) IsKeyed() bool {
	return o == OpGet || o == OpGetAndTouch || o >= OpSet && o <= OpTouch || o == OpFetch || o == OpDebug
}

// IsRead says whether the operation is about one key and changes nothing.
func (o Op) IsRead() bool { return o == OpGet || o == OpDebug }

// Request is one operation on at most one key. A command that lists several
// keys becomes several requests, of which all but the last say More, and all
// but the first Cont; together they have one answer.
type Request struct {
	Op       Op
	Status   Status // for OpError
	WantCAS  bool   // the answer includes the item's token
	Noreply  bool   // nothing is answered, not even an error
	More     bool   // the next request belongs to the same command
	Cont     bool   // the request before belonged to the same command
	TooLarge bool   // the value was over the limit and is being passed over: Value is empty
	Close    bool   // the connection ends after the answer

	Key     []byte // aliases the parser's input
	Value   []byte // aliases the parser's input
	Args    []byte // aliases the parser's input
	Flags   uint32
	Exptime int64  // seconds as the client gave them, see Expiry
	CAS     uint64 // token to compare with: always for OpCAS, elsewhere if not 0
	Delta   uint64 // for OpIncr and OpDecr

	Syntax  Syntax // how it was written, and its answer is to be
	Quiet   bool   // success is not answered, nor is a get of what is not there
	Vivify  bool   // what is not there is made: a counter of Initial, or Value
	Initial uint64 // with Vivify, for OpIncr and OpDecr
	Fresh   int64  // with Vivify: the expiry time of what is made
	Opcode  byte   // of the binary protocol
	Opaque  uint32 // of the binary protocol
	Meta    *Meta  // of the meta commands; the parser's until its next request
}

// Drops tells, of a request whose value is too large, whether the value that was
// there goes: nobody may go on reading what its writer believes replaced.
// memcached decides that in each syntax anew.
func (r *Request) Drops() bool {
	switch r.Syntax {
	case SyntaxMeta:
		return true
	case SyntaxBinary:
		return r.Opcode == opcodeSet || r.Opcode == opcodeSetQ
	}
	return r.Op == OpSet
}

// Expiry makes a client's expiry time absolute: 0 is never, anything negative
// has passed already, up to 30 days counts from now, and the rest is a Unix
// time. now and the result are Unix seconds; 0 means never, and what has
// passed comes back as 1.
func Expiry(exptime, now int64) int64 {
	switch {
	case exptime == 0:
		return 0
	case exptime < 0:
		return 1
	case exptime <= MonthSeconds:
		return now + exptime
	}
	return exptime
}

// Reply is what came of a Request.
type Reply struct {
	Status Status
	Flags  uint32 // of a value
	CAS    uint64 // of a value
	Value  []byte // of gets; a complete text for OpStats and OpVersion
	Number uint64 // of OpIncr and OpDecr

	// These are looked at in the answers of meta commands alone.
	TTL   int64  // seconds until the item expires; -1: never
	Size  uint32 // bytes of the value after a change
	Idle  uint32 // seconds since the item was last asked for
	Hit   bool   // it was asked for before
	Stale bool   // the value is out of date
	Sent  bool   // some client was told to make it anew
	Won   bool   // this one was
}
