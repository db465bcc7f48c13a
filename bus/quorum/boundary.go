package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// Where a voter gets a snapshot from another its log begins anew, behind the snapshot's last entry. Raft itself would keep
// what is in the log before it, which may never have been committed: a leader that was cut off has such entries, and would
// send them as the truth when it leads again. And it looks for the snapshot's last entry in the log alone, once something
// follows there: a leader that missed an answer would be refused for ever.

// boundary is the last entry of a snapshot that came from another voter. Nothing before it is in the log, nor it itself.
type boundary struct{ index, term uint64 }

// boundaryKey is where the boundary stands among the durable values.
var boundaryKey = []byte("Boundary")

// begin cuts all from the log that a snapshot holds, which is in the machine and on disk. logs are how raft sees the store.
func (s *store) begin(logs raft.LogStore, b boundary) error {
	val := binary.BigEndian.AppendUint64(nil, b.index)
	if err := s.Set(boundaryKey, binary.BigEndian.AppendUint64(val, b.term)); err != nil {
		return err
	}
	s.begun.Store(&b)
	return logs.DeleteRange(0, b.index)
}

// known takes the entry before those of a request as checked, where it is the one at the boundary: it was committed, and
// the machine has it. Raft has nothing of it, or at worst another one in its memory, and would refuse what follows for ever.
func (s *store) known(req *raft.AppendEntriesRequest) {
	if b := s.begun.Load(); b != nil && *b == (boundary{req.PrevLogEntry, req.PrevLogTerm}) {
		req.PrevLogEntry, req.PrevLogTerm = 0, 0 // as for the first entry
	}
}

// resume finds where the log begins when a voter starts. restored is the last entry of the snapshot in the machine, zero
// for none. A crash may have come between a snapshot and the cut, and versions before this one did not cut.
func (s *store) resume(logs raft.LogStore, restored boundary) error {
	var b boundary
	val, err := s.value(boundaryKey)
	switch {
	case errors.Is(err, raftboltdb.ErrKeyNotFound):
	case err != nil:
		return err
	default:
		plain, ok := unsealed(boundaryKey, val)
		if !ok || len(plain) != 16 {
			return s.damage("read where the log begins", "its checksum is another")
		}
		b = boundary{binary.BigEndian.Uint64(plain), binary.BigEndian.Uint64(plain[8:])}
	}
	if b.index > restored.index {
		// What was cut since, this voter may have promised to keep.
		return s.damage("begin with an older snapshot", fmt.Sprintf("that up to entry %d cannot be read", b.index))
	}
	low := s.unbroken(restored, b)
	if low > restored.index && b != restored {
		return s.begin(logs, restored)
	}
	if b.index > 0 {
		s.begun.Store(&b)
	}
	if first, err := s.FirstIndex(); err != nil || first == 0 || first >= low {
		return err
	}
	return logs.DeleteRange(0, low-1)
}

// unbroken returns the first of the entries that follow each other up to the last one of a snapshot, of which the log has
// the same; if it has not, the index behind it. One that is damaged is as good as none: the snapshot has what it did.
func (s *store) unbroken(restored, b boundary) (low uint64) {
	var l raft.Log
	for low = restored.index + 1; low-1 > b.index; low-- {
		if err := s.GetLog(low-1, &l); err != nil || low > restored.index && l.Term != restored.term {
			break
		}
	}
	return low
}
