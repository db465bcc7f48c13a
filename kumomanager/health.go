package kumomanager

import (
	"encoding/json"
	"errors"

	"github.com/etolabo/kumofs/subjects"
)

// errStopping is why a manager is not ready.
var errStopping = errors.New("stopping")

// Unready tells why this manager cannot do its work: the managers have no leader,
// as far as it knows, or it stops.
func (m *Manager) Unready() error {
	if m.stopping.Load() {
		return errStopping
	}
	if _, ok := m.seat.quorum.Leader(); !ok {
		return subjects.ErrNoLeader
	}
	return nil
}

// Status is a subjects.ClusterStatus in JSON, as the leader has it.
func (m *Manager) Status() (json.RawMessage, error) {
	var rep subjects.AdminReply
	err := json.Unmarshal(m.seat.order(subjects.AdminStatus, nil), &rep)
	if err == nil && rep.Error != nil {
		err = rep.Error
	}
	return rep.Data, err
}
