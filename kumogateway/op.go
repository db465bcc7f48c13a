package kumogateway

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumogateway/memcache"
	"github.com/etolabo/kumofs/kumogateway/repeat"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// owner is told what came of an operation.
type owner interface {
	// finish is called once, on any goroutine; it must not wait. a.Value may
	// be kept. With b, output may wait for other answers.
	finish(o *op, a *memcache.Reply, b *bus.Batch)
}

// op is one operation on one partition, through all of its attempts. It
// belongs to one goroutine at a time: to the connection that makes it, to
// whoever ends its attempt, to the router while it waits for a newer ring, and
// from finish on to its owner.
type op struct {
	r       *router
	owner   owner
	try     *attempt
	req     memcache.Request // without Key, Value and Args
	hash    uint64           // of the key with its prefix
	seen    uint32           // of a read, with a local cache: see localCache.mark
	verb    subjects.Verb    // 0: a read
	body    []byte           // the message of the last attempt; holds key and value
	to      *route           // to whom the last attempt went; nil: there was none
	nkey    int              // length of the key with its prefix
	nprefix int              // and of the prefix
	reads   bool             // the client may not write
	meta    *memcache.Meta   // where req.Meta points, if it does
	size    int              // bytes, about, that the operation is counted with

	n        uint64 // the operation's number in its partition, 0 before the first attempt
	part     ring.Partition
	course   repeat.Course
	batch    *bus.Batch // of the answer that is being looked at
	deadline time.Time
	lasts    time.Duration // from its beginning to deadline
	due      time.Time     // while it waits: when to try again without a newer ring

	done  bool // for the connection: reply is there
	reply memcache.Reply
}

// began is when the operation began.
func (o *op) began() time.Time { return o.deadline.Add(-o.lasts) }

// write tells whether the operation changes anything.
func (o *op) write() bool { return o.verb != 0 }

var verbs = [...]subjects.Verb{
	memcache.OpGetAndTouch: subjects.VerbTouch,
	memcache.OpSet:         subjects.VerbSet,
	memcache.OpAdd:         subjects.VerbAdd,
	memcache.OpReplace:     subjects.VerbReplace,
	memcache.OpAppend:      subjects.VerbAppend,
	memcache.OpPrepend:     subjects.VerbPrepend,
	memcache.OpCAS:         subjects.VerbSet,
	memcache.OpDelete:      subjects.VerbDelete,
	memcache.OpIncr:        subjects.VerbIncr,
	memcache.OpDecr:        subjects.VerbDecr,
	memcache.OpTouch:       subjects.VerbTouch,
	memcache.OpFlushAll:    subjects.VerbFlush,
	memcache.OpFetch:       subjects.VerbFetch,
	memcache.OpDebug:       0,
}

// verbOf returns the verb of a request; 0 is a read.
func verbOf(r *memcache.Request) subjects.Verb {
	if r.TooLarge {
		return subjects.VerbDelete // see Drops
	}
	return verbs[r.Op]
}

// noSuchToken is a token that no value can have, for a cas with token 0, which
// on the wire means no condition.
const noSuchToken = 1<<64 - 1

// encode makes the message of the first attempt.
func (o *op) encode(req *memcache.Request, key []byte, lowest uint64) {
	o.nkey = len(key)
	if !o.write() {
		m := subjects.Read{Partition: o.part, Epoch: o.course.Epoch, Peek: req.Meta != nil && req.Meta.Peek, Key: key}
		o.body = m.Append(o.body[:0])
		return
	}
	m := subjects.Write{
		Partition: o.part, Epoch: o.course.Epoch,
		Op:      subjects.OpID{Boot: o.r.boot, N: o.n, Lowest: lowest},
		Attempt: o.course.Attempts, Verb: o.verb, Key: key, Value: req.Value, Flags: req.Flags,
		Exptime: req.Exptime, Delta: req.Delta, MaxItem: uint32(o.r.o.MaxItemSize),
	}
	if !req.TooLarge {
		condition(&m, req)
		options(&m, req)
	}
	if o.r.o.EarlyDelete && o.verb == subjects.VerbDelete || o.r.o.EarlySet && o.verb == subjects.VerbSet {
		m.Options |= subjects.OptionEarly
	}
	o.body = m.Append(o.body[:0])
}

// condition says which token the value must have.
func condition(m *subjects.Write, req *memcache.Request) {
	always := false
	switch req.Op {
	case memcache.OpCAS:
		always = true
	case memcache.OpDelete:
		always = req.Meta != nil && req.Meta.Compare
	case memcache.OpAppend, memcache.OpPrepend, memcache.OpIncr, memcache.OpDecr:
	default:
		return
	}
	if m.Cas = req.CAS; m.Cas == 0 && always {
		m.Cas = noSuchToken
	}
}

// options says what is particular to the binary protocol and the meta commands.
func options(m *subjects.Write, req *memcache.Request) {
	set := func(when bool, option uint32) {
		if when {
			m.Options |= option
		}
	}
	m.Vivify, m.Initial = req.Fresh, req.Initial
	set(req.Vivify, subjects.OptionVivify)
	f := req.Meta
	if f == nil {
		return
	}
	m.Token, m.Recache = f.Token, f.Recache
	if f.Remade {
		m.Vivify = req.Exptime
	}
	set(f.Mint, subjects.OptionToken)
	switch req.Op {
	case memcache.OpFetch:
		set(f.Touch, subjects.OptionTouch)
		set(f.Renew, subjects.OptionRecache)
		set(f.Renewed, subjects.OptionRenewed)
	case memcache.OpIncr, memcache.OpDecr:
		set(f.Touch, subjects.OptionTouch)
	case memcache.OpCAS:
		set(f.Stale, subjects.OptionStale)
	case memcache.OpDelete:
		set(f.Stale, subjects.OptionStale)
		set(f.Empty, subjects.OptionEmpty)
		set(f.Touch, subjects.OptionTouch)
	}
}

// refetch makes a write of a read that found a stale value which no client was
// told to make anew, so that this one can be told. It is another operation,
// whose course begins here.
func (o *op) refetch() {
	m := subjects.Write{
		Op: subjects.OpID{Boot: o.r.boot}, Verb: subjects.VerbFetch, Key: o.body[len(o.body)-o.nkey:],
		MaxItem: uint32(o.r.o.MaxItemSize),
	}
	o.body = m.Append(make([]byte, 0, o.nkey+64))
	o.verb, o.req.Op, o.course = m.Verb, memcache.OpFetch, repeat.Course{}
}

// again makes the message of a further attempt.
func (o *op) again(lowest uint64) {
	if !o.write() {
		var m subjects.Read
		if err := m.Decode(o.body); err != nil {
			panic("kumogateway: own message does not decode: " + err.Error())
		}
		m.Partition, m.Epoch = o.part, o.course.Epoch
		o.body = m.Append(make([]byte, 0, len(o.body)+16))
		return
	}
	var m subjects.Write
	if err := m.Decode(o.body); err != nil {
		panic("kumogateway: own message does not decode: " + err.Error())
	}
	m.Partition, m.Epoch, m.Attempt = o.part, o.course.Epoch, o.course.Attempts
	m.Op.N, m.Op.Lowest = o.n, lowest
	o.body = m.Append(make([]byte, 0, len(o.body)+32))
}

// key returns the key as the client has it.
func (o *op) key() []byte {
	key := o.fullKey()
	return key[min(len(key), o.nprefix):]
}

// fullKey returns the key as the servers have it; nil before the first message.
func (o *op) fullKey() []byte {
	if !o.write() || len(o.body) == 0 {
		return o.body[len(o.body)-min(len(o.body), o.nkey):]
	}
	var m subjects.Write
	if m.Decode(o.body) != nil {
		return nil
	}
	return m.Key
}

// attempt is an operation in the hands of a lane. Who takes op out of it has
// the operation; an answer that finds it gone came too late.
type attempt struct {
	op    atomic.Pointer[op]
	where atomic.Uint64 // partition and epoch, see place
}

// place packs a partition with the lower 48 bits of its epoch.
func place(p ring.Partition, e ring.Epoch) uint64 { return uint64(p)<<48 | uint64(e)&(1<<48-1) }

func unplace(w uint64) (ring.Partition, ring.Epoch) {
	return ring.Partition(w >> 48), ring.Epoch(w & (1<<48 - 1))
}

// Done takes the outcome of an attempt; see bus.Pending.
func (a *attempt) Done(body []byte, err error, b *bus.Batch) {
	if o := a.op.Swap(nil); o != nil {
		o.batch = b
		o.outcome(body, err)
	}
}

// abandon takes the operation out of the hands of its lane, whose answer will
// be ignored; it fails if the answer was faster.
func (o *op) abandon() bool {
	if !o.try.op.CompareAndSwap(o, nil) {
		return false
	}
	o.try = new(attempt) // the lane keeps the other until its deadline
	o.course.Abandon()
	return true
}

func (o *op) outcome(body []byte, err error) {
	if err != nil {
		o.failed(err)
		return
	}
	var rep subjects.Reply
	if err := rep.Decode(body); err != nil {
		o.r.log.Warn("answer does not decode", "partition", o.part, "err", err)
		o.end(memcache.Reply{Status: memcache.StatusInternal})
		return
	}
	if next := o.course.Answered(rep.Status, rep.Epoch); next.End {
		o.end(o.translate(&rep))
	} else {
		o.next(next)
	}
}

// next waits for the next attempt.
func (o *op) next(n repeat.Next) {
	if n.Refresh {
		o.r.watcher.Refresh()
	}
	o.r.hold(o, time.Duration(n.Wait))
}

// failed takes an attempt of which nothing was heard.
func (o *op) failed(err error) {
	switch {
	case errors.Is(err, bus.ErrTooLarge):
		o.end(memcache.Reply{Status: memcache.StatusTooLarge})
	case errors.Is(err, bus.ErrOverloaded):
		o.next(o.course.Unsent())
	case errors.Is(err, bus.ErrTimeout):
		o.next(o.course.TimedOut())
	default:
		o.next(o.course.Broken())
	}
}

// giveUp ends an operation whose time is over.
func (o *op) giveUp(why memcache.Status) {
	if o.write() && o.course.Unsure {
		why = memcache.StatusOutcomeUnknown
	}
	o.end(memcache.Reply{Status: why})
}

// end hands the outcome to the owner.
func (o *op) end(a memcache.Reply) {
	if o.n != 0 {
		o.r.numbers[o.part].release(o.n)
		o.n = 0
	}
	o.reply = a // a pointer to a would have it allocated
	b := o.batch
	o.batch = nil
	o.owner.finish(o, &o.reply, b)
}

var statuses = map[subjects.Status]memcache.Status{
	subjects.StatusOK:         memcache.StatusOK,
	subjects.StatusNotFound:   memcache.StatusNotFound,
	subjects.StatusNotStored:  memcache.StatusNotStored,
	subjects.StatusExists:     memcache.StatusExists,
	subjects.StatusNonNumeric: memcache.StatusNonNumeric,
	subjects.StatusTooLarge:   memcache.StatusTooLarge,
	subjects.StatusNoSpace:    memcache.StatusOutOfMemory,
	subjects.StatusCorrupt:    memcache.StatusCorrupt,
	subjects.StatusBad:        memcache.StatusUnsupported,
	subjects.StatusUnknown:    memcache.StatusOutcomeUnknown,
}

// translate is the one place where a server's answer becomes a client's.
func (o *op) translate(rep *subjects.Reply) memcache.Reply {
	a := memcache.Reply{Flags: rep.Flags, CAS: rep.Cas, Value: rep.Value}
	if rep.Status != subjects.StatusOK {
		s, ok := statuses[rep.Status]
		if !ok {
			s = memcache.StatusInternal
		}
		a.Status = s
	}
	a.Stale, a.Sent, a.Won = rep.Marks&subjects.MarkStale != 0, rep.Marks&subjects.MarkSent != 0, rep.Marks&subjects.MarkWon != 0
	if o.req.Syntax != memcache.SyntaxText {
		o.details(&a, rep)
	}
	switch {
	case a.Status.IsError():
		a.Value = nil
	case o.req.TooLarge:
		a = memcache.Reply{Status: memcache.StatusTooLarge}
	case o.verb == subjects.VerbIncr || o.verb == subjects.VerbDecr:
		if a.Status == memcache.StatusOK {
			n, ok := subjects.ParseUint(rep.Value)
			if !ok {
				a.Status = memcache.StatusInternal
			}
			a.Number = n
		}
	}
	return a
}

// details adds what only some syntaxes tell.
func (o *op) details(a *memcache.Reply, rep *subjects.Reply) {
	if a.Status == memcache.StatusTooLarge && (o.verb == subjects.VerbAppend || o.verb == subjects.VerbPrepend) {
		a.Status = memcache.StatusNotStored // as where memcached has no room to append
	}
	a.Size, a.Idle, a.Hit = rep.Size, rep.Idle, rep.Hit
	switch m := o.req.Meta; {
	case rep.Expiry != 0:
		a.TTL = max(0, rep.Expiry-time.Now().Unix())
	case m != nil && m.Touch && o.req.Exptime != 0 && (!o.req.Vivify || m.Remade): // it is over with this request
		a.TTL = 0
	default:
		a.TTL = -1
	}
}
