package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

var (
	// ErrNotLeader says that this voter does not lead, and that nothing was done. Leader may know who does.
	ErrNotLeader = errors.New("not the leader")
	// ErrTimeout says that the outcome is not known: what was asked for may have been done, or may yet be.
	ErrTimeout = errors.New("outcome unknown")
	// ErrClosed says that the Quorum is closed. Without ErrTimeout beside it nothing was done.
	ErrClosed = errors.New("quorum is closed")
	// ErrBusy says that too much waits already, and that nothing was done.
	ErrBusy = errors.New("too many commands under way")
	// ErrTooLarge says that a command is larger than MaxCommand.
	ErrTooLarge = errors.New("command is too large")
)

// callWait bounds calls whose context has no deadline.
const callWait = 10 * time.Second

// outcome is what raft made of a call.
type outcome struct {
	result any
	err    error
}

// run has f wait for raft in a goroutine of its own, since raft's futures know no context.
func (q *Quorum) run(ctx context.Context, f func(wait time.Duration) (any, error)) (any, error) {
	wait := callWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = max(time.Until(deadline), time.Millisecond)
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	select {
	case q.slots <- struct{}{}:
	case <-q.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
	q.mu.Lock()
	if q.closing {
		q.mu.Unlock()
		<-q.slots
		return nil, ErrClosed
	}
	q.calls.Add(1)
	q.mu.Unlock()

	done := make(chan outcome, 1)
	go func() {
		defer q.calls.Done()
		defer func() { <-q.slots }()
		result, err := f(wait)
		done <- outcome{result, err}
	}()
	select {
	case o := <-done:
		return o.result, translate(o.err)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
	case <-q.closed:
		return nil, fmt.Errorf("%w, %w", ErrClosed, ErrTimeout)
	}
}

// translate turns raft's errors into ours.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case errors.Is(err, raft.ErrRaftShutdown):
		return fmt.Errorf("%w, %w", ErrClosed, ErrTimeout)
	default: // leadership lost, the log not written
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
}

// Propose has the group perform a command, and returns what the machine here returned for it. It fails with ErrNotLeader,
// ErrBusy, ErrTooLarge or ErrClosed where nothing was done, and with ErrTimeout where the outcome is not known: at the
// end of ctx (10 s if it has no deadline), and when this voter stops leading meanwhile.
//
// Commands that one goroutine proposes one after another are applied in that order.
func (q *Quorum) Propose(ctx context.Context, command []byte) (result any, err error) {
	if len(command) > MaxCommand {
		return nil, fmt.Errorf("propose %d bytes: %w", len(command), ErrTooLarge)
	}
	if !q.IsLeader() {
		return nil, q.notLeading("propose")
	}
	result, err = q.run(ctx, func(wait time.Duration) (any, error) {
		f := q.raft.Apply(command, wait)
		if err := f.Error(); err != nil {
			return nil, err
		}
		return f.Response(), nil
	})
	if err != nil {
		return nil, fmt.Errorf("propose: %w", err)
	}
	return result, nil
}

// Barrier returns when everything that was committed before the call is applied here. It goes through the log, so it also
// proves, without a clock, that this voter led when it was called. A new leader calls it before it answers from its
// machine.
func (q *Quorum) Barrier(ctx context.Context) error {
	return q.ask(ctx, "barrier", func(wait time.Duration) error {
		return noEffect(q.raft.Barrier(wait).Error())
	})
}

// Verify asks a majority whether this voter still leads, at the cost of one exchange and no write. An answer that was
// under way already counts too, so this is certain only as long as a voter keeps to its leader for Heartbeat after hearing
// from it, which one that is started anew does not; where no clock may be trusted, Barrier is the proof.
func (q *Quorum) Verify(ctx context.Context) error {
	return q.ask(ctx, "verify leadership", func(time.Duration) error {
		if q.moving.Load() > 0 { // the voters need not keep to this leader
			return raft.ErrLeadershipTransferInProgress
		}
		err := q.raft.VerifyLeader().Error()
		if err == nil && q.moving.Load() > 0 {
			err = raft.ErrLeadershipTransferInProgress
		}
		return noEffect(err)
	})
}

// noEffect is for calls that change nothing: to have lost the lead on the way is not to have it.
func noEffect(err error) error {
	if errors.Is(err, raft.ErrLeadershipLost) {
		return raft.ErrNotLeader
	}
	return err
}

// ask is run for what has no result and only a leader can do.
func (q *Quorum) ask(ctx context.Context, what string, f func(wait time.Duration) error) error {
	if !q.IsLeader() {
		return q.notLeading(what)
	}
	_, err := q.run(ctx, func(wait time.Duration) (any, error) { return nil, f(wait) })
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// notLeading is the error of a voter that does not lead, or is closed.
func (q *Quorum) notLeading(what string) error {
	select {
	case <-q.closed:
		return fmt.Errorf("%s: %w", what, ErrClosed)
	default:
		return fmt.Errorf("%s: %w", what, ErrNotLeader)
	}
}
