package kumoserver

import (
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etolabo/kumofs/bus/metrics"
	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects/ring"
)

// timed are the stages of operations, by how long they take. Each is observed
// once for many operations: for a frame, a turn of the core loop or a flush.
type timed struct {
	read, turn, commit, write, sync, apply prometheus.Histogram

	waited atomic.Int64 // nanoseconds, for the disk to sync the log
}

// Waited is for how long the server has waited so far for the disk to sync its
// log. Go code holds a processor up meanwhile.
func (s *Server) Waited() time.Duration { return time.Duration(s.timed.waited.Load()) }

// syncs is timed.sync, which also tells how long these took together.
type syncs struct{ *timed }

// Observe takes one.
func (t syncs) Observe(seconds float64) {
	t.waited.Add(int64(seconds * float64(time.Second)))
	t.sync.Observe(seconds)
}

func newTimed() *timed {
	return &timed{
		read:   metrics.NewHistogram("kumofs_server_read_frame_duration_seconds", "Time to answer a frame of reads, from its arrival to its answers' leaving."),
		turn:   metrics.NewHistogram("kumofs_server_turn_duration_seconds", "Time of a turn of the core loop, which steps the replication of all partitions and writes the log."),
		commit: metrics.NewHistogram("kumofs_server_commit_duration_seconds", "Time of a write at its primary, from the core loop's taking it to its answer: the log here and a round to the in-sync replicas. Of one write of each turn that answers any."),
		write:  metrics.NewHistogram("kumofs_server_log_write_duration_seconds", "Time of a write of the log's buffer to its file."),
		sync:   metrics.NewHistogram("kumofs_server_log_sync_duration_seconds", "Time of a sync of a log file to the disk."),
		apply:  metrics.NewHistogram("kumofs_server_apply_duration_seconds", "Time of a transaction that brings committed values to the data file."),
	}
}

func (t *timed) all() []prometheus.Collector {
	return []prometheus.Collector{t.read, t.turn, t.commit, t.write, t.sync, t.apply}
}

var (
	errNoTable  = errors.New("no partition table yet")
	errNotInIt  = errors.New("the partition table does not count on this process yet")
	errNoCopies = errors.New("no partition is here (kumoctl attach)")
	errStuck    = errors.New("the disk hangs")
	errStopping = errors.New("stopping")
)

// Unready tells why the server cannot do its work: it neither leads nor follows,
// or its disk hangs.
func (s *Server) Unready() error {
	t := s.Table()
	switch {
	case s.ctx.Err() != nil, s.stopping.Load():
		return errStopping
	case t == nil:
		return errNoTable
	case !t.Alive(s.process()):
		return errNotInIt
	case s.stuck():
		return errStuck
	case s.replicas.Load()+s.joins.Load() == 0:
		return errNoCopies
	}
	return nil
}

// view is one look at a server for its metrics. It waits neither for the core
// loop nor for the store, so that both can be seen to hang.
type view struct {
	s                                *Server
	store                            store.Stats
	disk                             diskView
	inboxItems, inboxBytes           int
	revision                         uint64
	epoch                            ring.Epoch
	leading, inSync, joining         int
	missing, lone, leases, movesFrom int
	leaseLeft                        float64 // seconds, of the lease that ends first
}

type diskView struct{ full, stuck, broken bool }

func (s *Server) view() *view {
	v := &view{s: s}
	if st := s.gauges.store.Load(); st != nil {
		v.store = *st
	}
	d := s.disk()
	v.disk = diskView{d.Full, d.Stuck, d.Broken}
	v.inboxItems, v.inboxBytes = s.inbox.size()
	v.leading, v.inSync, v.joining = int(s.primaries.Load()), int(s.replicas.Load()), int(s.joins.Load())
	if t := s.Table(); t != nil {
		v.revision = t.Revision
		v.ofTable(t)
	}
	v.ofLeases()
	return v
}

// ofTable looks at the partitions that are led here.
func (v *view) ofTable(t *ring.Table) {
	self := v.s.process()
	for i := range t.Partitions {
		c := &t.Partitions[i]
		if c.Holds(self.Store) {
			v.epoch = max(v.epoch, c.Epoch)
		}
		if c.Primary != self {
			continue
		}
		up := 0
		for _, id := range c.ISR {
			if n, ok := t.Node(id); ok && n.Up {
				up++
			}
		}
		v.missing += max(0, len(c.Target)-up)
		if up == 1 && t.Replicas > 1 {
			v.lone++
		}
		v.movesFrom += len(c.Learners)
	}
}

// ofLeases looks at what reads are answered by.
func (v *view) ofLeases() {
	now, least := boottime(), int64(math.MaxInt64)
	for i := range v.s.serving {
		if v.s.serving[i].now.Load() == nil {
			continue
		}
		until := v.s.serving[i].until.Load()
		if until > now {
			v.leases++
		}
		least = min(least, until)
	}
	if least == math.MaxInt64 {
		return // none, or such as never end: a partition's only copy asks nobody
	}
	v.leaseLeft = max(0, time.Duration(least-now).Seconds())
}

// Metrics are what Prometheus is told, described in docs/metrics.md.
func (s *Server) Metrics() []prometheus.Collector { return s.metrics }

func (s *Server) newMetrics() []prometheus.Collector {
	m := metrics.New(s.view)
	ofWork(m)
	ofPartitions(m)
	ofStore(m)
	return append(s.timed.all(), m, metrics.OfBus(s.bus, "server"))
}

type set = metrics.Set[view]

func gauge(m *set, name, help string, of func(*view) int, labels ...string) {
	m.Gauge(name, help, func(v *view) float64 { return float64(of(v)) }, labels...)
}

func counter(m *set, name, help string, of func(*view) uint64, labels ...string) {
	m.Counter(name, help, func(v *view) float64 { return float64(of(v)) }, labels...)
}

// ofWork tells of operations and of what waits.
func ofWork(m *set) {
	const ops = "kumofs_server_operations_total"
	const help = "Operations that came to this server as primary, repeats among them."
	counter(m, ops, help, func(v *view) uint64 { return v.s.gets.Load() }, "operation", "get")
	counter(m, ops, help, func(v *view) uint64 { return v.s.sets.Load() }, "operation", "set")
	counter(m, ops, help, func(v *view) uint64 { return v.s.deletes.Load() }, "operation", "delete")
	counter(m, "kumofs_server_messages_refused_total", "Messages of other servers that this one refused: of another epoch or process.", func(v *view) uint64 { return v.s.refused.Load() })
	gauge(m, "kumofs_server_feeds", "Prefixes of keys of which this server tells changes (kumoctl watch).", func(v *view) int { return v.s.feed.count() })
	counter(m, "kumofs_server_feed_changes_total", "Changes that were told to feeds.", func(v *view) uint64 { return v.s.feed.told.Load() })
	counter(m, "kumofs_server_feed_passed_total", "Entries of the log that were not told to feeds, since the log no longer had them or too many waited.", func(v *view) uint64 { return v.s.feed.lost.Load() })
	gauge(m, "kumofs_server_inbox_items", "Frames and other things that wait for the core loop.", func(v *view) int { return v.inboxItems })
	gauge(m, "kumofs_server_inbox_bytes", "Bytes of frames that wait for the core loop.", func(v *view) int { return v.inboxBytes })
	gauge(m, "kumofs_server_inbox_bound_bytes", "Bound of inbox_bytes; frames beyond it wait in their subscriptions.", func(*view) int { return inboxBytes })
	gauge(m, "kumofs_server_waiting_operations", "Operations that wait for their commit or confirmation.", func(v *view) int { return int(v.s.waiting.Load()) })
	gauge(m, "kumofs_server_early_bytes", "Bytes of operations that came before this server could carry them out, and wait.", func(v *view) int { return int(v.s.earlyHeld.Load()) })
	gauge(m, "kumofs_server_early_bound_bytes", "Bound of early_bytes; operations beyond it are sent back.", func(*view) int { return earlyBytes })
}

// ofPartitions tells of epochs, copies, leases and moves.
func ofPartitions(m *set) {
	const parts = "kumofs_server_partitions"
	const help = "Partitions of which this server has a copy, by its role; a primary is in sync, too."
	gauge(m, parts, help, func(v *view) int { return v.leading }, "role", "primary")
	gauge(m, parts, help, func(v *view) int { return v.inSync }, "role", "in_sync")
	gauge(m, parts, help, func(v *view) int { return v.joining }, "role", "learner")
	m.Gauge("kumofs_server_ring_revision", "Revision of the partition table that the server goes by; 0 for none.", func(v *view) float64 { return float64(v.revision) })
	m.Gauge("kumofs_server_epoch_max", "The highest epoch of a partition of which a copy is here.", func(v *view) float64 { return float64(v.epoch) })
	counter(m, "kumofs_server_epoch_changes_total", "Epochs that began in partitions of which a copy is here.", func(v *view) uint64 { return v.s.epochs.Load() })
	gauge(m, "kumofs_server_in_sync_replicas_missing", "Copies that are not up and in sync, of all that the partitions led here should have.", func(v *view) int { return v.missing })
	gauge(m, "kumofs_server_partitions_lone", "Partitions led here that have a single copy in sync.", func(v *view) int { return v.lone })
	gauge(m, "kumofs_server_leases", "Partitions led here that may be read now without asking the replicas.", func(v *view) int { return v.leases })
	m.Gauge("kumofs_server_lease_remaining_seconds", "Time left of the lease that ends first; 0 if one has ended, or none does.", func(v *view) float64 { return v.leaseLeft })
	const moves = "kumofs_server_moves"
	const movesHelp = "Copies under way to this server, and from it as their primary."
	gauge(m, moves, movesHelp, func(v *view) int { return v.joining }, "direction", "to")
	gauge(m, moves, movesHelp, func(v *view) int { return v.movesFrom }, "direction", "from")
	counter(m, "kumofs_server_moved_bytes_total", "Bytes of key ranges that were read here for copies under way.", func(v *view) uint64 { return v.s.mover.bytes.Load() })
}

// ofStore tells of the log, the data file and memory. It is read several times a
// second, by somebody else.
func ofStore(m *set) {
	n := func(name, help string, of func(*store.Stats) int64) {
		m.Gauge(name, help, func(v *view) float64 { return float64(of(&v.store)) })
	}
	n("kumofs_server_items", "Keys in the data file, of all copies; trails writes by seconds.", func(s *store.Stats) int64 { return s.Items })
	n("kumofs_server_unapplied_entries", "Entries of the log that the data file does not hold yet.", func(s *store.Stats) int64 { return s.Entries })
	n("kumofs_server_unapplied_bytes", "Bytes of memory that entries take which the data file does not hold yet.", func(s *store.Stats) int64 { return s.Backlog })
	n("kumofs_server_unapplied_bound_bytes", "Bound of unapplied_bytes; beyond it writers are slowed down.", func(s *store.Stats) int64 { return s.Bound })
	n("kumofs_server_log_bytes", "Bytes of log that are kept.", func(s *store.Stats) int64 { return s.Log })
	n("kumofs_server_log_segments", "Files of log that are kept.", func(s *store.Stats) int64 { return int64(s.Segments) })
	n("kumofs_server_data_file_bytes", "Bytes of the data file (bbolt).", func(s *store.Stats) int64 { return s.DataFile })
	n("kumofs_server_data_file_free_bytes", "Bytes of the data file that hold nothing.", func(s *store.Stats) int64 { return s.DataFree })
	n("kumofs_server_compacting_bytes", "Bytes that a compaction of the data file has copied so far; 0 while none runs.", func(s *store.Stats) int64 { return s.Compacting })
	n("kumofs_server_cached_records", "Records that are kept in memory because they are read often.", func(s *store.Stats) int64 { return int64(s.Cached) })
	n("kumofs_server_cached_bytes", "Bytes of records that are kept in memory because they are read often.", func(s *store.Stats) int64 { return int64(s.CachedBytes) })
	n("kumofs_server_cached_bound_bytes", "Bound of cached_bytes: a third of --memory.", func(s *store.Stats) int64 { return s.CacheBound })
	n("kumofs_server_unclean_copies", "Copies that may lack what they had acknowledged.", func(s *store.Stats) int64 { return int64(s.Unclean) })
	m.Counter("kumofs_server_compactions_total", "Compactions of the data file that were completed.", func(v *view) float64 { return float64(v.store.Compactions) })
	m.Counter("kumofs_server_compacted_bytes_total", "Bytes that compactions of the data file copied.", func(v *view) float64 { return float64(v.store.Compacted) })
	m.Gauge("kumofs_server_disk_full", "1 while the disk takes no values.", func(v *view) float64 { return metrics.Bool(v.disk.full) })
	m.Gauge("kumofs_server_disk_stuck", "1 while a write or sync of the disk does not return, or did not a moment ago.", func(v *view) float64 { return metrics.Bool(v.disk.stuck) })
	m.Gauge("kumofs_server_data_file_damaged", "1 once the structure of the data file was found damaged.", func(v *view) float64 { return metrics.Bool(v.disk.broken) })
	m.Gauge("kumofs_server_damaged_records", "Records that cannot be read, and are copied anew.", func(v *view) float64 { return float64(v.s.disk().Damaged) })
}
