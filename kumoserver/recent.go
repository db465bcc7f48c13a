package kumoserver

import (
	"sync/atomic"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const (
	recentBits = 16 // slots, as a power of two: 512 KiB
	recentTag  = 31 // bits of a key's hash that a slot keeps beside its place
)

// recent remembers when keys were last read or written, and whether they were
// read since they were written: what memcached's meta commands tell of a value
// beside its contents. It is a hint, of one process, and costs a read one atomic
// load and store: no lock, no memory.
//
// A key has one slot, and the last that came there has it. Another key of the
// same slot is then told to have been idle since, which is the least that it
// can have been, and not to have been read; so is a key that nobody has read or
// written in this process. Two reads or writes of a slot at the same moment may
// leave the mark of either. Keys whose hashes are the same in 47 bits count as
// one.
type recent struct {
	since uint32 // when the table was made
	// slots hold, from the upper bits on, the key's tag, the time in Unix seconds
	// (32 bits) and whether it was read.
	slots [1 << recentBits]atomic.Uint64
}

func newRecent(clock int64) *recent { return &recent{since: seconds(clock)} }

// seconds cuts a clock in Unix milliseconds to what a slot holds.
func seconds(clock int64) uint32 { return uint32(clock / 1000) }

// slot returns a key's place and tag. The lower bits of the hash are the
// partition and would say little.
func (r *recent) slot(hash uint64) (*atomic.Uint64, uint64) {
	return &r.slots[hash>>(64-recentBits)], hash >> (64 - recentBits - recentTag) & (1<<recentTag - 1)
}

// near asks for the memory of some keys' slots. read makes the processor wait for
// its slot, and had it wait for one after the other.
func (r *recent) near(hashes []uint64) {
	for _, hash := range hashes {
		at, _ := r.slot(hash)
		at.Load()
	}
}

// read returns what was known of a key, and notes that it was read, if that counts.
func (r *recent) read(hash uint64, clock int64, counts bool) (idle uint32, hit bool) {
	at, tag := r.slot(hash)
	now, was := seconds(clock), at.Load()
	last := uint32(was >> 1)
	switch {
	case was == 0:
		last = r.since
	case was>>33 == tag:
		hit = was&1 != 0
	}
	if is := tag<<33 | uint64(now)<<1 | 1; counts && is != was { // readers of one key share its line
		at.Store(is)
	}
	if now > last {
		idle = now - last
	}
	return idle, hit
}

// written notes a write.
func (r *recent) written(hash uint64, clock int64) {
	at, tag := r.slot(hash)
	at.Store(tag<<33 | uint64(seconds(clock))<<1)
}

// logged notes what an entry does to its key. One that a fetch or a touch made of
// a value that was there is a read of it, and is noted with its answer.
func (r *recent) logged(e *subjects.Entry, clock int64) {
	kept := e.Returns == subjects.ReturnsValue && e.Token != 0
	if e.Kind == subjects.EntryDelete || e.Kind == subjects.EntryPut && !kept {
		r.written(ring.Hash(e.Key), clock)
	}
}

// fetched is the hash of the key whose value a write's answer carries, 0 if it
// carries none.
func fetched(w *subjects.Write) uint64 {
	if w.Verb == subjects.VerbFetch || w.Verb == subjects.VerbTouch {
		return ring.Hash(w.Key)
	}
	return 0
}
