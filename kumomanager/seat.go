package kumomanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/bus/proof"
	"github.com/etolabo/kumofs/bus/quorum"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const (
	tickEvery    = 50 * time.Millisecond
	proposeWait  = 5 * time.Second
	publishEvery = 10 * time.Millisecond
	// Without news, a leader looks so often what time alone makes due.
	lookAgain = 100 * time.Millisecond
	inboxSize = 4096
)

// seat is a vote in the managers' log and all that leads with it: a manager's,
// or a witness's on a server. One goroutine, loop, owns the core; others bring it
// events as functions and do what takes waiting.
type seat struct {
	o       seatOptions
	log     *slog.Logger
	machine *machine
	quorum  *quorum.Quorum
	proofs  *proof.Watcher[ring.Process]
	subs    []*bus.Sub
	failed  chan error // the log could not be written
	recent  recentEvents

	inbox     chan func(now time.Time)
	proposals chan *proposal // nil asks for a barrier
	outcomes  chan outcome
	grooms    chan groom
	groomed   chan groomed
	leads     atomic.Bool // for those outside of loop
	votes     atomic.Bool // a server that does not vote needs to know nobody

	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup
	once   sync.Once
	err    error

	// Owned by loop:
	core      *core
	term      uint64 // that this seat leads, or is about to; 0 if none
	waiting   bool   // for an outcome
	published *ring.Table
	moves     progress
	lookAt    time.Time // of the last look for something to do
	publishAt time.Time // of the last publication
	groomAt   time.Time
	grooming  bool
	change    *voterChange // that an operator waits for

	inquiring  bool
	inquiredAt time.Time
}

// seatOptions say where a seat votes.
type seatOptions struct {
	settings
	bus     *bus.Bus
	cluster subjects.Cluster
	name    string // under which it votes
	voters  []string
	dir     string
	log     *slog.Logger
}

// outcome is what became of a proposal.
type outcome struct {
	p    *proposal // nil for a barrier
	term uint64
	err  error
}

// openSeat takes a seat and begins to vote.
func openSeat(o seatOptions) (_ *seat, err error) {
	s := &seat{
		o: o, log: o.log, machine: newMachine(), failed: make(chan error, 1),
		inbox:     make(chan func(time.Time), inboxSize),
		proposals: make(chan *proposal, 1), outcomes: make(chan outcome, 1),
		grooms: make(chan groom, 1), groomed: make(chan groomed, 1),
		core: newCore(o.settings, time.Now()),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.proofs = proof.NewWatcher(o.log, func(p ring.Process) {
		s.do(func(now time.Time) { s.core.members.Ended(p, s.core.at(now)) })
	})
	defer func() {
		if err != nil {
			_ = s.close()
		}
	}()
	s.quorum, err = quorum.Open(quorum.Options{
		ID: o.name, Dir: o.dir, Group: string(o.cluster), Conn: conn{o.bus}, Subject: o.cluster.Raft,
		Voters: o.voters, Machine: s.machine, Log: o.log,
		Fault: func(err error) {
			select {
			case s.failed <- fmt.Errorf("the managers' log in %s: %w", o.dir, err):
			default:
			}
		},
	})
	if err != nil {
		return nil, err
	}
	if t := s.machine.table.Load(); t != nil && t.Cluster != string(o.cluster) {
		return nil, fmt.Errorf("folder %s belongs to cluster %q, not to %q", o.dir, t.Cluster, o.cluster)
	}
	s.votes.Store(!o.witness)
	s.wg.Go(s.loop)
	s.wg.Go(s.propose)
	s.wg.Go(s.groom)
	return s, s.subscribe()
}

// conn is the bus as the log uses it.
type conn struct{ b *bus.Bus }

// Publish implements quorum.Conn.
func (c conn) Publish(subject string, data []byte) error { return c.b.Publish(subject, data) }

// Subscribe implements quorum.Conn.
func (c conn) Subscribe(subject string, h func(string, []byte)) (func(), error) {
	sub, err := c.b.Subscribe(subject, func(m *bus.Msg) { h(m.Subject, m.Data) })
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Close() }, nil
}

// close gives the seat up without a word to the others. It may be called twice.
func (s *seat) close() error {
	s.once.Do(func() {
		for _, sub := range s.subs {
			_ = sub.Close()
		}
		s.cancel()
		s.proofs.Close()
		if s.quorum != nil {
			s.err = s.quorum.Close()
		}
		s.wg.Wait()
	})
	return s.err
}

// handOverWithin bounds how long a stop waits for another leader.
const handOverWithin = 2 * time.Second

// handOver gives the lead to another voter, if there is one.
func (s *seat) handOver() {
	if !s.quorum.IsLeader() || len(s.quorum.Voters()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverWithin)
	defer cancel()
	if err := s.quorum.TransferLeadership(ctx, ""); err != nil {
		s.log.Info("nobody could take the lead over", "err", err)
	}
}

// do has loop call f soon; it does not wait, except for room.
func (s *seat) do(f func(now time.Time)) {
	select {
	case s.inbox <- f:
	case <-s.ctx.Done():
	}
}

// loop owns the core.
func (s *seat) loop() {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	publish := time.NewTimer(time.Hour)
	defer publish.Stop()
	for {
		select {
		case <-s.ctx.Done():
			s.leads.Store(false)
			s.core.follow()
			s.dropChange()
			return
		case f := <-s.inbox:
			now := time.Now()
			f(now)
			for range len(s.inbox) { // what is there already, with the same time
				(<-s.inbox)(now)
			}
		case <-tick.C:
			s.tick(time.Now())
		case <-s.quorum.LeaderChanges():
		case <-s.machine.changed:
		case out := <-s.outcomes:
			s.settle(out)
		case out := <-s.groomed:
			s.groomDone(out)
		case <-publish.C:
		}
		if wait := s.turn(time.Now()); wait > 0 {
			publish.Reset(wait)
		}
	}
}

// tick passes time, to a seat that votes.
func (s *seat) tick(now time.Time) {
	votes := !s.o.witness || slices.Contains(s.quorum.Voters(), s.o.name)
	if votes && !s.votes.Load() {
		s.core.members.Deaf(s.core.at(now))
	}
	s.votes.Store(votes)
	if votes {
		s.core.members.Tick(s.core.at(now))
	}
}

// turn does what follows from the events so far. It returns after how long the
// table must be published, 0 if it need not be.
func (s *seat) turn(now time.Time) (wait time.Duration) {
	s.takeTable(now)
	s.lead()
	if s.core.members.News() {
		s.core.members.Watch(func(p ring.Process, addr string) { s.proofs.Watch(uint64(p.Store), p, addr) })
	}
	if !s.core.leading {
		s.core.members.NoNews()
		return 0
	}
	s.tell(s.core.members.TakeNotes(), now)
	if s.core.pressing() || now.Sub(s.lookAt) >= lookAgain {
		s.act(now)
	}
	return s.publish(now)
}

// act has the core decide, unless a command is under way.
func (s *seat) act(now time.Time) {
	if s.waiting {
		return
	}
	s.lookAt = now
	s.tell(s.moves.look(s.core.table, now), now)
	s.core.pace.look(s.core.table, s.core, now)
	if p := s.core.next(now); p != nil {
		s.waiting = true
		s.proposals <- p
	}
	s.inquireSoon(now)
	s.upkeep(now)
}

// takeTable brings the core the newest table.
func (s *seat) takeTable(now time.Time) {
	t, old := s.machine.table.Load(), s.core.table
	if t == nil || t == old {
		return
	}
	s.core.tables(t, now)
	if s.core.leading {
		s.tell(events(old, t), now)
	}
}

// lead follows the log's leadership. A new leader first waits until it has
// applied all that was committed before.
func (s *seat) lead() {
	term := s.quorum.Term()
	if !s.quorum.IsLeader() {
		term = 0
	}
	if term != s.term && s.core.leading {
		s.leads.Store(false)
		s.core.follow()
		s.dropChange()
	}
	if term == s.term || s.waiting {
		return
	}
	if s.term = term; term != 0 {
		s.waiting = true
		s.proposals <- nil
	}
}

// settle takes the outcome of a command or barrier.
func (s *seat) settle(out outcome) {
	now := time.Now()
	s.waiting = false
	s.takeTable(now)
	if out.p != nil {
		s.core.done(out.p, out.err)
		if out.err != nil {
			s.log.Warn("a change of the ring was not made", "err", out.err)
		}
		if errors.Is(out.err, subjects.ErrTimeout) {
			s.term = 0 // what became of it is known after another barrier
			s.leads.Store(false)
			s.core.follow()
			s.dropChange()
		}
		return
	}
	if out.err != nil || s.quorum.Term() != out.term || !s.quorum.IsLeader() {
		s.term = 0 // tried again, if it still leads
		return
	}
	s.core.lead(now)
	s.leads.Store(true)
	s.published = nil
	s.log.Debug("leading", "voter", s.o.name, "term", out.term)
	s.tell([]subjects.Event{{Kind: subjects.EventLeader, Node: s.core.nodeName(s.o.name), Text: s.core.nodeName(s.o.name) + " leads the managers"}}, now)
}

// propose carries commands to the log, one at a time.
func (s *seat) propose() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case p := <-s.proposals:
			out := outcome{p: p, term: s.quorum.Term()}
			out.err = s.commit(p)
			select {
			case s.outcomes <- out:
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// commit returns when a command is applied here; a nil one is a barrier.
func (s *seat) commit(p *proposal) error {
	ctx, cancel := context.WithTimeout(s.ctx, proposeWait)
	defer cancel()
	if p == nil {
		return translate(s.quorum.Barrier(ctx))
	}
	data, err := json.Marshal(p.command)
	if err != nil {
		return fmt.Errorf("%w: encode a command: %w", subjects.ErrInternal, err)
	}
	res, err := s.quorum.Propose(ctx, data)
	if err != nil {
		return translate(err)
	}
	if a, ok := res.(applied); ok && a.err != nil {
		return fmt.Errorf("%w: %w", subjects.ErrRefused, a.err)
	}
	return nil
}

// translate gives the log's errors the names that cross the wire.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, quorum.ErrTimeout):
		return fmt.Errorf("%w: %w", subjects.ErrTimeout, err)
	case errors.Is(err, quorum.ErrNotLeader):
		return fmt.Errorf("%w: %w", subjects.ErrNotLeader, err)
	}
	return fmt.Errorf("%w: %w", subjects.ErrUnavailable, err)
}
