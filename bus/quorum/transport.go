package quorum

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Conn is the bus as this package uses it: a lossy pipe with subjects. Handlers of one subscription are called one after
// another; data may be kept by the handler.
type Conn interface {
	Publish(subject string, data []byte) error
	Subscribe(subject string, h func(subject string, data []byte)) (unsubscribe func(), err error)
}

// maxMessage bounds the entries in one message, in bytes of their data, unless a single entry is larger.
const maxMessage = 240 << 10

// maxPending bounds the requests of ours that wait for an answer. Raft has two or three per peer.
const maxPending = 1024

var (
	errNoAnswer = errors.New("no answer")
	errSilent   = errors.New("this voter is silent, since its log could not be written")
	errStopped  = errors.New("transport is closed")
)

// Counters are what a Quorum has seen of the bus since Open.
type Counters struct {
	Sent       uint64 // requests sent
	Unanswered uint64 // of those, how many got no answer in time
	Late       uint64 // answers to nothing that waits, which are ignored
	Received   uint64 // requests received
	Refused    uint64 // messages that were malformed, of another group or version
	Dropped    uint64 // requests received while too many waited
}

type counters struct {
	sent, unanswered, late, received, refused, dropped atomic.Uint64
}

// transport is raft.Transport over a Conn. There is no pipelining: the bus promises no order, so a pipeline would be torn
// down at every exchange of two messages, and what waits for an answer goes as one batch anyway.
type transport struct {
	self    string
	group   string
	conn    Conn
	subject func(node, rpc string) string
	wait    time.Duration // for an answer
	log     *slog.Logger
	said    *said
	in      *inbound

	silent atomic.Bool   // nothing is sent any more
	next   atomic.Uint64 // the last correlation number
	closed chan struct{}
	once   sync.Once
	count  counters

	mu      sync.Mutex
	unsub   []func()
	pending map[uint64]*call
	matched map[string]uint64 // per peer the last entry that it is known to share
}

// call is a request that waits.
type call struct {
	kind  kind
	peer  string
	reply chan reply // buffered; filled at most once
}

type reply struct {
	head wireHeader
	body *bytes.Reader
}

func newTransport(o *Options) (*transport, error) {
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("seed correlation numbers: %w", err)
	}
	t := &transport{
		self: o.ID, group: o.Group, conn: o.Conn, subject: o.Subject, wait: o.Heartbeat, log: o.Log,
		said:    newSaid(),
		closed:  make(chan struct{}),
		pending: make(map[uint64]*call),
		matched: make(map[string]uint64),
	}
	t.next.Store(binary.BigEndian.Uint64(seed[:]))
	t.in = newInbound(t)
	return t, nil
}

// start subscribes. It is called when raft listens.
func (t *transport) start() error {
	subscribe := func(token string, h func(subject string, data []byte)) error {
		subject := t.subject(t.self, token)
		unsub, err := t.conn.Subscribe(subject, h)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		t.mu.Lock()
		t.unsub = append(t.unsub, unsub)
		t.mu.Unlock()
		return nil
	}
	if err := subscribe(replyToken, t.answered); err != nil {
		return err
	}
	for _, k := range requestKinds {
		if err := subscribe(k.String(), func(_ string, data []byte) { t.in.request(k, data) }); err != nil {
			return err
		}
	}
	return nil
}

// Close implements raft.WithClose: pending requests fail, nothing is received any more. It may be called twice.
func (t *transport) Close() error {
	t.once.Do(func() {
		close(t.closed)
		t.mu.Lock()
		unsub := t.unsub
		t.unsub = nil
		t.mu.Unlock()
		for _, f := range unsub {
			f()
		}
	})
	t.in.close()
	return nil
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.in.queue }

// LocalAddr implements raft.Transport: an address is an ID.
func (t *transport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(t.self) }

// EncodePeer implements raft.Transport.
func (t *transport) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }

// DecodePeer implements raft.Transport.
func (t *transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler implements raft.Transport.
func (t *transport) SetHeartbeatHandler(cb func(raft.RPC)) { t.in.setHeartbeat(cb) }

// AppendEntriesPipeline implements raft.Transport.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries implements raft.Transport. What does not fit into one message goes as several, each a valid request of its
// own, so that an answer to the last is one to all.
func (t *transport) AppendEntries(_ raft.ServerID, to raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(args) {
		// Raft sends the next heartbeat only after the answer to this one, so a lost one must not cost the time-out.
		return t.appendPart(to, kindHeartbeat, args, resp, t.wait/2, 4)
	}
	part := *args
	rest := args.Entries
	for {
		n := fitting(rest)
		part.Entries = rest[:n]
		if err := t.appendPart(to, kindAppend, &part, resp, t.wait, 3); err != nil {
			return err
		}
		if rest = rest[n:]; len(rest) == 0 || !resp.Success || resp.Term > args.Term {
			return nil
		}
		last := part.Entries[n-1]
		part.PrevLogEntry, part.PrevLogTerm = last.Index, last.Term
	}
}

// isHeartbeat tells a request that only says that the leader lives.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// fitting says how many of the entries go into one message: at least one, if there are any.
func fitting(entries []*raft.Log) int {
	size := 0
	for i, l := range entries {
		if size += len(l.Data) + 64; size > maxMessage && i > 0 {
			return i
		}
	}
	return len(entries)
}

func (t *transport) appendPart(to raft.ServerAddress, k kind, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse, wait time.Duration, times int) error {
	var w wireAppendReply
	h, err := t.call(string(to), k, appendToWire(args), &w, wait, times)
	if err != nil {
		return err
	}
	*resp = raft.AppendEntriesResponse{
		RPCHeader: h.rpcHeader(), Term: w.Term, LastLog: w.LastLog, Success: w.Success, NoRetryBackoff: w.NoRetryBackoff,
	}
	if k == kindAppend && w.Success {
		t.match(string(to), args.PrevLogEntry+uint64(len(args.Entries)))
	}
	return nil
}

// RequestVote implements raft.Transport.
func (t *transport) RequestVote(_ raft.ServerID, to raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	var w wireVoteReply
	h, err := t.call(string(to), kindVote, wireVote{
		Term: args.Term, LastLogIndex: args.LastLogIndex, LastLogTerm: args.LastLogTerm, Transfer: args.LeadershipTransfer,
	}, &w, 2*t.wait, 2)
	if err != nil {
		return err
	}
	*resp = raft.RequestVoteResponse{RPCHeader: h.rpcHeader(), Term: w.Term, Granted: w.Granted}
	return nil
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(_ raft.ServerID, to raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	var w wireVoteReply
	h, err := t.call(string(to), kindPreVote, wireVote{
		Term: args.Term, LastLogIndex: args.LastLogIndex, LastLogTerm: args.LastLogTerm,
	}, &w, t.wait, 2)
	if err != nil {
		return err
	}
	*resp = raft.RequestPreVoteResponse{RPCHeader: h.rpcHeader(), Term: w.Term, Granted: w.Granted}
	return nil
}

// TimeoutNow implements raft.Transport.
func (t *transport) TimeoutNow(_ raft.ServerID, to raft.ServerAddress, _ *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	var w wireTimeoutReply
	h, err := t.call(string(to), kindTimeout, wireTimeout{Term: t.in.term()}, &w, t.wait, 1)
	if err != nil {
		return err
	}
	if !w.Taken {
		return errors.New("refused: another term or leader")
	}
	*resp = raft.TimeoutNowResponse{RPCHeader: h.rpcHeader()}
	return nil
}

// InstallSnapshot implements raft.Transport.
func (t *transport) InstallSnapshot(_ raft.ServerID, to raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.sendSnapshot(string(to), args, resp, data)
}

// match notes that a peer shares the log up to index.
func (t *transport) match(peer string, index uint64) {
	t.mu.Lock()
	t.matched[peer] = index
	t.mu.Unlock()
}

// matchedBy says up to where a peer is known to share the log; forget starts anew.
func (t *transport) matchedBy(peer string, forget bool) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if forget {
		delete(t.matched, peer)
	}
	return t.matched[peer]
}

// call sends a request and waits for its answer. The message is sent up to times times, evenly over the wait: all requests
// are safe to repeat.
func (t *transport) call(peer string, k kind, body, answer any, wait time.Duration, times int) (wireHeader, error) {
	c := &call{kind: k, peer: peer, reply: make(chan reply, 1)}
	id := t.next.Add(1)
	msg, err := encode(wireHeader{
		Kind: uint8(k), Group: t.group, From: t.self, ID: id, Protocol: uint8(raft.ProtocolVersionMax),
	}, body)
	if err != nil {
		return wireHeader{}, err
	}
	if err := t.register(id, c); err != nil {
		return wireHeader{}, err
	}
	defer t.forget(id)

	subject := t.subject(peer, k.String())
	timer := time.NewTicker(wait / time.Duration(times))
	defer timer.Stop()
	for try := 0; try < times; try++ {
		t.count.sent.Add(1)
		if err := t.send(subject, msg); err != nil {
			return wireHeader{}, fmt.Errorf("send to %s: %w", subject, err)
		}
		select {
		case r := <-c.reply:
			return r.head, r.into(answer)
		case <-timer.C:
		case <-t.closed:
			return wireHeader{}, errStopped
		}
	}
	t.count.unanswered.Add(1)
	return wireHeader{}, fmt.Errorf("%w from %s within %v", errNoAnswer, subject, wait)
}

// send publishes, unless this voter was silenced.
func (t *transport) send(subject string, msg []byte) error {
	if t.silent.Load() {
		return errSilent
	}
	return t.conn.Publish(subject, msg)
}

// into decodes the answer, or gives the error that came in its place.
func (r reply) into(answer any) error {
	if r.head.Error != "" {
		return errors.New(r.head.Error)
	}
	return decodeBody(r.body, answer)
}

func (t *transport) register(id uint64, c *call) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) >= maxPending {
		return fmt.Errorf("%d requests wait for an answer already", maxPending)
	}
	t.pending[id] = c
	return nil
}

func (t *transport) forget(id uint64) {
	t.mu.Lock()
	delete(t.pending, id)
	t.mu.Unlock()
}

// answered takes a reply. It counts for the one request that it answers, once.
func (t *transport) answered(subject string, data []byte) {
	h, body, err := decodeHeader(data)
	if err != nil || !h.Reply || h.Group != t.group {
		t.refuse(subject, h.From, err)
		return
	}
	t.mu.Lock()
	c := t.pending[h.ID]
	if c != nil && (c.peer != h.From || c.kind != kind(h.Kind)) {
		c = nil
	}
	if c != nil {
		delete(t.pending, h.ID)
	}
	t.mu.Unlock()
	if c == nil {
		t.count.late.Add(1)
		return
	}
	c.reply <- reply{head: h, body: body}
}

// refuse counts a message that is none of ours, and says so now and then.
func (t *transport) refuse(subject, from string, err error) {
	t.count.refused.Add(1)
	if err == nil {
		err = errors.New("of another group, or misdirected")
	}
	if skipped, ok := t.said.may("refuse "+subject, time.Now()); ok {
		t.log.Warn("message refused", "subject", subject, "from", from, "error", err, "repeated", skipped)
	}
}
