package quorum

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// chunkSize is how many bytes of a snapshot go in one message.
	chunkSize = 192 << 10
	// MaxSnapshot bounds a machine's snapshot, in bytes: a receiver holds one in memory.
	MaxSnapshot = 64 << 20
	// chunkWait is how long a part may take to be answered, chunkTries how often it is sent within.
	chunkWait  = 3 * time.Second
	chunkTries = 6
	// installWait is the same for the last part, whose answer comes when the snapshot is on disk and in the machine.
	installWait  = 30 * time.Second
	installTries = 15
	// transferIdle is how long a transfer that does not go on is kept.
	transferIdle = 15 * time.Second
)

// sendSnapshot sends a snapshot in parts, each after the one before was answered.
func (t *transport) sendSnapshot(peer string, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if args.Size > MaxSnapshot {
		return fmt.Errorf("snapshot of %d bytes is larger than %d", args.Size, MaxSnapshot)
	}
	chunk := wireChunk{Transfer: t.next.Add(1), Meta: &wireSnapshot{
		Version: int(args.SnapshotVersion), Term: args.Term, LastLogIndex: args.LastLogIndex, LastLogTerm: args.LastLogTerm,
		Configuration: args.Configuration, ConfigurationIndex: args.ConfigurationIndex, Size: args.Size,
	}}
	buf := make([]byte, chunkSize)
	left := args.Size
	for {
		wait, tries := chunkWait, chunkTries
		if chunk.Last {
			wait, tries = installWait, installTries
		}
		var w wireChunkReply
		h, err := t.call(peer, kindSnapshot, &chunk, &w, wait, tries)
		if err != nil {
			return fmt.Errorf("part %d of snapshot %d: %w", chunk.Part, args.LastLogIndex, err)
		}
		if w.Done {
			*resp = raft.InstallSnapshotResponse{RPCHeader: h.rpcHeader(), Term: w.Term, Success: w.Success}
			if w.Success {
				t.match(peer, args.LastLogIndex)
			}
			return nil
		}
		if chunk.Last {
			return errors.New("snapshot was taken and not answered")
		}
		n, err := io.ReadFull(data, buf[:min(left, chunkSize)])
		if err != nil {
			return fmt.Errorf("read snapshot %d: %w", args.LastLogIndex, err)
		}
		left -= int64(n)
		chunk.Meta, chunk.Data = nil, buf[:n]
		chunk.Part++
		chunk.Last = left == 0
	}
}

// installs puts the parts of a snapshot together, one snapshot at a time, and hands whole ones to raft: a transfer that
// breaks off never reaches raft, whose main loop would wait for it. A snapshot of what is applied already is answered
// and not installed, since raft would set the machine back; and raft gets the next only when it is done with one, so that
// no snapshot grows old in its queue.
type installs struct {
	in      *inbound
	applied atomic.Pointer[func() uint64] // raft's last applied index
	// installing is where the snapshot ends that raft has; nil: it has none.
	installing atomic.Pointer[boundary]
	taken      func(index uint64) // a snapshot up to index is in the machine

	mu       sync.Mutex
	from     string
	transfer uint64
	meta     *wireSnapshot
	next     uint32 // the part that is wanted
	data     bytes.Buffer
	busy     bool            // raft has it
	done     *wireChunkReply // raft's answer to transfer
	idle     *time.Timer
}

func newInstalls(in *inbound) *installs {
	s := &installs{in: in}
	s.idle = time.AfterFunc(transferIdle, s.expire)
	return s
}

// setApplied is called once, when there is a raft to ask.
func (s *installs) setApplied(applied func() uint64, taken func(index uint64)) {
	s.taken = taken
	s.applied.Store(&applied)
}

func (s *installs) close() { s.idle.Stop() }

// expire frees the memory of a transfer that does not go on.
func (s *installs) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.busy {
		s.drop()
	}
}

// drop forgets the transfer. The caller holds mu.
func (s *installs) drop() {
	s.from, s.transfer, s.meta, s.next, s.done = "", 0, nil, 0, nil
	s.data = bytes.Buffer{}
}

// chunk takes one part; an error means that it was malformed.
func (s *installs) chunk(h wireHeader, w *wireChunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.Part == 0 {
		return s.begin(h, w)
	}
	if w.Transfer != s.transfer || h.From != s.from {
		s.in.reply(h, nil, errors.New("no such transfer"))
		return nil
	}
	switch {
	case s.done != nil:
		s.in.reply(h, *s.done, nil)
		return nil
	case w.Part < s.next && (!w.Last || !s.busy):
		s.in.reply(h, wireChunkReply{}, nil) // its answer was lost
		return nil
	case w.Part != s.next || s.busy:
		return nil // the last part again, which raft will answer; or one from the future, which cannot be
	}
	size := int64(s.data.Len() + len(w.Data))
	if len(w.Data) > chunkSize || size > s.meta.Size || w.Last != (size == s.meta.Size) {
		s.drop()
		return fmt.Errorf("%w: part %d of a snapshot is %d bytes", errWire, w.Part, len(w.Data))
	}
	s.data.Write(w.Data)
	s.next++
	s.idle.Reset(transferIdle)
	if !w.Last {
		s.in.reply(h, wireChunkReply{}, nil)
		return nil
	}
	s.install(h)
	return nil
}

// begin starts a transfer, in place of one that was under way. The caller holds mu.
func (s *installs) begin(h wireHeader, w *wireChunk) error {
	m := w.Meta
	if m == nil || w.Transfer == 0 || w.Last || len(w.Data) > 0 || m.Size < 0 || m.Size > MaxSnapshot {
		return fmt.Errorf("%w: snapshot without a head", errWire)
	}
	if raft.SnapshotVersion(m.Version) != raft.SnapshotVersionMax {
		return fmt.Errorf("%w: snapshot of version %d", errWire, m.Version)
	}
	if _, err := decodeConfiguration(m.Configuration); err != nil {
		return err
	}
	switch {
	case w.Transfer == s.transfer && h.From == s.from: // the same again
		s.in.reply(h, wireChunkReply{}, nil)
	case s.busy:
		s.in.reply(h, nil, errors.New("busy with another snapshot"))
	default:
		if answer, err := s.needless(m); answer != nil || err != nil {
			s.in.reply(h, answer, err)
			return nil
		}
		s.drop()
		s.from, s.transfer, s.meta, s.next = h.From, w.Transfer, m, 1
		s.idle.Reset(transferIdle)
		s.in.reply(h, wireChunkReply{}, nil)
	}
	return nil
}

// needless answers for a snapshot that need not, or must not, be installed. What is applied was committed, so that it is
// in every later leader's snapshot in the same order: a snapshot that ends no later holds nothing new.
func (s *installs) needless(m *wireSnapshot) (*wireChunkReply, error) {
	applied := s.applied.Load()
	if applied == nil {
		return nil, errors.New("starting")
	}
	switch term := s.in.term(); {
	case m.Term < term:
		return &wireChunkReply{Term: term, Done: true}, nil
	case (*applied)() < m.LastLogIndex:
		return nil, nil
	case m.Term > term:
		return nil, errors.New("term is not known yet") // a heartbeat will tell
	default:
		return &wireChunkReply{Term: term, Success: true, Done: true}, nil
	}
}

// install hands the whole snapshot to raft. The caller holds mu.
func (s *installs) install(h wireHeader) {
	m := s.meta
	if answer, err := s.needless(m); answer != nil || err != nil {
		s.drop()
		s.in.reply(h, answer, err)
		return
	}
	rpc := raft.RPC{
		Command: &raft.InstallSnapshotRequest{
			RPCHeader: h.rpcHeader(), SnapshotVersion: raft.SnapshotVersion(m.Version), Term: m.Term,
			LastLogIndex: m.LastLogIndex, LastLogTerm: m.LastLogTerm,
			Configuration: m.Configuration, ConfigurationIndex: m.ConfigurationIndex, Size: m.Size,
		},
		Reader: bytes.NewReader(s.data.Bytes()),
	}
	s.busy = true
	s.installing.Store(&boundary{m.LastLogIndex, m.LastLogTerm})
	if !s.in.askFrom(h, rpc, func(r raft.RPCResponse) { s.installed(h, r) }) {
		s.busy = false
		s.installing.Store(nil)
		s.drop()
		s.in.reply(h, nil, errors.New("too much to do"))
	}
}

// installed takes raft's answer.
func (s *installs) installed(h wireHeader, r raft.RPCResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(r.Error, raft.ErrRaftShutdown) {
		s.in.reply(h, nil, r.Error) // it may still be at work on this one
		return
	}
	s.busy = false
	s.installing.Store(nil)
	a, ok := r.Response.(*raft.InstallSnapshotResponse)
	if r.Error == nil && !ok {
		r.Error = fmt.Errorf("raft answered with %T", r.Response)
	}
	if r.Error != nil {
		s.drop()
		s.in.reply(h, nil, fmt.Errorf("install snapshot: %w", r.Error))
		return
	}
	if a.Success {
		s.taken(s.meta.LastLogIndex)
	}
	s.data = bytes.Buffer{}
	s.done = &wireChunkReply{Term: a.Term, Success: a.Success, Done: true}
	s.in.reply(h, *s.done, nil)
}
