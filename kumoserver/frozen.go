package kumoserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/digest"
	"github.com/etolabo/kumofs/subjects/ring"
)

// frozen are the copies that somebody reads as they were at one entry: backups,
// and servers that compare their copies.
type frozen struct {
	pace  *rate.Limiter // bytes that are read of them
	slots chan struct{} // of questions that are worked on

	mu     sync.Mutex
	open   map[string]*frozenCopy // guarded by mu
	closed bool                   // guarded by mu
	asked  sync.WaitGroup         // questions that are worked on; added to under mu
}

type frozenCopy struct {
	*store.Frozen
	used time.Time // guarded by frozen.mu
}

const (
	// maxFrozen bounds the copies that are frozen at a time, each of which may keep
	// 32 MiB of what has changed; maxQuestions what is asked of them.
	maxFrozen    = 16
	maxQuestions = 32
	// frozenFor is for how long a copy stays frozen of which nobody asks anything:
	// shorter than whoever finds all frozen asks again.
	frozenFor = 45 * time.Second
	// A piece is so large, about, and digests are of so many bytes.
	pieceBytes   = 64 << 10
	digestsBytes = 4 << 20
	maxFreeze    = 10 * time.Second
)

// DefaultReadRate is how many bytes of frozen copies a server reads a second.
const DefaultReadRate = 64 << 20

// minReadRate is what whoever reads has some of within the time for which it waits.
const minReadRate = 256 << 10

func newFrozen(bytesPerSecond int64) *frozen {
	return &frozen{
		pace: rate.NewLimiter(rate.Limit(bytesPerSecond), digest.MaxRecord+pieceBytes), slots: make(chan struct{}, maxQuestions),
		open: map[string]*frozenCopy{},
	}
}

// serveFrozen offers frozen copies. Questions wait for entries, for their turn and
// for the disk, so that each has a goroutine, within bounds.
func (s *Server) serveFrozen() error {
	for subject, answer := range map[string]func(context.Context, []byte) []byte{
		s.o.Cluster.NodeAdmin(s.name, subjects.NodeFreeze):  inJSON(s.freeze),
		s.o.Cluster.NodeAdmin(s.name, subjects.NodeDigests): inJSON(s.digests),
		s.o.Cluster.NodeAdmin(s.name, subjects.NodeThaw):    inJSON(s.thaw),
		s.o.Cluster.NodeAdmin(s.name, subjects.NodeCompare): inJSON(s.compare),
		s.o.Cluster.NodeAdmin(s.name, subjects.NodeMend):    inJSON(s.mend),
		s.o.Cluster.Pieces(s.name):                          s.piece,
	} {
		if err := s.onQuestions(subject, answer); err != nil {
			return err
		}
	}
	s.background.Go(s.thawOld)
	s.background.Go(s.compareAll)
	return nil
}

// onQuestions answers questions on a subject, each on a goroutine. One that finds
// no slot is not answered: who asks asks again.
func (s *Server) onQuestions(subject string, answer func(context.Context, []byte) []byte) error {
	sub, err := s.bus.Subscribe(subject, func(m *bus.Msg) {
		s.frozen.question(func() {
			rep := answer(s.ctx, m.Data)
			if m.Reply == "" {
				return // a thaw of which nobody waits for the end
			}
			if err := s.bus.Publish(m.Reply, rep); err != nil && s.ctx.Err() == nil {
				s.log.Debug("an answer was not sent", "subject", subject, "err", err)
			}
		})
	})
	if err == nil {
		s.stops = append(s.stops, sub.Close)
	}
	return err
}

// question works on one, if there is a slot.
func (f *frozen) question(work func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	select {
	case f.slots <- struct{}{}:
		f.asked.Go(func() {
			defer func() { <-f.slots }()
			work()
		})
	default:
	}
}

// close waits for the questions that are worked on, whose context has ended.
func (f *frozen) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.asked.Wait()
}

// inJSON makes an admin verb of a function.
func inJSON[Req, Rep any](f func(context.Context, Req) (Rep, error)) func(context.Context, []byte) []byte {
	return func(ctx context.Context, data []byte) []byte {
		var req Req
		var rep Rep
		err := json.Unmarshal(data, &req)
		if err != nil {
			err = fmt.Errorf("%w: %w", subjects.ErrBadRequest, err)
		} else {
			rep, err = f(ctx, req)
		}
		answer, err := adminReply(rep, err)
		if err != nil {
			answer, _ = adminReply(nil, err)
		}
		return answer
	}
}

// freeze answers FreezeRequest.
func (s *Server) freeze(ctx context.Context, req subjects.FreezeRequest) (rep subjects.FrozenCopy, err error) {
	if req.WaitMS < 0 || req.WaitMS > maxFreeze.Milliseconds() {
		return rep, fmt.Errorf("%w: wait_ms %d: want 0 to %d", subjects.ErrBadRequest, req.WaitMS, maxFreeze.Milliseconds())
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(req.WaitMS)*time.Millisecond+time.Second)
	defer cancel()
	var f *store.Frozen
	freeze := func() (err error) {
		f, err = s.store.Freeze(ctx, req.Partition, req.Seq)
		return err
	}
	if req.Primary {
		rep.Epoch, err = s.asPrimary(ctx, req.Partition, freeze)
	} else {
		err = freeze()
	}
	if err != nil && f != nil {
		f.Thaw()
		return rep, err
	}
	switch {
	case errors.Is(err, store.ErrPassed):
		return rep, fmt.Errorf("%w: %w", subjects.ErrPassed, err)
	case errors.Is(err, context.DeadlineExceeded):
		return rep, fmt.Errorf("%w: %w", subjects.ErrTimeout, err)
	case errors.Is(err, subjects.ErrUnavailable) || errors.Is(err, subjects.ErrBusy):
		return rep, err
	case err != nil:
		return rep, fmt.Errorf("%w: %w", subjects.ErrUnavailable, err)
	}
	rep.Snapshot, rep.Partition, rep.At = rand.Text(), req.Partition, f.At()
	if err = s.frozen.add(rep.Snapshot, f); err != nil {
		f.Thaw()
	}
	return rep, err
}

// asPrimary calls a function that takes a partition's records, and reports whether
// they are what a read of any key would be answered by: this process leads, as R5
// asks for, and knows the fate of every entry. It has to before the function begins,
// too: what a replica had, or a primary that did not know the fate of all yet, may
// lack what was acknowledged.
func (s *Server) asPrimary(ctx context.Context, p ring.Partition, take func() error) (ring.Epoch, error) {
	before, err := s.mayTell(p)
	if err != nil {
		return 0, err
	}
	if err := take(); err != nil {
		return 0, err
	}
	after, err := s.mayTell(p)
	switch {
	case err != nil:
		return 0, err
	case after != before:
		return 0, fmt.Errorf("partition %d went from epoch %d to %d meanwhile: %w", p, before, after, subjects.ErrBusy)
	case !s.o.Replica.Confirm:
		return after, nil
	}
	return after, s.confirmed(ctx, p, after)
}

// mayTell reports whether this process may answer reads of every key of a partition
// now, and in which epoch, if its replicas confirm it where they are to.
func (s *Server) mayTell(p ring.Partition) (ring.Epoch, error) {
	at, until := s.serving[p].look()
	switch {
	case at == nil:
		return 0, fmt.Errorf("%s does not lead partition %d: %w", s.name, p, subjects.ErrUnavailable)
	case len(at.Hidden) > 0 || boottime() >= until:
		return 0, fmt.Errorf("partition %d waits for its replicas: %w", p, subjects.ErrBusy)
	}
	return at.Epoch, nil
}

// confirmed has the replicas confirm that this process leads, as they confirm a read.
func (s *Server) confirmed(ctx context.Context, p ring.Partition, e ring.Epoch) error {
	done := make(chan subjects.Reply, 1)
	reply := s.o.Cluster.ServerReply(s.name) + "." + rand.Text()
	sub, err := s.bus.Handle(reply, s.meshID, func(f *bus.Frame) {
		var rep subjects.Reply
		if _, body, ok := f.Next(); ok && rep.Decode(body) == nil {
			select {
			case done <- rep:
			default:
			}
		}
	})
	if err != nil {
		return err
	}
	defer sub.Close()
	s.inbox.push(work{confirm: []confirmItem{{p, e, caller{reply: reply}, subjects.Reply{Status: subjects.StatusOK, Epoch: e}}}}, 1)
	select {
	case rep := <-done:
		if rep.Status == subjects.StatusOK {
			return nil
		}
		return fmt.Errorf("partition %d is not confirmed (%s): %w", p, rep.Status, subjects.ErrBusy)
	case <-ctx.Done():
		return fmt.Errorf("partition %d is not confirmed: %w", p, subjects.ErrBusy)
	}
}

func (f *frozen) add(id string, c *store.Frozen) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.open) >= maxFrozen {
		return fmt.Errorf("%d copies are frozen: %w", maxFrozen, subjects.ErrBusy)
	}
	f.open[id] = &frozenCopy{c, time.Now()}
	return nil
}

func (f *frozen) setRate(bytesPerSecond int64) { f.pace.SetLimit(rate.Limit(bytesPerSecond)) }

// rest waits for as long as so many bytes may take.
func (f *frozen) rest(ctx context.Context, bytes int) error {
	return f.pace.WaitN(ctx, min(bytes, f.pace.Burst()))
}

// get returns a frozen copy that is being used.
func (f *frozen) get(id string) (*store.Frozen, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.open[id]
	if c == nil {
		return nil, fmt.Errorf("no copy is frozen as %q, or nobody has asked for it for %s: %w", id, frozenFor, subjects.ErrUnavailable)
	}
	c.used = time.Now()
	return c.Frozen, nil
}

func (s *Server) thaw(_ context.Context, req subjects.ThawRequest) (any, error) {
	s.frozen.mu.Lock()
	defer s.frozen.mu.Unlock()
	if c := s.frozen.open[req.Snapshot]; c != nil {
		c.Thaw()
		delete(s.frozen.open, req.Snapshot)
	}
	return nil, nil
}

// thawOld gives up what nobody asks for any more.
func (s *Server) thawOld() error {
	t := time.NewTicker(frozenFor / 10)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case now := <-t.C:
			s.frozen.mu.Lock()
			for id, c := range s.frozen.open {
				if now.Sub(c.used) >= frozenFor {
					c.Thaw()
					delete(s.frozen.open, id)
				}
			}
			s.frozen.mu.Unlock()
		}
	}
}

func (s *Server) digests(ctx context.Context, req subjects.DigestsRequest) (rep subjects.DigestsReport, err error) {
	f, err := s.frozen.get(req.Snapshot)
	if err != nil {
		return rep, err
	}
	rep.Ranges, rep.Next, rep.Last, err = f.Digests(req.From, end(req.To), digestsBytes, func(n int) error {
		return s.frozen.rest(ctx, n)
	})
	return rep, err
}

// end is where to stop as package store has it.
func end(to []byte) []byte {
	if len(to) == 0 {
		return nil
	}
	return to
}

// piece answers PieceRequest.
func (s *Server) piece(ctx context.Context, data []byte) []byte {
	var req subjects.PieceRequest
	var rep subjects.Piece
	err := req.Decode(data)
	if err != nil {
		err = fmt.Errorf("%w: %w", subjects.ErrBadRequest, err)
	} else {
		err = s.readPiece(ctx, &req, &rep)
	}
	if err != nil {
		rep.Fail(err)
	}
	return rep.Append(nil)
}

func (s *Server) readPiece(ctx context.Context, req *subjects.PieceRequest, rep *subjects.Piece) error {
	f, err := s.frozen.get(string(req.Snapshot))
	if err != nil {
		return err
	}
	if req.Pass {
		f.Pass(req.From)
	}
	recs, next, last, err := f.Read(req.From, pieceBytes)
	if err != nil {
		return err
	}
	size := 0
	for i := range recs {
		r := &recs[i]
		if to := end(req.To); to != nil && bytes.Compare(r.Key, to) >= 0 {
			last = true
			break
		}
		size += r.Size()
		if req.KeysOnly {
			r.Value = nil
		}
		rep.Records = digest.Append(rep.Records, r)
	}
	if rep.Last = last; !last {
		rep.Next = next
	}
	return s.frozen.rest(ctx, size)
}
