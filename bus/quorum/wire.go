package quorum

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"github.com/vmihailenco/msgpack/v5"
)

// A message is the version byte, then two msgpack arrays: a wireHeader and the body that its kind names. The types here
// are this package's own, so that a new version of the raft library does not change what is on the wire.
const wireVersion = 1

// kind says what a message asks for. A reply carries the kind of its request.
type kind uint8

const (
	kindVote kind = 1 + iota
	kindPreVote
	kindAppend
	kindHeartbeat
	kindSnapshot
	kindTimeout
)

// replyToken is the last token of the subject that takes all replies.
const replyToken = "reply"

// requestKinds are the kinds that are subscribed to, each on a subject of its own: heartbeats do not queue behind
// entries, nor anything behind a snapshot.
var requestKinds = [...]kind{kindVote, kindPreVote, kindAppend, kindHeartbeat, kindSnapshot, kindTimeout}

// String is the token by which Options.Subject names the kind.
func (k kind) String() string {
	switch k {
	case kindVote:
		return "vote"
	case kindPreVote:
		return "prevote"
	case kindAppend:
		return "append"
	case kindHeartbeat:
		return "heartbeat"
	case kindSnapshot:
		return "snapshot"
	case kindTimeout:
		return "timeout"
	}
	return fmt.Sprintf("kind%d", uint8(k))
}

// wireHeader precedes every body. Its fields are in the order of the array; new ones go to the end.
type wireHeader struct {
	Kind     uint8
	Reply    bool
	Group    string // Options.Group of the sender
	From     string // the sender's ID, which is its raft address as well
	ID       uint64 // correlation: a reply repeats its request's
	Protocol uint8  // raft.ProtocolVersion
	Error    string // of a reply: why there is no body
}

// wireEntry is one entry of the log.
type wireEntry struct {
	Index    uint64
	Term     uint64
	Type     uint8
	Data     []byte
	Appended int64 // Unix nanoseconds, for information only
}

// wireAppend asks to append Entries after (PrevIndex, PrevTerm). Answered by wireAppendReply. Safe to repeat.
type wireAppend struct {
	Term      uint64
	PrevIndex uint64
	PrevTerm  uint64
	Commit    uint64
	Entries   wireEntries
}

// wireEntries are a list that takes memory as entries come. The library would make room for as many as the list says
// that it has, whatever follows.
type wireEntries []wireEntry

// DecodeMsgpack implements msgpack.CustomDecoder.
func (l *wireEntries) DecodeMsgpack(d *msgpack.Decoder) error {
	n, err := d.DecodeArrayLen()
	*l = nil
	for ; err == nil && n > 0; n-- {
		var e wireEntry
		if err = d.Decode(&e); err == nil {
			*l = append(*l, e)
		}
	}
	return err
}

// wireAppendReply answers wireAppend.
type wireAppendReply struct {
	Term           uint64
	LastLog        uint64
	Success        bool
	NoRetryBackoff bool
}

// wireVote asks for a vote or a pre-vote. Answered by wireVoteReply. Safe to repeat.
type wireVote struct {
	Term         uint64
	LastLogIndex uint64
	LastLogTerm  uint64
	Transfer     bool // the leader wants this change
}

// wireVoteReply answers wireVote.
type wireVoteReply struct {
	Term    uint64
	Granted bool
}

// wireChunk is a part of a snapshot. Part 0 carries no data but Meta; parts 1, 2, … carry the bytes in order, the last
// one is marked. Answered by wireChunkReply, the last one after the snapshot is installed. Safe to repeat.
type wireChunk struct {
	Transfer uint64
	Part     uint32
	Last     bool
	Meta     *wireSnapshot
	Data     []byte
}

// wireSnapshot says what a snapshot holds.
type wireSnapshot struct {
	Version            int
	Term               uint64
	LastLogIndex       uint64
	LastLogTerm        uint64
	Configuration      []byte
	ConfigurationIndex uint64
	Size               int64
}

// wireChunkReply answers wireChunk. Done: nothing more need be sent, and Term and Success are raft's answer.
type wireChunkReply struct {
	Term    uint64
	Success bool
	Done    bool
}

// wireTimeout asks the receiver to stand for election at once. It holds only for the term in which it was sent.
type wireTimeout struct {
	Term uint64
}

// wireTimeoutReply answers wireTimeout.
type wireTimeoutReply struct {
	Taken bool
}

var errWire = errors.New("malformed message")

// encode makes a message.
func encode(h wireHeader, body any) ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteByte(wireVersion)
	enc := msgpack.NewEncoder(&buf)
	enc.UseArrayEncodedStructs(true)
	enc.UseCompactInts(true)
	if err := enc.Encode(&h); err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	if body != nil {
		if err := enc.Encode(body); err != nil {
			return nil, fmt.Errorf("encode %s: %w", kind(h.Kind), err)
		}
	}
	return buf.Bytes(), nil
}

// decodeHeader reads the header of a message; the body is left in the returned reader.
func decodeHeader(data []byte) (h wireHeader, body *bytes.Reader, err error) {
	if len(data) == 0 || data[0] != wireVersion {
		return h, nil, fmt.Errorf("%w: version", errWire)
	}
	body = bytes.NewReader(data[1:])
	if err := msgpack.NewDecoder(body).Decode(&h); err != nil {
		return h, nil, fmt.Errorf("%w: header: %v", errWire, err)
	}
	return h, body, nil
}

// decodeBody reads the body that decodeHeader left, all of it.
func decodeBody(r *bytes.Reader, into any) error {
	if err := msgpack.NewDecoder(r).Decode(into); err != nil {
		return fmt.Errorf("%w: body: %v", errWire, err)
	}
	if r.Len() != 0 {
		return fmt.Errorf("%w: %d bytes after the body", errWire, r.Len())
	}
	return nil
}

// rpcHeader is what raft wants to know about a sender.
func (h wireHeader) rpcHeader() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(h.Protocol), ID: []byte(h.From), Addr: []byte(h.From)}
}

func appendToWire(a *raft.AppendEntriesRequest) wireAppend {
	w := wireAppend{Term: a.Term, PrevIndex: a.PrevLogEntry, PrevTerm: a.PrevLogTerm, Commit: a.LeaderCommitIndex}
	if len(a.Entries) > 0 {
		w.Entries = make(wireEntries, len(a.Entries))
	}
	for i, l := range a.Entries {
		w.Entries[i] = wireEntry{Index: l.Index, Term: l.Term, Type: uint8(l.Type), Data: l.Data, Appended: l.AppendedAt.UnixNano()}
	}
	return w
}

// request turns the message into raft's, after checking all that raft takes on trust.
//
// The commit index is cut to the last entry that came with the message or was checked by it: what the receiver has beyond
// may be an old leader's, and raft itself cuts only to the end of its own log.
func (w *wireAppend) request(h wireHeader) (*raft.AppendEntriesRequest, error) {
	req := &raft.AppendEntriesRequest{
		RPCHeader: h.rpcHeader(),
		Term:      w.Term, PrevLogEntry: w.PrevIndex, PrevLogTerm: w.PrevTerm,
		LeaderCommitIndex: min(w.Commit, w.PrevIndex+uint64(len(w.Entries))),
	}
	term := w.PrevTerm
	for i, e := range w.Entries {
		if e.Index != w.PrevIndex+1+uint64(i) || e.Term < term || e.Term > w.Term {
			return nil, fmt.Errorf("%w: entry %d of term %d after entry %d of term %d", errWire, e.Index, e.Term, w.PrevIndex+uint64(i), term)
		}
		term = e.Term
		switch raft.LogType(e.Type) {
		case raft.LogCommand, raft.LogNoop, raft.LogBarrier:
		case raft.LogConfiguration:
			if _, err := decodeConfiguration(e.Data); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%w: entry %d of type %d", errWire, e.Index, e.Type)
		}
		req.Entries = append(req.Entries, &raft.Log{
			Index: e.Index, Term: e.Term, Type: raft.LogType(e.Type), Data: e.Data, AppendedAt: time.Unix(0, e.Appended),
		})
	}
	return req, nil
}

// decodeConfiguration is raft.DecodeConfiguration with an error for its panic.
func decodeConfiguration(data []byte) (c raft.Configuration, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: configuration: %v", errWire, p)
		}
	}()
	return raft.DecodeConfiguration(data), nil
}
