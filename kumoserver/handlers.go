package kumoserver

import (
	"bytes"
	"strings"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// subscribe takes the frames of the data plane, once, by wildcard: a change of
// role needs no new subscription.
func (s *Server) subscribe() error {
	c := s.o.Cluster
	peers := func(f *bus.Frame) { s.onPeers(f) }
	r := s.newReader()
	r.keeps = true
	sub, err := s.bus.HandleNow(c.Parts(s.name, subjects.VerbRead), s.meshID, r.onReads, s.readNow)
	if err != nil {
		return err
	}
	s.stops = append(s.stops, sub.Close)
	for _, h := range []struct {
		subject string
		handle  func(*bus.Frame)
	}{
		{c.Parts(s.name, subjects.VerbWrite), s.onWrites},
		{c.Parts(s.name, subjects.VerbPrepare), peers},
		{c.Parts(s.name, subjects.VerbEpoch), peers},
		{c.Parts(s.name, subjects.VerbStream), peers},
		{c.ServerReply(s.name), peers},
		{c.Lease(s.name), peers},
	} {
		sub, err := s.bus.Handle(h.subject, s.meshID, h.handle)
		if err != nil {
			return err
		}
		s.stops = append(s.stops, sub.Close)
	}
	return nil
}

// answersTo tells whether a frame's answers may go where it says.
func (s *Server) answersTo(f *bus.Frame) bool {
	ok := strings.HasPrefix(f.Reply, s.gateways)
	if !ok {
		s.log.Debug("a frame of reads or writes names no gateway's subject for its answers", "subject", f.Subject, "reply", f.Reply)
	}
	return ok
}

// onWrites queues a gateway's frame for the core loop.
func (s *Server) onWrites(f *bus.Frame) {
	if !s.answersTo(f) {
		return
	}
	s.slowDown()
	writes := make([]write, 0, f.Len())
	bytes := 0
	for id, body, ok := f.Next(); ok; id, body, ok = f.Next() {
		writes = append(writes, write{id: id, to: f.Reply})
		w := &writes[len(writes)-1]
		if err := w.msg.Decode(body); err != nil || len(w.msg.Key) > subjects.MaxKey {
			writes = writes[:len(writes)-1]
			s.log.Debug("a write does not parse", "subject", f.Subject, "err", err)
			continue
		}
		bytes += len(body)
		switch w.msg.Verb {
		case subjects.VerbDelete:
			s.deletes.Add(1)
		case subjects.VerbFetch:
			s.gets.Add(1)
		default:
			s.sets.Add(1)
		}
	}
	if len(writes) > 0 {
		s.inbox.push(work{writes: writes}, bytes)
	}
}

// slowDown holds a frame back while the store has far more to apply than it
// should: writers become slower, and nothing fails.
func (s *Server) slowDown() {
	for range 50 {
		if s.store.Backlog() < s.backlog {
			return
		}
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// onPeers queues another server's frame for the core loop.
func (s *Server) onPeers(f *bus.Frame) {
	items := make([]peerItem, 0, f.Len())
	bytes := 0
	for _, body, ok := f.Next(); ok; _, body, ok = f.Next() {
		m, err := decodePeer(body)
		if l := leaseOf(m); err == nil && l != nil {
			s.inbox.push(work{leases: l}, len(body))
			continue
		}
		if err != nil {
			s.log.Warn("a server's message does not parse", "subject", f.Subject, "err", err)
			continue
		}
		items = append(items, peerItem{subjects.PartitionOf(body), m})
		bytes += len(body)
	}
	if len(items) > 0 {
		s.inbox.push(work{peers: items}, bytes)
	}
}

func decodePeer(body []byte) (any, error) {
	var m interface {
		Decode([]byte) error
	}
	switch subjects.KindOf(body) {
	case subjects.KindPrepare:
		m = new(subjects.Prepare)
	case subjects.KindPrepareReply:
		m = new(subjects.PrepareReply)
	case subjects.KindEpochStart:
		m = new(subjects.EpochStart)
	case subjects.KindEpochReply:
		m = new(subjects.EpochReply)
	case subjects.KindRange:
		m = new(subjects.Range)
	case subjects.KindRangeReply:
		m = new(subjects.RangeReply)
	case subjects.KindLease:
		m = new(subjects.Lease)
	case subjects.KindLeaseReply:
		m = new(subjects.LeaseReply)
	default:
		return nil, subjects.ErrMalformed
	}
	return m, m.Decode(body)
}

// reader answers reads on the subscription's goroutine, past the core loop: one
// pass over the memory table and one transaction for a whole frame.
type reader struct {
	s     *Server
	out   *bus.Outbox
	keeps bool // reads that come early may wait
	// The frame at hand, in slices that are used again.
	reads []subjects.Read
	whose []caller
	leads []ring.Epoch // in which each read began
	hash  []uint64     // of the keys
	early []earlyRead
	began time.Time
	clock int64
	taken int64 // on boottime's clock, when the values had been taken that found is told of
	bytes int   // of values in its answers
	// With Confirm, the answers that depend on a lease.
	confirms []confirmItem
	held     int // of early
}

func (s *Server) newReader() *reader {
	return &reader{s: s, out: s.bus.NewOutbox(s.meshID).Limit(answerFrame)}
}

// answerFrame is how many bytes of answers leave together. A message that is larger
// than 32 KiB, the buffer of a NATS client and what Go's allocator takes for small,
// costs the member and the gateway a large piece of memory each, and the gateway can
// go to work on the first answers while the others are still looked up.
const answerFrame = 31_000

// maxFrameAnswers is how many bytes of values a frame of reads is answered
// with, about. A frame of 1 MiB can ask for gigabytes: its sender, and the mesh
// on the way, would drop most of them and ask again, and meanwhile nobody else
// would be answered. The rest of such a frame is told to ask again instead. It
// is below what a connection of the mesh holds for a slow receiver.
const maxFrameAnswers = 32 << 20

// fits tells whether one more value may answer the frame at hand. Large values
// get half of the room, so that they do not keep small ones out.
func (r *reader) fits(size int) bool {
	return r.bytes+min(16*size, maxFrameAnswers/2) <= maxFrameAnswers
}

func (r *reader) onReads(f *bus.Frame) {
	if !r.s.answersTo(f) {
		return
	}
	r.begin()
	for id, body, ok := f.Next(); ok; id, body, ok = f.Next() {
		var m subjects.Read
		if err := m.Decode(body); err == nil {
			r.add(m, caller{f.Reply, id})
		}
	}
	r.finish()
}

func (r *reader) begin() {
	r.reads, r.whose, r.leads, r.hash = r.reads[:0], r.whose[:0], r.leads[:0], r.hash[:0]
	r.began, r.bytes = time.Now(), 0
	r.clock = r.began.UnixMilli()
}

// add takes a read, unless it can be told now that it cannot be answered.
func (r *reader) add(m subjects.Read, who caller) {
	lead, status := r.s.readable(m.Partition, m.Epoch, m.Key, 0)
	if status != subjects.StatusOK {
		r.refuse(&m, who, status)
		return
	}
	r.reads, r.whose, r.leads = append(r.reads, m), append(r.whose, who), append(r.leads, lead)
	r.hash = append(r.hash, ring.Hash(m.Key))
}

// refuse sends a read back, or gives it to the core loop to wait there.
func (r *reader) refuse(m *subjects.Read, who caller, status subjects.Status) {
	if !r.keeps || status == subjects.StatusBad || !r.s.mayServe(m.Partition, m.Epoch) {
		r.answer(who, &subjects.Reply{Status: status, Epoch: r.s.epoch(m.Partition)})
		return
	}
	kept := earlyRead{read: *m, who: who}
	kept.read.Key = append([]byte(nil), m.Key...) // or it would keep the whole message
	r.early = append(r.early, kept)
	r.held += kept.size()
}

func (r *reader) finish() {
	r.s.gets.Add(uint64(len(r.reads)))
	r.s.recent.near(r.hash)
	r.s.store.GetMany(len(r.reads), r.at, r.took, r.found)
	if err := r.out.Flush(); err != nil {
		r.s.log.Debug("answers to reads were not sent", "err", err)
	}
	r.s.timed.read.Observe(time.Since(r.began).Seconds())
	if len(r.confirms) > 0 {
		r.s.inbox.push(work{confirm: r.confirms}, r.bytes+1)
		r.confirms = nil
	}
	if len(r.early) > 0 {
		r.s.inbox.push(work{early: r.early}, r.held)
		r.early, r.held = nil, 0
	}
}

func (r *reader) at(i int) (ring.Partition, []byte) { return r.reads[i].Partition, r.reads[i].Key }

func (r *reader) took() { r.taken = boottime() }

// found answers one read. Whether reads may be answered is asked after the
// value was taken: in this order a pause in between does no harm.
func (r *reader) found(i int, rec subjects.Record, found bool, err error) {
	m, who := &r.reads[i], r.whose[i]
	rep := subjects.Reply{Status: subjects.StatusNotFound, Epoch: m.Epoch}
	switch lead, status := r.s.readable(m.Partition, m.Epoch, m.Key, r.taken); {
	case status != subjects.StatusOK:
		r.refuse(m, who, status)
		return
	case lead != r.leads[i]:
		rep.Status = subjects.StatusRetry // another may have led in between
	case err != nil:
		if rep.Status = subjects.StatusCorrupt; r.s.mayRecover(m.Partition) {
			rep.Status = subjects.StatusRetry // another copy will soon lead
		}
	case found && replica.Expired(&rec, r.clock+r.s.serving[m.Partition].ahead.Load()):
		// A miss because of expiry is answered once the delete has committed.
		key := append([]byte(nil), m.Key...)
		r.s.inbox.push(work{expire: &expireItem{m.Partition, key, who}}, 0)
		return
	case found && !r.fits(len(rec.Value)):
		rep.Status = subjects.StatusRetry
	case found:
		r.bytes += len(rec.Value)
		rep.Fill(&rec)
		rep.Idle, rep.Hit = r.s.recent.read(r.hash[i], r.clock, !m.Peek)
	}
	if r.s.o.Replica.Confirm && (rep.Status == subjects.StatusOK || rep.Status == subjects.StatusNotFound) {
		rep.Value = bytes.Clone(rep.Value) // which may be valid only here
		r.confirms = append(r.confirms, confirmItem{m.Partition, r.leads[i], who, rep})
		return
	}
	r.answer(who, &rep)
}

func (r *reader) answer(who caller, rep *subjects.Reply) {
	r.out.End(rep.Append(r.out.Begin(who.reply, who.reply, "", who.id)))
}

// mayServe reports whether this process leads a partition, or may when the ring
// that somebody else knows has come.
func (s *Server) mayServe(p ring.Partition, epoch ring.Epoch) bool {
	t := s.watch.Table()
	if t == nil || int(p) >= t.Size() {
		return t == nil
	}
	c := &t.Partitions[p]
	return epoch > c.Epoch || c.Primary == s.process()
}

// epoch is the partition's epoch as this server's ring has it.
func (s *Server) epoch(p ring.Partition) ring.Epoch {
	if t := s.watch.Table(); t != nil && int(p) < t.Size() {
		return t.Partitions[p].Epoch
	}
	return 0
}
