package kumomanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumomanager/dashboard"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/subjects/watch"
)

// Manager is one manager of a cluster. Its methods may be called from any
// goroutine.
type Manager struct {
	o      Options
	log    *slog.Logger
	name   string
	boot   ring.BootID
	start  time.Time
	folder *folder
	bus    *bus.Bus
	seat   *seat

	dashboard *dashboard.Dashboard // nil: nobody can look

	stopping atomic.Bool
	beaten   atomic.Int64 // Unix nanoseconds of the last heartbeat
	progress ring.Progress
	stopAsk  chan struct{} // somebody asked for a stop over the bus
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	once     sync.Once
	err      error
}

// Open starts a manager. It does not wait for its partners.
func Open(o Options) (_ *Manager, err error) {
	if o, err = o.complete(); err != nil {
		return nil, err
	}
	m := &Manager{
		o: o, log: o.Log, name: subjects.NodeName(o.Listen), boot: ring.BootID(random()),
		start: time.Now(), stopAsk: make(chan struct{}, 1),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			_ = m.Close()
			err = fmt.Errorf("manager %s: %w", o.Listen, err)
		}
	}()
	if m.folder, err = openFolder(o.Dir, o.Cluster, m.name, o.Join); err != nil {
		return nil, err
	}
	if err = m.openBus(); err != nil {
		return nil, err
	}
	if err = m.openSeat(); err != nil {
		return nil, err
	}
	if err = m.serve(); err != nil {
		return nil, err
	}
	if err = m.openDashboard(); err != nil {
		return nil, err
	}
	m.wg.Go(m.beat)
	m.wg.Go(m.remember)
	return m, nil
}

func (m *Manager) openBus() (err error) {
	host, port, _ := net.SplitHostPort(m.o.Listen)
	route := strconv.Itoa(m.o.RoutePort)
	routes := make([]string, len(m.o.Partners))
	for i, p := range m.o.Partners {
		routes[i] = withPort(p, RouteOffset)
	}
	m.bus, err = bus.Open(bus.Options{
		Name: m.name, Mesh: string(m.o.Cluster), Routes: routes,
		Listen: net.JoinHostPort(m.o.Bind, port), Advertise: m.o.Listen,
		RouteListen: net.JoinHostPort(m.o.Bind, route), RouteAdvertise: net.JoinHostPort(host, route),
		Security: m.o.Security, Log: m.log,
	})
	return err
}

func (m *Manager) openSeat() (err error) {
	voters := []string{m.name}
	for _, p := range m.o.Partners {
		voters = append(voters, subjects.NodeName(p))
	}
	slices.Sort(voters)
	begins := voters
	if m.folder.id.Joined {
		begins = nil
	}
	m.seat, err = openSeat(seatOptions{
		settings: settings{
			init: ring.Init{
				Cluster: string(m.o.Cluster), ClusterID: ring.ClusterID(random()),
				Partitions: m.o.Partitions, Replicas: m.o.Replicas, AutoReplace: m.o.AutoReplace, MoveRate: m.o.MoveRate,
			},
			learners: m.o.MaxMoves, failAfter: m.o.FailAfter,
			replaceDelay: m.o.ReplaceDelay, lostAfter: m.o.LostAfter,
		},
		bus: m.bus, cluster: m.o.Cluster, name: m.name, voters: begins, dir: m.o.Dir, log: m.log,
	})
	if err != nil {
		return err
	}
	have := slices.DeleteFunc(m.seat.quorum.Voters(), isWitness)
	if begins != nil && !slices.Equal(have, voters) {
		m.log.Warn("the managers are others than -l and -p say; the folder's are kept", "folder", have, "options", voters)
	}
	return nil
}

// serve answers on the bus, as a service that the nats command finds.
func (m *Manager) serve() error {
	c := m.o.Cluster
	endpoints := []bus.Endpoint{
		{Name: "ring", Subject: c.RingGet(), Handler: func(req []byte, _ string) ([]byte, error) {
			return watch.Answer(m.Table(), req, ringPerPage), nil
		}},
		{Name: "stat", Subject: c.NodeAdmin(m.name, subjects.NodeStat), Handler: func([]byte, string) ([]byte, error) {
			return adminReply(m.stat(), nil), nil
		}},
		{Name: "stop", Subject: c.NodeAdmin(m.name, subjects.NodeStop), Handler: func([]byte, string) ([]byte, error) {
			m.askStop()
			return adminReply(subjects.AdminDone{Nodes: []string{m.name}, Text: "stopping"}, nil), nil
		}},
		{Name: "removed", Subject: c.NodeAdmin(m.name, subjects.NodeRemoved), Handler: func(req []byte, _ string) ([]byte, error) {
			done, err := m.removed(req)
			return adminReply(done, err), nil
		}},
	}
	for _, verb := range verbs {
		endpoints = append(endpoints, bus.Endpoint{Name: verb, Subject: c.Admin(verb), Handler: func(req []byte, _ string) ([]byte, error) {
			return m.seat.order(verb, req), nil
		}})
	}
	_, err := m.bus.Service(bus.ServiceOptions{
		Name: "kumo-manager", Version: semver(m.o.Version), Description: "manages cluster " + string(c),
		Metadata:  map[string]string{"node": m.name, "boot": m.boot.String()},
		Endpoints: endpoints,
	})
	return err
}

// Table is the newest partition table that this manager knows, nil if none.
func (m *Manager) Table() *ring.Table { return m.seat.machine.table.Load() }

// Leads reports whether this manager leads the others.
func (m *Manager) Leads() bool { return m.seat.leads.Load() }

// Name is the manager's name in subjects.
func (m *Manager) Name() string { return m.name }

// Addr is the address of its bus, host:port.
func (m *Manager) Addr() string { return m.o.Listen }

// Run serves until ctx ends or a stop is asked for over the bus, and then stops
// in good order. An error means that the manager could not go on.
func (m *Manager) Run(ctx context.Context) error {
	m.log.Info("manager is up", "node", m.name, "dir", m.o.Dir, "cluster", string(m.o.Cluster), "partners", m.o.Partners)
	var failed error
	select {
	case <-ctx.Done():
	case <-m.stopAsk:
	case <-m.ctx.Done():
	case failed = <-m.seat.failed:
	}
	return errors.Join(failed, m.Close())
}

// Close stops in good order: another voter is given the lead first. It may be
// called twice.
func (m *Manager) Close() error {
	m.once.Do(func() { m.err = m.close() })
	return m.err
}

func (m *Manager) close() (err error) {
	m.stopping.Store(true)
	if m.seat != nil {
		m.heartbeat()
		m.seat.handOver()
	}
	m.cancel()
	if m.dashboard != nil {
		m.dashboard.Close()
	}
	m.wg.Wait()
	if m.seat != nil {
		err = m.seat.close()
	}
	if m.bus != nil {
		err = errors.Join(err, m.bus.Close())
	}
	m.folder.close()
	return err
}

// beat says every so often that this manager lives.
func (m *Manager) beat() {
	t := time.NewTicker(heartbeat)
	defer t.Stop()
	for {
		m.heartbeat()
		m.beaten.Store(time.Now().UnixNano())
		select {
		case <-m.ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (m *Manager) heartbeat() {
	t, own := m.Table(), m.folder.identity()
	if t.Size() > 0 && own.ClusterID != t.ClusterID {
		if err := m.folder.belong(t.ClusterID); err != nil {
			m.log.Error("the folder does not take the cluster's identity", "err", err)
		}
	}
	h := subjects.Heartbeat{
		Cluster: string(m.o.Cluster), ClusterID: own.ClusterID, Node: m.name, ID: own.ID, Boot: m.boot, Role: subjects.RoleManager,
		Version: m.o.Version, PID: os.Getpid(), Addr: m.o.Listen, HTTP: m.o.HTTP,
		Leader: m.seat.leads.Load(), Stopping: m.stopping.Load(), Joining: m.joining(),
		Time: time.Now().UnixMilli(), Uptime: int64(time.Since(m.start).Seconds()),
		Expires: m.o.Security.Expires(),
	}
	if t != nil {
		h.ClusterID, h.Revision = t.ClusterID, t.Revision
	}
	data, err := json.Marshal(h)
	if err == nil {
		err = m.bus.Publish(m.o.Cluster.Heartbeat(m.name), data)
	}
	if err != nil && !errors.Is(err, bus.ErrClosed) {
		m.log.Debug("heartbeat not sent", "err", err)
	}
}

// stat is what kumoctl stat shows of a manager.
func (m *Manager) stat() map[string]string {
	leader, _ := m.seat.quorum.Leader()
	out := map[string]string{
		"pid":     strconv.Itoa(os.Getpid()),
		"uptime":  strconv.FormatInt(int64(time.Since(m.start).Seconds()), 10),
		"time":    strconv.FormatInt(time.Now().Unix(), 10),
		"version": m.o.Version,
		"leader":  leader,
		"voters":  strings.Join(m.seat.quorum.Voters(), " "),
		"term":    strconv.FormatUint(m.seat.quorum.Term(), 10),
	}
	if t := m.Table(); t != nil {
		out["revision"] = strconv.FormatUint(t.Revision, 10)
	}
	return out
}

// semver is the version as services want it: three numbers.
func semver(v string) string {
	v = strings.TrimPrefix(v, "v")
	for _, part := range strings.SplitN(v, ".", 3) {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			return "0.0.0"
		}
	}
	if strings.Count(v, ".") != 2 {
		return "0.0.0"
	}
	return v
}
