package quorum

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// DefaultHeartbeat and DefaultElection are the time-outs of Options. A leader that is lost is replaced after 1.1 to 1.6
	// of them (BenchmarkFailover), and on two cores shared with six busy processes and a busy disk none was deposed for
	// being slow.
	DefaultHeartbeat = 400 * time.Millisecond
	DefaultElection  = 400 * time.Millisecond

	minTimeout = 20 * time.Millisecond

	// MaxCommand bounds a command, in bytes, so that it fits into a message of any bus with NATS's default limit.
	MaxCommand = 512 << 10

	// maxInFlight bounds the commands of this voter that are not decided. It stays well below trailingLogs: what a leader
	// that is cut off has too much is then shorter than what logs keep, and mostly goes without a snapshot.
	maxInFlight = 256

	// A snapshot is taken after so many entries, or so many bytes of them, looked at every snapshotLook.
	snapshotEntries = 1024
	snapshotBytes   = 4 << 20
	snapshotLook    = 5 * time.Second
	keptSnapshots   = 2

	// trailingLogs are kept behind a snapshot, so that one who was away shortly needs no snapshot.
	trailingLogs = 1024

	raftFile = "raft.db"
)

// Options says what Open needs. ID, Dir, Conn, Subject and Machine must be given.
type Options struct {
	// ID is this voter's name, which is its address as well: no dots, spaces or wildcards, since it is in subjects. It
	// belongs to the folder, see "Who may vote" in the package's comment.
	ID string
	// Dir holds raft.db and snapshots/. It is made if absent.
	Dir string
	// Group is in every message; those of another group are refused. It may be empty, and must be the same for all.
	Group string
	Conn  Conn
	// Subject says where a node takes messages of a kind: vote, prevote, append, heartbeat, snapshot, timeout, reply.
	Subject func(node, rpc string) string
	// Voters is the group to begin with, if Dir is new and holds nothing: every one of them may be started with the same
	// set, this one included. If empty, a new folder waits until the group's leader adds it.
	Voters  []string
	Machine Machine
	// Heartbeat is how long a follower does without its leader before it stands for election, and a leader without a
	// majority before it steps down; heartbeats go ten times as often. Election is how long a candidate waits for votes.
	Heartbeat, Election time.Duration
	Log                 *slog.Logger
	// Fault, if given, is called once when the log could not be written. This voter then takes no more part; since it is
	// not known what is on disk, the process should end. It may be called from any goroutine, and must not wait for
	// Close.
	Fault func(error)
}

func (o *Options) check() error {
	if err := checkID(o.ID); err != nil {
		return err
	}
	switch {
	case o.Dir == "":
		return errors.New("no folder")
	case o.Conn == nil:
		return errors.New("no bus")
	case o.Subject == nil:
		return errors.New("no subjects")
	case o.Machine == nil:
		return errors.New("no machine")
	}
	seen := make(map[string]bool)
	for _, v := range o.Voters {
		if err := checkID(v); err != nil {
			return err
		}
		if seen[v] {
			return fmt.Errorf("voter %s is named twice", v)
		}
		seen[v] = true
	}
	if len(o.Voters) > 0 && !seen[o.ID] {
		return fmt.Errorf("voters %v are without %s itself", o.Voters, o.ID)
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = DefaultHeartbeat
	}
	if o.Election == 0 {
		o.Election = max(DefaultElection, o.Heartbeat)
	}
	if o.Heartbeat < minTimeout || o.Election < o.Heartbeat {
		return fmt.Errorf("time-outs %v and %v: must be at least %v, and the second no shorter than the first", o.Heartbeat, o.Election, minTimeout)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// checkID refuses names that cannot be a token of a subject.
func checkID(id string) error {
	if id == "" || strings.ContainsAny(id, ".*> \t\r\n") {
		return fmt.Errorf("voter's name %q: must be one token of a subject", id)
	}
	return nil
}

// Quorum is one voter of a group. Its methods may be called from any goroutine.
type Quorum struct {
	opts  Options
	log   *slog.Logger
	store *store
	fsm   *fsm
	trans *transport
	raft  *raft.Raft

	events   chan raft.Observation
	changes  chan struct{}
	slots    chan struct{}  // one per command that is not decided
	moving   atomic.Int32   // leadership transfers under way
	stop     chan struct{}  // closed when watch is to end
	watched  chan struct{}  // closed when watch has ended
	watching bool           // it was begun
	calls    sync.WaitGroup // goroutines that wait for raft

	running atomic.Bool // raft has been started
	downMu  sync.Mutex  // guards raft while it is started, and
	down    raft.Future // its end, once it was asked for

	mu       sync.Mutex
	closed   chan struct{} // closed first: nothing new is begun
	closing  bool
	finished chan struct{} // closed when Close is done
	closeErr error
}

// Open starts a voter with what its folder holds.
func Open(o Options) (_ *Quorum, err error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("open quorum %s: %w", o.ID, err)
	}
	q := &Quorum{
		opts: o, log: o.Log,
		events: make(chan raft.Observation, 16), changes: make(chan struct{}, 1),
		slots: make(chan struct{}, maxInFlight),
		stop:  make(chan struct{}), watched: make(chan struct{}),
		closed: make(chan struct{}), finished: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			_ = q.Close()
			err = fmt.Errorf("open quorum %s in %s: %w", o.ID, o.Dir, err)
		}
	}()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if q.store, err = openStore(filepath.Join(o.Dir, raftFile), q.fault); err != nil {
		return nil, err
	}
	if q.trans, err = newTransport(&q.opts); err != nil {
		return nil, err
	}
	if err := q.startRaft(); err != nil {
		return nil, err
	}
	q.watching = true
	go q.watch()
	if err := q.trans.start(); err != nil {
		return nil, err
	}
	return q, nil
}

// fault silences this voter after the log could not be written, tells the owner, and stops raft.
func (q *Quorum) fault(err error) {
	if q.trans != nil {
		q.trans.silent.Store(true)
		q.store.silent.Store(q.running.Load())
	}
	q.log.Error("log could not be written; this voter takes no more part", "error", err)
	if q.opts.Fault != nil {
		q.opts.Fault(err)
	}
	q.shutdown()
}

// shutdown has raft stop, if it runs; the future waits until it has.
func (q *Quorum) shutdown() raft.Future {
	q.downMu.Lock()
	defer q.downMu.Unlock()
	if q.down == nil && q.raft != nil {
		q.down = q.raft.Shutdown()
	}
	return q.down
}

// watch passes changes of leader on, and takes a snapshot when the log grows large with few entries.
func (q *Quorum) watch() {
	defer close(q.watched)
	look := time.NewTicker(snapshotLook)
	defer look.Stop()
	voters := q.Voters()
	nudger := newNudger(q.raft, q.opts.Heartbeat, len(voters) == 1 && voters[0] == q.opts.ID)
	tick := time.NewTicker(nudger.interval())
	defer tick.Stop()
	for {
		select {
		case <-q.stop:
			return
		case <-q.events:
			select {
			case q.changes <- struct{}{}:
			default:
			}
		case now := <-tick.C:
			if err := nudger.tick(now); err != nil {
				q.log.Warn("leader is not watched closely", "error", err)
				tick.Stop()
			}
		case <-look.C:
			if q.store.written.Load() < snapshotBytes {
				continue
			}
			if err := q.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
				q.log.Info("snapshot not taken", "error", err)
			}
		}
	}
}

// drainWait bounds how long Close waits for commands under way, and for raft's answers to them.
const drainWait = 2 * time.Second

// Close stops this voter. Calls under way return ErrClosed. It may be called twice.
func (q *Quorum) Close() error {
	q.mu.Lock()
	if q.closing {
		q.mu.Unlock()
		<-q.finished
		return q.closeErr
	}
	q.closing = true
	close(q.closed)
	q.mu.Unlock()
	defer close(q.finished)

	if q.raft != nil {
		// Raft forgets to answer some of what it holds when it is shut down, so it is given the time to answer before.
		q.drained()
		down := q.shutdown()
		_ = q.trans.Close() // fails what raft's goroutines wait for
		if err := down.Error(); err != nil {
			q.closeErr = fmt.Errorf("close quorum %s: %w", q.opts.ID, err)
		}
		if !q.drained() {
			q.log.Warn("raft left calls unanswered")
		}
		close(q.stop)
		if q.watching {
			<-q.watched
		}
	} else if q.trans != nil {
		_ = q.trans.Close()
	}
	if q.store != nil {
		if err := q.store.close(); err != nil && q.closeErr == nil {
			q.closeErr = fmt.Errorf("close quorum %s: %w", q.opts.ID, err)
		}
	}
	return q.closeErr
}

// drained waits for the goroutines of calls, at most drainWait.
func (q *Quorum) drained() bool {
	done := make(chan struct{})
	go func() {
		q.calls.Wait()
		close(done)
	}()
	timer := time.NewTimer(drainWait)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
