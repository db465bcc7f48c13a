package kumomanager

import (
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/etolabo/kumofs/subjects/ring"
)

// machine is the ring table as the managers' log drives it (quorum.Machine).
// Commands and snapshots are JSON.
type machine struct {
	table   atomic.Pointer[ring.Table]
	changed chan struct{} // a signal after each change
}

func newMachine() *machine { return &machine{changed: make(chan struct{}, 1)} }

// applied is what Apply returns.
type applied struct {
	result ring.Result
	err    error
}

// Apply implements quorum.Machine. A command that no voter can make sense of
// changes nothing, on all of them.
func (m *machine) Apply(index uint64, command []byte) any {
	var c ring.Command
	if err := json.Unmarshal(command, &c); err != nil {
		return applied{err: fmt.Errorf("entry %d of the managers' log: %w", index, err)}
	}
	old := m.table.Load()
	next, res, err := old.Apply(c)
	if err == nil && next != old {
		m.set(next)
	}
	return applied{res, err}
}

// Snapshot implements quorum.Machine.
func (m *machine) Snapshot() ([]byte, error) { return json.Marshal(m.table.Load()) }

// Restore implements quorum.Machine.
func (m *machine) Restore(snapshot []byte) error {
	var t *ring.Table
	if err := json.Unmarshal(snapshot, &t); err != nil {
		return fmt.Errorf("snapshot of the ring: %w", err)
	}
	m.set(t)
	return nil
}

func (m *machine) set(t *ring.Table) {
	m.table.Store(t)
	select {
	case m.changed <- struct{}{}:
	default:
	}
}
