package bus

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A call's id names the lane, the slot in the lane's table and the slot's
// generation, so that an answer is found by indexing and a late answer to a
// slot that was used again is not mistaken for the new call's.
const (
	slotBits  = 20
	genBits   = 28
	genShift  = slotBits
	laneShift = slotBits + genBits

	maxSlots = 1 << slotBits
	slotMask = 1<<slotBits - 1
	genMask  = 1<<genBits - 1
)

// Lane carries calls to one destination. A frame takes the calls of all goroutines
// that were ready to run when its first was made, so that a lone call leaves at
// once; while MaxInFlight frames are unanswered, further calls wait and leave as one.
// A frame counts as answered with the first answer to any of its calls, or
// after 5 to 10 ms, so that one slow call does not hold up the others.
type Lane struct {
	c      *Caller
	num    uint64
	name   string
	addr   string // guarded by c.mu
	direct atomic.Pointer[link]

	mu      sync.Mutex
	closed  bool
	slots   []slot
	free    []uint32 // slots to use again
	pending int      // slots in use
	next    int64    // no deadline is before this
	open    outCalls
	ready   []outCalls // full frames that wait for their turn
	queued  int        // bytes in open and ready
	flights []flight   // frames that count as unanswered
	seq     uint32     // of the open frame
	failed  []failure  // for the sweeper to report

	// leaving holds a token while depart may have something to send. A send to a
	// destination that hangs waits, hence a goroutine for each lane, which alone
	// sends.
	leaving chan struct{}
	spare   []byte // the buffer of a frame that was sent
}

// slot is a pending call.
type slot struct {
	p        Pending // nil: free
	deadline int64
	gen      uint32
	frame    uint32 // seq of its frame
	link     *link  // which it leaves by
}

// outCalls is a frame of calls in the making.
type outCalls struct {
	link    *link
	subject string
	buf     []byte
	count   uint32
	countAt int
	size    int // what it adds to queued
	seq     uint32
}

// flight is a frame that was sent.
type flight struct{ seq, tick uint32 }

type failure struct {
	p   Pending
	err error
}

// answer is a received answer, and whom it is for once that is known.
type answer struct {
	id   uint64
	body []byte
	p    Pending
}

// Call sends body, one msgpack value, which it copies; p gets the answer. The
// subject is used if the call is the first of its frame. Calls leave in the
// order in which they were made, but for those that are answered at once; see
// HandleNow.
func (l *Lane) Call(subject string, deadline time.Time, body []byte, p Pending) {
	if answer, ok := l.c.b.now(subject, body, l.c.o.ClusterID); ok {
		p.Done(answer, nil, nil)
		return
	}
	due := int64(deadline.Sub(l.c.zero))
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		p.Done(nil, ErrClosed, nil)
		return
	}
	if err := l.add(subject, due, body, p); err != nil {
		l.failed = append(l.failed, failure{p, err})
	}
	l.send()
	l.mu.Unlock()
	l.c.wake()
}

// send has depart look whether something can be sent.
func (l *Lane) send() {
	if l.closed {
		return
	}
	select {
	case l.leaving <- struct{}{}:
	default: // it is going to
	}
}

// depart sends what has gathered, as far as the flights allow. It gives way once,
// to those who are about to make a call: a frame costs both ends far more than a
// call in it.
func (l *Lane) depart() {
	defer l.c.departs.Done()
	for range l.leaving {
		runtime.Gosched()
		for {
			f, ok := l.leave()
			if !ok {
				break
			}
			l.publish(f)
		}
	}
}

// add puts a call into the open frame. Called with mu held, as is all below
// unless it says otherwise.
func (l *Lane) add(subject string, due int64, body []byte, p Pending) error {
	size := len(body) + itemOverhead
	if l.open.count > 0 && len(l.open.buf)+size > frameBytes {
		l.seal()
	}
	if l.queued > 0 && l.queued+size > l.c.o.MaxQueued {
		return ErrOverloaded
	}
	if l.open.count == 0 {
		via := l.route()
		if via == nil {
			return ErrDisconnected
		}
		l.begin(via, subject)
		if len(l.open.buf)+size > MaxPayload {
			return ErrTooLarge
		}
	}
	n, ok := l.take()
	if !ok {
		return ErrOverloaded
	}
	s := &l.slots[n]
	s.p, s.deadline, s.frame, s.link = p, due, l.open.seq, l.open.link
	if l.pending == 0 || due < l.next {
		l.next = due
	}
	l.pending++
	id := l.num<<laneShift | uint64(s.gen)<<genShift | uint64(n)
	l.open.buf = append(appendItemHead(l.open.buf, id), body...)
	l.open.count++
	l.open.size += size
	l.queued += size
	return nil
}

// route picks the connection to send by; nil if none is up.
func (l *Lane) route() *link {
	if d := l.direct.Load(); d != nil && d.up.Load() {
		return d
	}
	if l.c.main.up.Load() {
		return l.c.main
	}
	return nil
}

// begin starts a frame.
func (l *Lane) begin(via *link, subject string) {
	l.seq++
	l.open.link, l.open.subject, l.open.seq = via, subject, l.seq
	l.open.buf, l.open.countAt = appendFrameHead(l.open.buf[:0], l.c.o.ClusterID(), via.reply)
}

// seal sets the open frame aside.
func (l *Lane) seal() {
	l.ready = append(l.ready, l.open)
	l.open = outCalls{}
}

// Up tells whether there is a connection by which a call could leave.
func (l *Lane) Up() bool { return l.route() != nil }

// take finds a free slot.
func (l *Lane) take() (n uint32, ok bool) {
	if k := len(l.free); k > 0 {
		n = l.free[k-1]
		l.free = l.free[:k-1]
		return n, true
	}
	if len(l.slots) == maxSlots {
		return 0, false
	}
	l.slots = append(l.slots, slot{gen: 1})
	return uint32(len(l.slots) - 1), true
}

// release frees a slot and returns its call.
func (l *Lane) release(n uint32) Pending {
	s := &l.slots[n]
	p := s.p
	s.p, s.link = nil, nil
	if s.gen++; s.gen > genMask {
		s.gen = 1
	}
	l.free = append(l.free, n)
	l.pending--
	return p
}

// leave takes the next frame that may leave. Called without mu.
func (l *Lane) leave() (f outCalls, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed || len(l.flights) >= l.c.o.MaxInFlight:
		return f, false
	case len(l.ready) > 0:
		f = l.ready[0]
		l.ready[0] = outCalls{}
		if l.ready = l.ready[1:]; len(l.ready) == 0 {
			l.ready = nil
		}
	case l.open.count > 0:
		f = l.open
		l.open = outCalls{buf: l.spare}
		l.spare = nil
	default:
		return f, false
	}
	l.queued -= f.size
	// Before it is sent, since its answer may come before that has returned.
	l.flights = append(l.flights, flight{f.seq, l.c.tick.Load()})
	return f, true
}

// publish sends a frame. Called without mu: it may wait for the socket.
func (l *Lane) publish(f outCalls) {
	patchCount(f.buf, f.countAt, f.count)
	l.c.b.sent.add(f.count, len(f.buf))
	err := f.link.publish(f.subject, f.buf)
	l.mu.Lock()
	if err != nil {
		l.landed(f.seq)
		l.fail(err, func(s *slot) bool { return s.frame == f.seq })
	}
	if cap(f.buf) <= keepBuffer {
		l.spare = f.buf[:0]
	}
	l.mu.Unlock()
	if err != nil {
		l.c.wake()
	}
}

// landed takes a frame off the flights.
func (l *Lane) landed(seq uint32) {
	for i := range l.flights {
		if l.flights[i].seq == seq {
			l.flights = append(l.flights[:i], l.flights[i+1:]...)
			return
		}
	}
}

// answer completes calls. Called without mu.
func (l *Lane) answer(batch []answer, later *Batch) {
	l.mu.Lock()
	for i := range batch {
		n := uint32(batch[i].id & slotMask)
		gen := uint32(batch[i].id >> genShift & genMask)
		if int(n) >= len(l.slots) || l.slots[n].p == nil || l.slots[n].gen != gen {
			continue // late
		}
		l.landed(l.slots[n].frame)
		batch[i].p = l.release(n)
	}
	l.send()
	l.mu.Unlock()
	for i := range batch {
		if batch[i].p != nil {
			batch[i].p.Done(batch[i].body, nil, later)
		}
		batch[i] = answer{}
	}
}

// sweep ends calls whose deadline has passed, lands frames that have been
// flying for long, reports failures, and tells whether any call is pending.
// Called without mu.
func (l *Lane) sweep(tick uint32, now int64) (busy bool) {
	l.mu.Lock()
	if l.pending > 0 && now >= l.next {
		l.expire(now)
	}
	kept := l.flights[:0]
	for _, f := range l.flights {
		if tick-f.tick < flightTicks {
			kept = append(kept, f)
		}
	}
	l.flights = kept
	l.send()
	failed := l.failed
	l.failed = nil
	busy = l.pending > 0
	l.mu.Unlock()
	for _, f := range failed {
		f.p.Done(nil, f.err, nil)
	}
	return busy || len(failed) > 0
}

// expire moves calls whose deadline has passed to failed.
func (l *Lane) expire(now int64) {
	l.fail(ErrTimeout, func(s *slot) bool { return s.deadline <= now })
	first := true
	for i := range l.slots {
		if s := &l.slots[i]; s.p != nil && (first || s.deadline < l.next) {
			l.next, first = s.deadline, false
		}
	}
}

// fail moves the calls that which picks to failed. Those that have not left
// yet leave all the same; their answers will find nobody.
func (l *Lane) fail(err error, which func(*slot) bool) {
	for i := range l.slots {
		if s := &l.slots[i]; s.p != nil && which(s) {
			l.failed = append(l.failed, failure{l.release(uint32(i)), err})
		}
	}
}

// linkDown fails the calls that were to come back by a link. Called without mu.
func (l *Lane) linkDown(down *link) {
	l.mu.Lock()
	l.fail(ErrDisconnected, func(s *slot) bool { return s.link == down })
	if l.open.count > 0 && l.open.link == down {
		l.queued -= l.open.size
		l.open = outCalls{}
	}
	kept := l.ready[:0]
	for _, f := range l.ready {
		if f.link == down {
			l.queued -= f.size
			continue
		}
		kept = append(kept, f)
	}
	l.ready = kept
	l.flights = l.flights[:0]
	l.send()
	l.mu.Unlock()
	l.c.wake()
}

// close ends all calls. Called without mu.
func (l *Lane) close() {
	l.mu.Lock()
	if !l.closed {
		close(l.leaving)
	}
	l.closed = true
	l.fail(ErrClosed, func(*slot) bool { return true })
	failed := l.failed
	l.failed = nil
	l.open, l.ready, l.queued, l.flights = outCalls{}, nil, 0, nil
	l.mu.Unlock()
	for _, f := range failed {
		f.p.Done(nil, f.err, nil)
	}
}
