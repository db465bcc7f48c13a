package kumomanager

import (
	"encoding/json"
	"net/http"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumomanager/dashboard"
	"github.com/etolabo/kumofs/subjects"
)

// openDashboard begins to follow the cluster for people who look, if there is a
// port on which they can.
func (m *Manager) openDashboard() (err error) {
	if m.o.HTTP == "" {
		return nil
	}
	m.dashboard, err = dashboard.Open(dashboard.Source{
		Node: m.name, Status: m.clusterStatus, Table: m.Table, Events: m.watchEvents, Log: m.log,
	})
	return err
}

// Dashboard is what the manager shows at / of its HTTP port; nil if it was opened
// without one.
func (m *Manager) Dashboard() http.Handler {
	if m.dashboard == nil {
		return nil
	}
	return m.dashboard
}

// clusterStatus is the cluster as the leader sees it.
func (m *Manager) clusterStatus() (*subjects.ClusterStatus, error) {
	data, err := m.Status()
	if err != nil {
		return nil, err
	}
	st := new(subjects.ClusterStatus)
	return st, json.Unmarshal(data, st)
}

// watchEvents has take called for each event that this manager hears of.
func (m *Manager) watchEvents(take func(subjects.Event)) (stop func(), err error) {
	sub, err := m.bus.Subscribe(m.o.Cluster.Event("*"), func(msg *bus.Msg) {
		var e subjects.Event
		if err := json.Unmarshal(msg.Data, &e); err != nil {
			m.log.Debug("event does not parse", "subject", msg.Subject, "err", err)
			return
		}
		take(e)
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Close() }, nil
}
