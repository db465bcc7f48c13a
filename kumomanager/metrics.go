package kumomanager

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etolabo/kumofs/bus/metrics"
	"github.com/etolabo/kumofs/bus/quorum"
	"github.com/etolabo/kumofs/subjects"
)

// view is one look at a manager for its metrics.
type view struct {
	leads, leader bool
	voters        int
	term, applied uint64
	revision      uint64
	inbox         int
	logBytes      int64
	log           quorum.Counters
}

func (m *Manager) view() *view {
	v := &view{
		leads: m.seat.leads.Load(), voters: len(m.seat.quorum.Voters()), term: m.seat.quorum.Term(),
		applied: m.seat.quorum.Applied(), inbox: len(m.seat.inbox), logBytes: folderBytes(m.o.Dir), log: m.seat.quorum.Counters(),
	}
	_, v.leader = m.seat.quorum.Leader()
	if t := m.Table(); t != nil {
		v.revision = t.Revision
	}
	return v
}

// folderBytes is what the files of a folder have; what is gone when it is looked
// at counts nothing.
func folderBytes(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		if fi, err := e.Info(); err == nil {
			sum += fi.Size()
		}
		return nil
	})
	return sum
}

// cluster is the cluster as this manager leads it; nil while it does not.
func (m *Manager) cluster() *subjects.ClusterStatus {
	if !m.seat.leads.Load() {
		return nil
	}
	var rep subjects.AdminReply
	st := new(subjects.ClusterStatus)
	if json.Unmarshal(m.seat.obey(subjects.AdminStatus, nil), &rep) != nil || rep.Error != nil || json.Unmarshal(rep.Data, st) != nil {
		return nil
	}
	return st
}

// Metrics are what Prometheus is told, described in docs/metrics.md. The leader
// tells of the cluster, too.
func (m *Manager) Metrics() []prometheus.Collector {
	return []prometheus.Collector{ofManager(m), ofCluster(m), metrics.OfBus(m.bus, "manager")}
}

func ofManager(m *Manager) prometheus.Collector {
	s := metrics.New(m.view)
	gauge := func(name, help string, of func(*view) float64) { s.Gauge(name, help, of) }
	gauge("kumofs_manager_leads", "1 while this manager leads the others.", func(v *view) float64 { return metrics.Bool(v.leads) })
	gauge("kumofs_manager_has_leader", "1 while the managers have a leader, as far as this one knows.", func(v *view) float64 { return metrics.Bool(v.leader) })
	gauge("kumofs_manager_voters", "Managers, and servers as witnesses, that vote.", func(v *view) float64 { return float64(v.voters) })
	gauge("kumofs_manager_term", "Term of the managers' log, a number for each election.", func(v *view) float64 { return float64(v.term) })
	gauge("kumofs_manager_applied_index", "Index up to which the managers' log was carried out here.", func(v *view) float64 { return float64(v.applied) })
	gauge("kumofs_manager_ring_revision", "Revision of the partition table that this manager has; 0 for none.", func(v *view) float64 { return float64(v.revision) })
	gauge("kumofs_manager_inbox_items", "Heartbeats and questions that wait for this manager.", func(v *view) float64 { return float64(v.inbox) })
	gauge("kumofs_manager_inbox_bound_items", "Bound of inbox_items; what comes beyond it waits in its subscription.", func(*view) float64 { return inboxSize })
	gauge("kumofs_manager_folder_bytes", "Bytes of the managers' log and its snapshots.", func(v *view) float64 { return float64(v.logBytes) })
	const name, help = "kumofs_manager_log_requests_total", "Requests of the managers' log, by what became of them."
	for result, of := range map[string]func(*view) uint64{
		"sent": func(v *view) uint64 { return v.log.Sent }, "unanswered": func(v *view) uint64 { return v.log.Unanswered },
		"received": func(v *view) uint64 { return v.log.Received }, "refused": func(v *view) uint64 { return v.log.Refused },
		"dropped": func(v *view) uint64 { return v.log.Dropped }, "late": func(v *view) uint64 { return v.log.Late },
	} {
		s.Counter(name, help, func(v *view) float64 { return float64(of(v)) }, "result", result)
	}
	return s
}

// ofCluster is told by the leader alone.
func ofCluster(m *Manager) prometheus.Collector {
	s := metrics.New(m.cluster)
	n := func(name, help string, of func(*subjects.ClusterStatus) int, labels ...string) {
		s.Gauge(name, help, func(st *subjects.ClusterStatus) float64 { return float64(of(st)) }, labels...)
	}
	const parts, partsHelp = "kumofs_cluster_partitions", "Partitions that are full, degraded, or down without a live primary; lone, stuck (64 are counted at most) and possible_loss ones are among these."
	n(parts, partsHelp, func(st *subjects.ClusterStatus) int { return st.Partitions.Full }, "state", "full")
	n(parts, partsHelp, func(st *subjects.ClusterStatus) int { return st.Partitions.Degraded }, "state", "degraded")
	n(parts, partsHelp, func(st *subjects.ClusterStatus) int { return st.Partitions.Down }, "state", "down")
	n(parts, partsHelp, func(st *subjects.ClusterStatus) int { return st.Partitions.Lone }, "state", "lone")
	n(parts, partsHelp, func(st *subjects.ClusterStatus) int { return len(st.Stuck) }, "state", "stuck")
	n(parts, partsHelp, func(st *subjects.ClusterStatus) int { return st.Partitions.Loss }, "state", "possible_loss")
	for _, role := range []subjects.Role{subjects.RoleManager, subjects.RoleServer, subjects.RoleGateway} {
		for _, state := range []string{stateUp, stateDown, stateNew, stateLeaving, stateJoining} {
			n("kumofs_cluster_nodes", "Nodes that the leader knows, by their state.", func(st *subjects.ClusterStatus) (sum int) {
				for i := range st.Nodes {
					if st.Nodes[i].Role == role && st.Nodes[i].State == state {
						sum++
					}
				}
				return sum
			}, "role", string(role), "state", state)
		}
	}
	const moves, movesHelp = "kumofs_cluster_moves", "Copies that are not where they should be, and those of them that are under way."
	n(moves, movesHelp, func(st *subjects.ClusterStatus) int { return st.Moves.Pending }, "state", "pending")
	n(moves, movesHelp, func(st *subjects.ClusterStatus) int { return st.Moves.Active }, "state", "active")
	n("kumofs_cluster_replicas", "Copies that there should be of everything.", func(st *subjects.ClusterStatus) int { return st.Replicas })
	n("kumofs_cluster_alarms", "Alarms, as kumoctl status prints them.", func(st *subjects.ClusterStatus) int { return len(st.Alarms) })
	s.Gauge("kumofs_cluster_paused", "1 while moves are paused.", func(st *subjects.ClusterStatus) float64 { return metrics.Bool(st.Paused) })
	return s
}
