package replica

import (
	"bytes"
	"slices"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

type peerState uint8

const (
	starting    peerState = iota // EpochStart is not answered
	replicating                  // takes entries
)

// peer is a replica or learner as its primary knows it.
type peer struct {
	id      ring.NodeID
	boot    ring.BootID // that answered EpochStart; only its answers count
	learner bool
	state   peerState
	match   uint64 // it has all entries to here
	next    uint64 // the first entry that was not sent
	told    uint64 // the commit index that it was told
	knows   uint64 // the commit index that it says it has
	toldAt  int64
	bytes   int // of entries sent and not acknowledged, about

	sentAt  int64 // when the newest unanswered message went
	waiting int64 // since when something is unanswered; 0: nothing is
	held    int64 // of that, what excuseHeld did not count
	silent  bool
	fault   bool   // it said that its copy cannot go on
	tries   uint64 // EpochStarts that were sent
	since   uint64 // the first of them whose answer counts

	lease      int64 // until when it lets this process read
	leaseAsked int64 // when it was last asked for one
	leaseWaits int64 // since when it has not answered; 0: it has
	granted    int64 // when the newest question was sent that it answered by a grant

	// Of learners.
	restart  bool             // EpochStart tells it to begin anew
	base     subjects.Version // after which it then begins
	complete bool             // no ranges are missing
	cursor   []byte
	reading  bool // a range is being read
	rangeAt  int64
	joining  bool // its acknowledgement is required
	joinAt   uint64
}

// inherit keeps the leases of the epoch before: a grant belongs to the process
// that it was given to, whatever the epoch.
func (p *peer) inherit(old *peer) {
	if old != nil {
		p.lease, p.leaseAsked, p.leaseWaits = old.lease, old.leaseAsked, old.leaseWaits
	}
}

// start sends EpochStart.
func (l *lead) start(r *Replica, p *peer) {
	p.tries++
	p.state, p.match, p.sentAt = starting, 0, r.now
	if p.waiting == 0 {
		p.waiting = r.now
	}
	r.send(p.id, &subjects.EpochStart{
		Header: r.header(), Outline: slices.Clone(r.outline),
		ISR: r.config.ISR, Learners: r.config.Learners, Restart: p.restart, Base: p.base, Try: p.tries,
	}, false)
}

// epochReply makes a peer that promised the epoch take entries from the last
// that it shares.
func (r *Replica) epochReply(m *subjects.EpochReply) {
	l := r.lead
	if l == nil || m.Epoch != l.epoch {
		return
	}
	p := l.peer(m.From.Store)
	if p == nil || p.state != starting || m.Try < p.since {
		return // late: the process may have had more since, or another followed it
	}
	tail := m.Outline.Tail()
	p.heard()
	// It has promised this epoch, and so stopped if it led one before; an earlier
	// process of its store is gone.
	r.release(func(g grant) bool { return g.to.Store == p.id })
	if !p.learner && m.Answer == subjects.AnswerFault && m.Commit > r.tail.Seq && !r.config.Forced {
		r.outdated(m)
		return
	}
	whole := m.Answer == subjects.AnswerOK && r.outline.Holds(tail) && l.reaches(r, tail.Seq)
	switch counts := !p.learner || slices.Contains(l.asked, p.id); {
	case counts && (!whole || m.Incomplete):
		p.silent, p.fault = true, true // not in sync, whatever it was: a configuration without it
		return
	case !whole, !counts && tail.Seq == 0 && r.commit > r.o.Replay:
		l.restart(r, p)
		return
	case tail.Seq < p.base.Seq:
		return // from before it was told to begin anew
	}
	p.restart, p.fault = false, false
	p.boot, p.state = m.From.Boot, replicating
	p.match, p.next, p.bytes, p.told, p.knows = tail.Seq, tail.Seq+1, 0, 0, m.Commit
	p.complete, p.cursor, p.reading = !m.Incomplete, bytes.Clone(m.Cursor), false
	p.leaseAsked = 0
	l.askLease(r, p)
	l.advance(r)
}

// restart tells a learner to begin anew, with a stream after what is committed.
// One that may be in sync already, for a change that was asked for, is not told
// to throw away what it has.
func (l *lead) restart(r *Replica, p *peer) {
	if slices.Contains(l.asked, p.id) {
		p.silent = true
		return
	}
	if p.restart && l.reaches(r, p.base.Seq) {
		return // it was told
	}
	p.restart, p.base, p.joining, p.match = true, r.outline.At(r.commit), false, 0
	p.since = p.tries + 1
	l.start(r, p)
}

// reaches reports whether the log still has every entry after seq.
func (l *lead) reaches(r *Replica, seq uint64) bool {
	if seq >= r.tail.Seq || len(l.open) > 0 && seq+1 >= l.open[0].Version.Seq {
		return true
	}
	_, ok := r.log.Entries(seq+1, 1)
	return ok
}

// heard notes an answer.
func (p *peer) heard() { p.waiting, p.held, p.silent = 0, 0, false }

// answered finds the peer that a message of this epoch came from, if it counts.
func (r *Replica) answered(h *subjects.Header) *peer {
	l := r.lead
	if l == nil || h.Epoch != l.epoch {
		return nil
	}
	p := l.peer(h.From.Store)
	switch {
	case p == nil || p.state == starting:
		return nil
	case h.From.Boot != p.boot:
		// The process that follows is not the one that was met, whose last
		// answer may have come late: only EpochStart can tell.
		l.again(r, p)
		return nil
	}
	return p
}

func (r *Replica) prepareReply(m *subjects.PrepareReply) {
	if m.Answer == subjects.AnswerRefused {
		r.refused(m)
		return
	}
	p := r.answered(&m.Header)
	if p == nil {
		return
	}
	p.heard()
	p.knows = max(p.knows, m.Commit)
	if m.Tail.Seq > p.match && m.Tail.Seq <= r.tail.Seq {
		p.match = m.Tail.Seq
		p.next = max(p.next, p.match+1)
	}
	if p.match+1 == p.next {
		p.bytes = 0
	} else {
		p.waiting = r.now
		p.bytes /= 2
	}
	if m.Answer == subjects.AnswerGap && p.match+1 < p.next {
		p.next, p.bytes = p.match+1, 0
	}
	r.lead.advance(r)
}

// refused begins again with a peer that does not follow this epoch: it has
// restarted, or never heard of it. One that promised a higher epoch means that
// this lead is over, which the ring will say.
func (r *Replica) refused(m *subjects.PrepareReply) {
	l := r.lead
	if l == nil || m.Epoch > l.epoch {
		return
	}
	if p := l.peer(m.From.Store); p != nil && p.state == replicating {
		l.again(r, p)
	}
}

// again begins anew with a peer whose process is not the one that was met.
func (l *lead) again(r *Replica, p *peer) {
	p.joining = p.joining && slices.Contains(l.asked, p.id)
	p.since = p.tries + 1
	l.start(r, p)
}

// replicate sends each peer what it lacks, in one message.
func (l *lead) replicate(r *Replica) {
	for _, p := range l.peers {
		if p.state != replicating {
			continue
		}
		for p.next <= r.tail.Seq && p.bytes < r.o.Window {
			if more := l.sendFrom(r, p); !more {
				break
			}
		}
		if p.learner && !p.complete && !p.reading {
			p.reading, p.rangeAt = true, r.now
			r.emit(ReadRange{To: p.id, Epoch: l.epoch, From: p.cursor, Through: r.commit})
		}
	}
}

// sendFrom sends one message of entries from p.next on. It reports whether more
// may follow in this turn: what is read from the log for a replica that nobody
// waits for comes a chunk at a time, the next once this one is acknowledged.
func (l *lead) sendFrom(r *Replica, p *peer) (more bool) {
	var entries []*subjects.Entry
	more = l.required(p)
	if len(l.open) > 0 && p.next >= l.open[0].Version.Seq {
		more = true
		entries = l.open[p.next-l.open[0].Version.Seq:]
		size, n := 0, 0
		for n < len(entries) && n < subjects.MaxEntries && (n == 0 || size+len(entries[n].Raw) <= subjects.MaxRange) {
			size += len(entries[n].Raw)
			n++
		}
		entries = slices.Clone(entries[:n]) // open is shifted in place
		p.bytes += size
	} else {
		chunk := subjects.MaxRange
		if !more {
			chunk = r.o.Chunk
		}
		if !more && p.bytes > 0 {
			return false // one is under way
		}
		var ok bool
		entries, ok = r.log.Entries(p.next, chunk)
		if !ok {
			l.restart(r, p) // the log was trimmed beyond what this learner has
			return false
		}
		if len(entries) == 0 {
			return false
		}
		entries = entries[:min(len(entries), subjects.MaxEntries)]
		for _, e := range entries {
			p.bytes += len(e.Raw)
		}
	}
	m := &subjects.Prepare{Header: r.header(), Prev: entries[0].Prev, Entries: entries}
	p.told, p.toldAt, p.sentAt = r.commit, r.now, r.now
	if p.waiting == 0 {
		p.waiting = r.now
	}
	p.next = entries[len(entries)-1].Version.Seq + 1
	r.send(p.id, m, false)
	return more
}

// nudge sends again what went unanswered for too long.
func (l *lead) nudge(r *Replica, p *peer) {
	if p.state == starting {
		if r.now-p.sentAt >= r.o.Resend {
			l.start(r, p)
		}
		return
	}
	if p.match+1 < p.next && r.now-p.sentAt >= r.o.Resend {
		p.next, p.bytes, p.sentAt = p.match+1, 0, r.now
	}
	if p.next > r.tail.Seq && (p.told < r.commit || p.knows < r.commit && r.now-p.toldAt >= r.o.Resend) {
		p.told, p.toldAt = r.commit, r.now
		r.send(p.id, &subjects.Prepare{Header: r.header(), Prev: r.outline.At(p.match)}, false)
	}
	if p.reading && r.now-p.rangeAt >= 5*r.o.Resend {
		p.reading = false
	}
}

// excuse does not count a time in which this process did not run as silence of
// others: their answers may be here and not yet read. Who is silent for good is
// found by the managers even if this process never runs well.
func (l *lead) excuse(r *Replica, gap int64) {
	for _, p := range l.peers {
		if p.waiting != 0 {
			p.waiting = min(p.waiting+gap, r.now)
		}
		if p.leaseWaits != 0 {
			p.leaseWaits = min(p.leaseWaits+gap, r.now)
		}
	}
}

// excuseHeld does not count a time in which this process waited for its disk as
// silence of others: their logs may wait for the same disk. Of one silence this is
// done for maxHeld silences at most, by when a disk that hangs has been told of to
// the managers: one that is merely slow holds up nobody's removal for longer.
func (l *lead) excuseHeld(r *Replica, gap int64) {
	for _, p := range l.peers {
		if p.waiting != 0 && p.held+gap <= maxHeld*r.o.Silence {
			p.held += gap
			p.waiting = min(p.waiting+gap, r.now)
		}
	}
}

const maxHeld = 2

// consider decides whether a replica is silent and whether a learner is close.
func (l *lead) consider(r *Replica, p *peer) {
	if p.waiting != 0 && r.now-p.waiting >= r.o.Silence || p.leaseWaits != 0 && r.now-p.leaseWaits >= r.o.Silence {
		p.silent = true
	}
	if p.silent && !slices.Contains(l.asked, p.id) {
		p.joining = false
	}
	if !p.learner || p.state != replicating || !p.complete || p.silent {
		return
	}
	if !p.joining && p.match+r.o.JoinLag >= r.tail.Seq {
		p.joining, p.joinAt = true, r.tail.Seq
	}
}

func (r *Replica) rangeRead(ev RangeRead) {
	l := r.lead
	if l == nil || ev.Epoch != l.epoch {
		return
	}
	p := l.peer(ev.To)
	if p == nil || p.state != replicating || p.complete || !bytes.Equal(p.cursor, ev.From) {
		return
	}
	if ev.Err != nil {
		r.emit(Fault{"read a range for a learner: " + ev.Err.Error()})
		return // again after a while
	}
	m := &subjects.Range{
		Header: r.header(), From: ev.From, To: ev.Next, Last: ev.Last, Through: ev.Through, Records: ev.Records,
	}
	if ev.Last {
		m.Sessions = r.log.Sessions()
	}
	r.send(p.id, m, false)
}

func (r *Replica) rangeReply(m *subjects.RangeReply) {
	p := r.answered(&m.Header)
	if p == nil || !p.learner || p.complete || m.Commit < p.base.Seq {
		return // not asked, or from before it began anew
	}
	p.heard()
	if m.Complete || bytes.Compare(m.Cursor, p.cursor) > 0 || m.Answer == subjects.AnswerGap {
		p.complete, p.reading = m.Complete, false
		p.cursor = bytes.Clone(m.Cursor)
	}
}
