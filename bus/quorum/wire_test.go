package quorum

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"github.com/vmihailenco/msgpack/v5"
)

func entry(index, term uint64, typ raft.LogType, data string) wireEntry {
	return wireEntry{Index: index, Term: term, Type: uint8(typ), Data: []byte(data), Appended: 12345}
}

var aHeader = wireHeader{Kind: uint8(kindAppend), Group: "g", From: "a", ID: math.MaxUint64, Protocol: 3}

func TestAppendRoundTrip(t *testing.T) {
	conf := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}}})
	want := &raft.AppendEntriesRequest{
		RPCHeader: aHeader.rpcHeader(), Term: 7, PrevLogEntry: 4, PrevLogTerm: 2, LeaderCommitIndex: 5,
		Entries: []*raft.Log{
			{Index: 5, Term: 3, Type: raft.LogNoop, AppendedAt: time.Unix(5, 6)},
			{Index: 6, Term: 7, Type: raft.LogCommand, Data: []byte("x"), AppendedAt: time.Unix(5, 6)},
			{Index: 7, Term: 7, Type: raft.LogConfiguration, Data: conf, AppendedAt: time.Unix(5, 6)},
		},
	}
	msg, err := encode(aHeader, appendToWire(want))
	if err != nil {
		t.Fatal(err)
	}
	h, body, err := decodeHeader(msg)
	if err != nil {
		t.Fatal(err)
	}
	if h != aHeader {
		t.Errorf("header %+v, want %+v", h, aHeader)
	}
	var w wireAppend
	if err := decodeBody(body, &w); err != nil {
		t.Fatal(err)
	}
	got, err := w.request(h)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// It is msgpack for everybody.
	dec := msgpack.NewDecoder(bytes.NewReader(msg[1:]))
	for range 2 {
		v, err := dec.DecodeInterface()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := v.([]any); !ok {
			t.Errorf("%T, want an array", v)
		}
	}
}

func TestAppendRequestChecks(t *testing.T) {
	tests := []struct {
		name   string
		give   wireAppend
		commit uint64
		ok     bool
	}{
		{"heartbeat", wireAppend{Term: 3}, 0, true},
		{"heartbeat with a commit index", wireAppend{Term: 3, Commit: 9}, 0, true},
		{"commit within", wireAppend{Term: 3, PrevIndex: 4, PrevTerm: 1, Commit: 4, Entries: []wireEntry{entry(5, 2, 0, "")}}, 4, true},
		{"commit beyond what came", wireAppend{Term: 3, PrevIndex: 4, PrevTerm: 1, Commit: 9, Entries: []wireEntry{entry(5, 2, 0, "")}}, 5, true},
		{"commit beyond what was checked", wireAppend{Term: 3, PrevIndex: 4, PrevTerm: 1, Commit: 9}, 4, true},
		{"gap", wireAppend{Term: 3, PrevIndex: 4, PrevTerm: 1, Entries: []wireEntry{entry(6, 2, 0, "")}}, 0, false},
		{"twice", wireAppend{Term: 3, Entries: []wireEntry{entry(1, 2, 0, ""), entry(1, 2, 0, "")}}, 0, false},
		{"term falls", wireAppend{Term: 3, PrevIndex: 4, PrevTerm: 3, Entries: []wireEntry{entry(5, 2, 0, "")}}, 0, false},
		{"term to come", wireAppend{Term: 3, Entries: []wireEntry{entry(1, 4, 0, "")}}, 0, false},
		{"unknown type", wireAppend{Term: 3, Entries: []wireEntry{entry(1, 1, 77, "")}}, 0, false},
		{"old type", wireAppend{Term: 3, Entries: []wireEntry{entry(1, 1, raft.LogAddPeerDeprecated, "")}}, 0, false},
		{"rubbish configuration", wireAppend{Term: 3, Entries: []wireEntry{entry(1, 1, raft.LogConfiguration, "\xff")}}, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.give.request(aHeader)
			if (err == nil) != tt.ok {
				t.Fatalf("error %v", err)
			}
			if err == nil && got.LeaderCommitIndex != tt.commit {
				t.Errorf("commit index %d, want %d", got.LeaderCommitIndex, tt.commit)
			}
		})
	}
}

func TestFitting(t *testing.T) {
	logs := func(sizes ...int) (l []*raft.Log) {
		for _, n := range sizes {
			l = append(l, &raft.Log{Data: make([]byte, n)})
		}
		return l
	}
	tests := []struct {
		give []*raft.Log
		want int
	}{
		{nil, 0},
		{logs(1), 1},
		{logs(1, 2, 3), 3},
		{logs(MaxCommand), 1},
		{logs(MaxCommand, 1), 1},
		{logs(1, MaxCommand), 1},
		{logs(maxMessage/2, maxMessage/4, maxMessage/2), 2},
	}
	for i, tt := range tests {
		if got := fitting(tt.give); got != tt.want {
			t.Errorf("%d: %d, want %d", i, got, tt.want)
		}
	}
}

// FuzzMessages has a voter take any message on any subject of its own: it must refuse or answer, and live.
func FuzzMessages(f *testing.F) {
	conf := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "v1", Address: "v1"}}})
	for k, body := range map[kind]any{
		kindAppend:    wireAppend{Term: 2, PrevIndex: 1, PrevTerm: 1, Commit: 2, Entries: []wireEntry{entry(2, 2, 0, "x")}},
		kindHeartbeat: wireAppend{Term: 2},
		kindVote:      wireVote{Term: 3, LastLogIndex: 9, LastLogTerm: 3, Transfer: true},
		kindPreVote:   wireVote{Term: 3, LastLogIndex: 9, LastLogTerm: 3},
		kindSnapshot:  &wireChunk{Transfer: 1, Meta: &wireSnapshot{Version: 1, Term: 9, LastLogIndex: 99, LastLogTerm: 9, Configuration: conf}},
		kindTimeout:   wireTimeout{Term: 1},
	} {
		msg, err := encode(wireHeader{Kind: uint8(k), Group: "test", From: "v2", ID: 1, Protocol: 3}, body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(k), msg)
	}
	f.Add(uint8(0), []byte{wireVersion})
	g := newGroup(f, 1)
	q := g.start("v1", "v1")
	f.Fuzz(func(t *testing.T, k uint8, msg []byte) {
		if k := kind(k); k >= kindVote && k <= kindTimeout {
			q.trans.in.request(k, msg)
		} else {
			q.trans.answered("reply", msg)
		}
	})
}
