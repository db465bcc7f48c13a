package quorum

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// maxInbound bounds the requests of others that raft has not answered yet. More are dropped, as the bus may do.
const maxInbound = 128

// view is what the transport asks raft about itself.
type view interface {
	CurrentTerm() uint64
	State() raft.RaftState
	LeaderWithID() (raft.ServerAddress, raft.ServerID)
}

// inbound takes the requests of others to raft and raft's answers back.
type inbound struct {
	t         *transport
	queue     chan raft.RPC
	slots     chan struct{}  // one per request in raft's hands
	answering sync.WaitGroup // the goroutines that wait for raft
	snaps     *installs

	node  atomic.Pointer[view]
	beat  atomic.Pointer[func(raft.RPC)]
	known atomic.Pointer[func(*raft.AppendEntriesRequest)]
	mu    sync.Mutex // guards ended against answering.Add
	ended bool
	asked wireHeader // the wish to stand for election that was taken last; its subject's goroutine alone uses it
}

func newInbound(t *transport) *inbound {
	in := &inbound{t: t, queue: make(chan raft.RPC, maxInbound), slots: make(chan struct{}, maxInbound)}
	in.snaps = newInstalls(in)
	return in
}

func (in *inbound) setHeartbeat(cb func(raft.RPC)) { in.beat.Store(&cb) }

// setView is called when there is a raft to ask, before the first message.
func (in *inbound) setView(v view) { in.node.Store(&v) }

func (in *inbound) raft() view {
	if v := in.node.Load(); v != nil {
		return *v
	}
	return nil
}

// term is raft's current term, or 0 before there is a raft.
func (in *inbound) term() uint64 {
	if v := in.raft(); v != nil {
		return v.CurrentTerm()
	}
	return 0
}

// close waits for the goroutines that wait for raft's answers. The transport is closed already.
func (in *inbound) close() {
	in.mu.Lock()
	in.ended = true
	in.mu.Unlock()
	in.answering.Wait()
	in.snaps.close()
}

// request takes one message of a subject of ours.
func (in *inbound) request(k kind, data []byte) {
	h, body, err := decodeHeader(data)
	if err != nil || h.Reply || kind(h.Kind) != k || h.Group != in.t.group || h.From == "" || h.From == in.t.self {
		in.t.refuse(k.String(), h.From, err)
		return
	}
	in.t.count.received.Add(1)
	if err := in.dispatch(k, h, body); err != nil {
		in.t.refuse(k.String(), h.From, err)
	}
}

// dispatch decodes a request and passes it on; an error means that it was malformed.
func (in *inbound) dispatch(k kind, h wireHeader, body *bytes.Reader) error {
	switch k {
	case kindAppend, kindHeartbeat:
		var w wireAppend
		if err := decodeBody(body, &w); err != nil {
			return err
		}
		req, err := w.request(h)
		if err != nil {
			return err
		}
		if isHeartbeat(req) && in.heartbeat(h, req) {
			return nil
		}
		if known := in.known.Load(); known != nil {
			(*known)(req)
		}
		in.ask(h, req, nil)
	case kindVote, kindPreVote:
		var w wireVote
		if err := decodeBody(body, &w); err != nil {
			return err
		}
		if k == kindPreVote {
			in.ask(h, &raft.RequestPreVoteRequest{
				RPCHeader: h.rpcHeader(), Term: w.Term, LastLogIndex: w.LastLogIndex, LastLogTerm: w.LastLogTerm,
			}, nil)
			return nil
		}
		in.ask(h, &raft.RequestVoteRequest{
			RPCHeader: h.rpcHeader(), Term: w.Term,
			LastLogIndex: w.LastLogIndex, LastLogTerm: w.LastLogTerm, LeadershipTransfer: w.Transfer,
		}, nil)
	case kindSnapshot:
		var w wireChunk
		if err := decodeBody(body, &w); err != nil {
			return err
		}
		return in.snaps.chunk(h, &w)
	case kindTimeout:
		var w wireTimeout
		if err := decodeBody(body, &w); err != nil {
			return err
		}
		in.timeoutNow(h, w)
	}
	return nil
}

// heartbeat hands a heartbeat to raft at once, beside its main loop, which may be waiting for the disk. Raft would also
// raise its term and give up a candidacy in doing so, and that unguarded: it could take back a term that the main loop
// has just voted in. So only a heartbeat from the leader that is followed already goes this way.
func (in *inbound) heartbeat(h wireHeader, req *raft.AppendEntriesRequest) bool {
	v, beat := in.raft(), in.beat.Load()
	if v == nil || beat == nil || v.State() != raft.Follower || v.CurrentTerm() != req.Term {
		return false
	}
	if _, leader := v.LeaderWithID(); string(leader) != h.From {
		return false
	}
	answer := make(chan raft.RPCResponse, 1)
	(*beat)(raft.RPC{Command: req, RespChan: answer})
	select {
	case r := <-answer:
		in.answer(h, r)
	default: // raft is shutting down
	}
	return true
}

// timeoutNow passes on the leader's wish that this voter stand for election, if it still is the leader: others vote for
// such a candidate although they hear from a leader. A wish that comes twice has been answered: a refusal of its repeat
// could overtake that answer and call a transfer that succeeds a failure.
func (in *inbound) timeoutNow(h wireHeader, w wireTimeout) {
	v := in.raft()
	if v == nil {
		return
	}
	if h.From == in.asked.From && h.ID == in.asked.ID {
		return
	}
	_, leader := v.LeaderWithID()
	if v.CurrentTerm() != w.Term || string(leader) != h.From || v.State() != raft.Follower {
		in.reply(h, wireTimeoutReply{}, nil)
		return
	}
	if in.ask(h, &raft.TimeoutNowRequest{RPCHeader: h.rpcHeader()}, nil) {
		in.asked = h
	}
}

// ask queues a request for raft. The answer goes to then, or to the sender if that is nil. It says whether there was room.
func (in *inbound) ask(h wireHeader, command any, then func(raft.RPCResponse)) bool {
	return in.askFrom(h, raft.RPC{Command: command}, then)
}

func (in *inbound) askFrom(h wireHeader, rpc raft.RPC, then func(raft.RPCResponse)) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended {
		return false
	}
	select {
	case in.slots <- struct{}{}:
	default:
		in.t.count.dropped.Add(1)
		return false
	}
	answer := make(chan raft.RPCResponse, 1)
	rpc.RespChan = answer
	in.queue <- rpc // as many slots as places
	in.answering.Add(1)
	go func() {
		defer in.answering.Done()
		defer func() { <-in.slots }()
		select {
		case r := <-answer:
			if then == nil {
				then = func(r raft.RPCResponse) { in.answer(h, r) }
			}
			then(r)
		case <-in.t.closed:
		}
	}()
	return true
}

// answer sends raft's answer to whom it may concern.
func (in *inbound) answer(h wireHeader, r raft.RPCResponse) {
	if r.Error != nil {
		in.reply(h, nil, r.Error)
		return
	}
	switch a := r.Response.(type) {
	case *raft.AppendEntriesResponse:
		in.reply(h, wireAppendReply{Term: a.Term, LastLog: a.LastLog, Success: a.Success, NoRetryBackoff: a.NoRetryBackoff}, nil)
	case *raft.RequestVoteResponse:
		in.reply(h, wireVoteReply{Term: a.Term, Granted: a.Granted}, nil)
	case *raft.RequestPreVoteResponse:
		in.reply(h, wireVoteReply{Term: a.Term, Granted: a.Granted}, nil)
	case *raft.TimeoutNowResponse:
		in.reply(h, wireTimeoutReply{Taken: true}, nil)
	default:
		in.reply(h, nil, errors.New("no such answer"))
	}
}

// reply sends an answer. If it is lost, the other side asks again.
func (in *inbound) reply(to wireHeader, body any, failure error) {
	h := wireHeader{
		Kind: to.Kind, Reply: true, Group: in.t.group, From: in.t.self, ID: to.ID, Protocol: uint8(raft.ProtocolVersionMax),
	}
	if failure != nil {
		h.Error, body = failure.Error(), nil
	}
	msg, err := encode(h, body)
	if err == nil {
		err = in.t.send(in.t.subject(to.From, replyToken), msg)
	}
	if err != nil {
		if skipped, ok := in.t.said.may("reply "+to.From, time.Now()); ok {
			in.t.log.Debug("answer not sent", "to", to.From, "error", err, "repeated", skipped)
		}
	}
}
