package quorum

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Machine is what the log drives. Its methods are called one at a time: Restore by Open, before it returns, and after
// that all of them by one goroutine.
type Machine interface {
	// Apply performs a command that is committed, and must do the same on every voter. The result goes to who proposed
	// it, if that was here. The index grows from call to call, with gaps. The command is the machine's to keep.
	Apply(index uint64, command []byte) any
	// Snapshot gives the whole state, at most MaxSnapshot bytes. It holds up Apply.
	Snapshot() ([]byte, error)
	// Restore replaces the whole state. An error must leave the machine as it was.
	Restore(snapshot []byte) error
}

// fsm shows a Machine to raft.
type fsm struct {
	machine     Machine
	applied     atomic.Uint64
	snapshotted func() // a snapshot was taken
	restored    func() // a snapshot is in the machine, and on disk
	restoreErr  error  // of Open's goroutine: raft does not pass it on
}

// reached notes that a snapshot up to index is in the machine.
func (f *fsm) reached(index uint64) {
	for {
		now := f.applied.Load()
		if now >= index || f.applied.CompareAndSwap(now, index) {
			return
		}
	}
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	result := f.machine.Apply(l.Index, l.Data)
	f.applied.Store(l.Index)
	return result
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	data, err := f.machine.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("snapshot of the machine: %w", err)
	}
	if len(data) > MaxSnapshot {
		return nil, fmt.Errorf("snapshot of the machine is %d bytes, more than %d", len(data), MaxSnapshot)
	}
	return &snapshot{data: data, taken: f.snapshotted}, nil
}

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	data, err := io.ReadAll(io.LimitReader(r, MaxSnapshot+1))
	if err == nil && len(data) > MaxSnapshot {
		err = fmt.Errorf("snapshot is larger than %d bytes", MaxSnapshot)
	}
	if err == nil {
		err = f.machine.Restore(data)
	}
	if err != nil {
		f.restoreErr = err
		return fmt.Errorf("restore the machine: %w", err)
	}
	f.restored()
	return nil
}

// snapshot is a machine's state on its way to a file.
type snapshot struct {
	data  []byte
	taken func()
}

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s.data); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("finish snapshot: %w", err)
	}
	s.taken()
	return nil
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {}
