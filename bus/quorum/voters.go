package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// ErrBehind says that a new voter could not be brought up to date in time. It stays a learner, without a vote.
var ErrBehind = errors.New("new voter is not up to date")

// catchUpLook is how often AddVoter looks whether the new one is up to date.
const catchUpLook = 20 * time.Millisecond

// Leader is who leads, as far as is known here.
func (q *Quorum) Leader() (id string, ok bool) {
	_, leader := q.raft.LeaderWithID()
	return string(leader), leader != ""
}

// IsLeader says whether this voter believes that it leads. Another may have been elected since; Verify and Barrier ask.
func (q *Quorum) IsLeader() bool { return q.raft.State() == raft.Leader }

// LeaderChanges gives a signal after changes of what Leader and IsLeader say. Changes in quick succession are one signal,
// so compare Term as well. There is one channel, for one reader; it is never closed.
func (q *Quorum) LeaderChanges() <-chan struct{} { return q.changes }

// Term is the current term. A leader of one term is not the leader of another, even if it is the same voter.
func (q *Quorum) Term() uint64 { return q.raft.CurrentTerm() }

// Applied is the index up to which the machine has performed the log, by commands or by a snapshot; 0 if none.
func (q *Quorum) Applied() uint64 { return q.fsm.applied.Load() }

// Started says whether the folder holds a state: the group was begun with it, or it was reached by a leader. Voters of
// Options is ignored then.
func (q *Quorum) Started() bool { return q.raft.LastIndex() > 0 }

// Counters are what was seen of the bus.
func (q *Quorum) Counters() Counters {
	c := &q.trans.count
	return Counters{
		Sent: c.sent.Load(), Unanswered: c.unanswered.Load(), Late: c.late.Load(),
		Received: c.received.Load(), Refused: c.refused.Load(), Dropped: c.dropped.Load(),
	}
}

// Voters are those with a vote, as far as is known here, sorted. The latest change may not be committed.
func (q *Quorum) Voters() []string { return q.members(raft.Voter) }

// Learners are those that get the log without a vote: new voters on their way, sorted.
func (q *Quorum) Learners() []string { return q.members(raft.Nonvoter) }

func (q *Quorum) members(s raft.ServerSuffrage) []string {
	f := q.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	var ids []string
	for _, m := range f.Configuration().Servers {
		if m.Suffrage == s {
			ids = append(ids, string(m.ID))
		}
	}
	slices.Sort(ids)
	return ids
}

// AddVoter gives a vote to another, which must have been opened with an empty folder and no Voters, or be a member of this
// group that was removed. It first becomes a learner, and gets its vote when it has the log, so that a voter that is not
// there does not count in any majority; if ctx ends before, the error is ErrBehind and the call may be repeated. Only a
// leader can do it, and nothing happens if it is a voter already.
func (q *Quorum) AddVoter(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("add voter: %w", err)
	}
	what := "add voter " + id
	if !q.IsLeader() {
		return q.notLeading(what)
	}
	if slices.Contains(q.Voters(), id) {
		return nil
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callWait)
		defer cancel()
	}
	q.trans.matchedBy(id, true)
	if err := q.ask(ctx, what, func(wait time.Duration) error {
		return q.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(id), 0, wait).Error()
	}); err != nil {
		return err
	}
	goal := q.raft.LastIndex()
	look := time.NewTicker(catchUpLook)
	defer look.Stop()
	for q.trans.matchedBy(id, false) < goal {
		if !q.IsLeader() {
			return q.notLeading(what)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, ErrBehind, ctx.Err())
		case <-q.closed:
			return fmt.Errorf("%s: %w", what, ErrClosed)
		}
	}
	return q.ask(ctx, what, func(wait time.Duration) error {
		return q.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(id), 0, wait).Error()
	})
}

// RemoveVoter takes a voter or learner out of the group. Only a leader can do it, and nothing happens if it is no member.
// A leader that removes itself steps down when that is committed, and the others elect one when they miss it; to spare
// them the wait, TransferLeadership first and let the new leader do it. The last voter cannot be removed.
//
// The one that was removed may never hear of it. It goes on asking for votes, is refused by all, and disturbs nobody.
func (q *Quorum) RemoveVoter(ctx context.Context, id string) error {
	return q.ask(ctx, "remove voter "+id, func(wait time.Duration) error {
		return q.raft.RemoveServer(raft.ServerID(id), 0, wait).Error()
	})
}

// TransferLeadership hands the lead to another voter, or with an empty name to the one that is furthest. Commands are
// refused with ErrNotLeader meanwhile, for Election at most. It returns nil when this voter leads no more, whoever does.
func (q *Quorum) TransferLeadership(ctx context.Context, to string) error {
	what := "transfer leadership to " + to
	if to != "" && !slices.Contains(q.Voters(), to) {
		return fmt.Errorf("%s: no such voter", what)
	}
	return q.ask(ctx, what, func(time.Duration) error {
		q.moving.Add(1)
		defer q.moving.Add(-1)
		if to == "" {
			return q.raft.LeadershipTransfer().Error()
		}
		return q.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to)).Error()
	})
}
