package subjects

import (
	"bytes"
	"maps"
	"slices"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Sessions is what a partition remembers of gateways' operations, so that each
// takes effect once however often it is repeated (R9). It is folded from
// committed entries alone, in order, and so is the same at every replica.
//
// An answer is kept until its gateway says that the operation is no longer
// open. A session without an entry for SessionLife, by the partition's own
// age, is forgotten: gateways give up far earlier. Age is counted from the
// clocks of the entries, but one entry adds a second at most, so that a wall
// clock that jumps ahead makes nobody forget an operation that is under way.
type Sessions struct {
	all   map[ring.BootID]*session
	age   int64 // milliseconds that have passed for certain
	clock int64 // largest clock of an entry
	swept int64 // the age at which old sessions were last looked for
}

type session struct {
	lowest  uint64 // operations below are over
	last    int64  // the age at its newest entry
	answers map[uint64]Recorded
}

// Recorded is the answer of an operation that has committed.
type Recorded struct {
	Status  Status
	Version Version // of its entry
	Value   []byte  // with the flags and expiry, if the answer carries a value
	Flags   uint32
	Expiry  int64
	Marks   uint32
	Token   uint64 // the value's explicit CAS token; 0: the version's
	Size    uint32 // bytes of the value that the key had then
}

// CAS is the token that the operation was told.
func (a *Recorded) CAS() uint64 { return token(a.Token, a.Version) }

// Recorded is the answer of the operation that made the entry.
func (e *Entry) Recorded() Recorded {
	a := Recorded{Status: e.Answer, Version: e.Version, Marks: e.Bits, Token: e.Token, Size: uint32(len(e.Value))}
	switch e.Returns {
	case ReturnsValue:
		a.Value, a.Flags, a.Expiry = e.Value, e.Flags, e.Expiry
	case ReturnsCounter:
		a.Value, a.Expiry = bytes.TrimRight(e.Value, " "), e.Expiry
	}
	return a
}

// SessionLife is how long a silent gateway is remembered, in milliseconds of
// age.
const SessionLife = 10 * 60 * 1000

// maxAging is by how much one entry makes a partition older.
const maxAging = 1000

// Past is what is known of an operation.
type Past uint8

const (
	PastUnknown Past = iota // it has not taken effect
	PastDone                // it has, with the recorded answer
	PastOver                // its gateway no longer waits for it; it must not take effect any more
)

// Fold takes in a committed entry.
func (s *Sessions) Fold(e *Entry) {
	if e.Clock > s.clock {
		s.age += min(e.Clock-s.clock, maxAging)
		s.clock = e.Clock
	}
	if e.Op.Boot == 0 {
		return
	}
	g := s.session(e.Op.Boot)
	g.last = s.age
	g.raise(e.Op.Lowest)
	if e.Op.N >= g.lowest {
		g.answers[e.Op.N] = e.Recorded()
	}
	if s.age-s.swept > SessionLife/10 {
		s.swept = s.age
		maps.DeleteFunc(s.all, func(_ ring.BootID, g *session) bool { return s.age-g.last > SessionLife })
	}
}

// session returns a gateway's session, a new one if there is none.
func (s *Sessions) session(boot ring.BootID) *session {
	g := s.all[boot]
	if g == nil {
		if s.all == nil {
			s.all = map[ring.BootID]*session{}
		}
		g = &session{answers: map[uint64]Recorded{}}
		s.all[boot] = g
	}
	return g
}

func (g *session) raise(lowest uint64) {
	if lowest <= g.lowest {
		return
	}
	// As a rule few numbers end at a time, and the answers are many.
	if lowest-g.lowest < uint64(len(g.answers)) {
		for n := g.lowest; n < lowest; n++ {
			delete(g.answers, n)
		}
	} else {
		maps.DeleteFunc(g.answers, func(n uint64, _ Recorded) bool { return n < lowest })
	}
	g.lowest = lowest
}

// Lookup tells what is known of an operation.
func (s *Sessions) Lookup(op OpID) (Recorded, Past) {
	g := s.all[op.Boot]
	if g == nil {
		return Recorded{}, PastUnknown
	}
	if op.N < g.lowest {
		return Recorded{}, PastOver
	}
	if a, ok := g.answers[op.N]; ok {
		return a, PastDone
	}
	return Recorded{}, PastUnknown
}

// Clock is the largest clock of an entry that was folded, Unix milliseconds.
func (s *Sessions) Clock() int64 { return s.clock }

// Len is the number of gateways that are remembered.
func (s *Sessions) Len() int { return len(s.all) }

// Merge takes in what another replica of the partition remembers. Each counts
// age from where it began, so that what is compared is for how long a session
// has been silent: the shorter time counts.
func (s *Sessions) Merge(o *Sessions) {
	age := max(s.age, o.age)
	for _, g := range s.all {
		g.last += age - s.age
	}
	for boot, from := range o.all {
		g := s.session(boot)
		g.last = max(g.last, from.last+age-o.age)
		for n, a := range from.answers {
			g.answers[n] = a
		}
		low := max(g.lowest, from.lowest)
		g.lowest = low
		maps.DeleteFunc(g.answers, func(n uint64, _ Recorded) bool { return n < low })
	}
	s.age, s.clock, s.swept = age, max(s.clock, o.clock), age
}

// Append appends the sessions in their wire form, the same bytes for the same
// sessions.
func (s *Sessions) Append(b []byte) []byte {
	b = appendArray(b, 4)
	b = appendInt(b, s.swept)
	b = appendArray32(b, len(s.all))
	for _, boot := range slices.Sorted(maps.Keys(s.all)) {
		g := s.all[boot]
		b = appendArray(b, 4)
		b = appendUint(b, uint64(boot))
		b = appendUint(b, g.lowest)
		b = appendInt(b, g.last)
		b = appendArray32(b, len(g.answers))
		for _, n := range slices.Sorted(maps.Keys(g.answers)) {
			a := g.answers[n]
			b = appendArray(b, 10)
			b = appendUint(b, n)
			b = appendUint(b, uint64(a.Status))
			b = appendVersion(b, a.Version)
			b = appendBytes(b, a.Value)
			b = appendUint(b, uint64(a.Flags))
			b = appendInt(b, a.Expiry)
			b = appendUint(b, uint64(a.Marks))
			b = appendUint(b, a.Token)
			b = appendUint(b, uint64(a.Size))
		}
	}
	b = appendInt(b, s.age)
	return appendInt(b, s.clock)
}

// leastSession and leastAnswer are how many bytes each takes at least: a number of
// them that cannot come allocates nothing.
const (
	leastSession = 5
	leastAnswer  = 11
)

// Decode reads what Append wrote, in place of what s holds; values alias b.
func (s *Sessions) Decode(b []byte) error {
	r := reader{b: b}
	more := r.fields(2)
	s.swept = r.int()
	n := r.array()
	if n > len(r.b)/leastSession {
		return ErrMalformed
	}
	s.all = make(map[ring.BootID]*session, n)
	for range n {
		extra := r.fields(4)
		boot := ring.BootID(r.uint())
		g := &session{lowest: r.uint(), last: r.int()}
		k := r.array()
		if k > len(r.b)/leastAnswer {
			return ErrMalformed
		}
		g.answers = make(map[uint64]Recorded, k)
		for range k {
			rest := r.fields(10)
			at := r.uint()
			g.answers[at] = Recorded{
				Status: Status(r.uint()), Version: r.version(), Value: r.bytes(), Flags: uint32(r.uint()), Expiry: r.int(),
				Marks: uint32(r.uint()), Token: r.uint(), Size: uint32(r.uint()),
			}
			r.skip(rest, 0)
		}
		r.skip(extra, 0)
		s.all[boot] = g
		if r.fail {
			return ErrMalformed
		}
	}
	s.age, s.clock = s.swept, 0 // as from a writer that knew no age
	if more >= 2 {
		s.age, s.clock, more = r.int(), r.int(), more-2
	}
	return r.end(more)
}
