package subjects_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// fuzz feeds a decoder with anything: it must not panic, and what it takes it
// must write in a form that it takes again, with the same meaning.
func fuzz(f *testing.F, sample message) {
	f.Add(sample.Append(nil))
	f.Add(empty(sample).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		subjects.KindOf(b)
		subjects.PartitionOf(b)
		m := empty(sample)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := m.Decode(b)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > mostTaken(b) {
			t.Fatalf("%d bytes take %d", len(b), took)
		}
		if err != nil {
			return
		}
		once := m.Append(nil)
		again := empty(sample)
		if err := again.Decode(once); err != nil {
			t.Fatalf("%x was taken, but not what became of it, %x: %v", b, once, err)
		}
		if twice := again.Append(nil); !bytes.Equal(once, twice) {
			t.Fatalf("%x is not stable: %x", once, twice)
		}
	})
}

// mostTaken is how many bytes a decoder may allocate for a message, in which a few
// bytes may stand for an entry's struct, but no count for what does not come.
func mostTaken(b []byte) uint64 { return 64*uint64(len(b)) + 64<<10 }

var (
	head = subjects.Header{Partition: 7, Epoch: 3, From: ring.Process{Store: 1 << 60, Boot: 1 << 61}, Commit: 9}
	line = subjects.Outline{{}, {Epoch: 1, Seq: 4}, {Epoch: 3, Seq: 9}}
)

func sampleEntry() *subjects.Entry {
	e := &subjects.Entry{
		Partition: 7, Version: subjects.Version{Epoch: 3, Seq: 10}, Prev: subjects.Version{Epoch: 3, Seq: 9},
		Op: subjects.OpID{Boot: 5, N: 6, Lowest: 2}, Kind: subjects.EntryPut, Key: []byte("k"), Value: []byte("v"),
		Expiry: -1, Clock: 1 << 40, Answer: subjects.StatusOK,
	}
	e.Encode(nil)
	return e
}

func FuzzEntry(f *testing.F) {
	f.Add(sampleEntry().Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		var e subjects.Entry
		rest, err := e.Decode(b)
		if err != nil {
			return
		}
		if len(e.Raw)+len(rest) != len(b) || !bytes.Equal(e.Raw, b[:len(e.Raw)]) {
			t.Fatal("Raw is not the front of what was given")
		}
		// The same fields may be written in more than one way; ours is stable.
		once := e.Encode(nil)
		var again subjects.Entry
		if _, err := again.Decode(once); err != nil || !bytes.Equal(again.Encode(nil), once) {
			t.Fatalf("%x became %x: %v", b, once, err)
		}
	})
}

func FuzzPrepare(f *testing.F) {
	fuzz(f, &subjects.Prepare{Header: head, Prev: line.Tail(), Entries: []*subjects.Entry{sampleEntry(), sampleEntry()}})
}

func FuzzPrepareReply(f *testing.F) {
	fuzz(f, &subjects.PrepareReply{Header: head, Answer: subjects.AnswerGap, Tail: line.Tail()})
}

func FuzzEpochStart(f *testing.F) {
	fuzz(f, &subjects.EpochStart{Header: head, Outline: line, ISR: []ring.NodeID{1, 2}, Learners: []ring.NodeID{3}, Restart: true, Base: line.Tail()})
}

func FuzzEpochReply(f *testing.F) {
	fuzz(f, &subjects.EpochReply{Header: head, Answer: subjects.AnswerOK, Outline: line, Incomplete: true, Cursor: []byte("k")})
}

func FuzzRange(f *testing.F) {
	fuzz(f, &subjects.Range{Header: head, From: []byte("a"), To: []byte("b"), Through: 8, Records: []subjects.Record{{Key: []byte("a"), Value: []byte("v"), Version: line.Tail()}}})
}

func FuzzRangeReply(f *testing.F) {
	fuzz(f, &subjects.RangeReply{Header: head, Answer: subjects.AnswerOK, Cursor: []byte("b")})
}

func FuzzLease(f *testing.F) {
	fuzz(f, &subjects.Lease{From: head.From, Sent: 1 << 50, Epochs: []subjects.PartitionEpoch{{Partition: 1, Epoch: 2}}})
}

func FuzzLeaseReply(f *testing.F) {
	fuzz(f, &subjects.LeaseReply{From: head.From, Sent: -1, Epochs: []subjects.PartitionEpoch{{Partition: 1, Epoch: 2}}})
}

func FuzzSessions(f *testing.F) {
	var s subjects.Sessions
	for i := range uint64(3) {
		e := sampleEntry()
		e.Op = subjects.OpID{Boot: ring.BootID(5 + i%2), N: 6 + i, Lowest: 2}
		s.Fold(e)
	}
	fuzz(f, &s)
}

func FuzzRead(f *testing.F) {
	fuzz(f, &subjects.Read{Partition: 1, Epoch: 2, Key: []byte("k")})
}

func FuzzWrite(f *testing.F) {
	fuzz(f, &subjects.Write{Partition: 1, Epoch: 2, Verb: subjects.VerbIncr, Key: []byte("k"), Exptime: -5, Delta: 1 << 63, Options: subjects.OptionVivify})
}

func FuzzReply(f *testing.F) {
	fuzz(f, &subjects.Reply{Status: subjects.StatusOK, Value: []byte("v"), Flags: 1, Cas: 1 << 40, Epoch: 2})
}

func FuzzPieceRequest(f *testing.F) {
	fuzz(f, &subjects.PieceRequest{Snapshot: []byte("s"), From: []byte("a"), To: []byte("b"), Pass: true})
}

func FuzzPiece(f *testing.F) {
	fuzz(f, &subjects.Piece{Code: []byte("busy"), Message: []byte("m"), Records: []byte("r"), Next: []byte("k")})
}
