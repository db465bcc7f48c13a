// Package kumoserver is a server: it keeps copies of partitions on disk and
// replicates them with others over the bus. The data path is short: handlers.go
// takes frames off the bus, core.go steps the replication machines and writes
// the log, perform.go carries out what they want.
package kumoserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/bus/proof"
	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/subjects/watch"
)

// Server is a running server.
type Server struct {
	o        Options
	log      *slog.Logger
	name     string // in subjects
	gateways string // begins the subjects on which gateways take answers
	boot     ring.BootID
	start    time.Time

	store   *store.Store
	bus     *bus.Bus
	proof   *proof.Listener
	deaths  *proof.Watcher[ring.Process] // of servers that share partitions with this one
	watch   *watch.Watcher
	witness Closer
	stops   []func() error // subscriptions and services

	frozen   *frozen
	compares *compares
	feed     *feed
	recent   *recent
	gauges   gauges
	inbox    *inbox
	backlog  int64 // bytes not applied beyond which writers are slowed down
	starts   uint64
	asks     chan ring.Change
	mover    *mover
	serving  [ring.MaxPartitions]serving // by partition
	cluster  atomic.Uint64               // the cluster's ID, 0 until the ring is known

	gets, sets, deletes        atomic.Uint64
	refused                    atomic.Uint64 // messages of other epochs and processes
	epochs                     atomic.Uint64 // changes of them, of partitions here
	waiting, earlyHeld         atomic.Int64  // callers and bytes in the core loop, as of the last tick
	timed                      *timed
	metrics                    []prometheus.Collector
	primaries, replicas, joins atomic.Int64
	stopping                   atomic.Bool
	beaten                     atomic.Int64 // Unix nanoseconds of the last heartbeat
	progress                   ring.Progress

	ctx        context.Context
	cancel     context.CancelCauseFunc
	background errgroup.Group
	once       sync.Once
	closeErr   error
}

// Open starts a server: its store, its place in the mesh, and its loops. It
// does not wait for managers, which may come later.
func Open(o Options) (_ *Server, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		o: o, start: time.Now(), name: subjects.NodeName(o.Listen), gateways: o.Cluster.Gateways(), recent: newRecent(time.Now().UnixMilli()),
		timed: newTimed(), frozen: newFrozen(o.ReadRate), compares: newCompares(), inbox: newInbox(), asks: make(chan ring.Change, 2*ring.MaxPartitions),
	}
	s.log = o.Log.With("node", s.name)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.mover = newMover(s)
	s.feed = newFeed(s)
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.boot, err = newBootID(); err != nil {
		return nil, err
	}
	s.store, err = store.Open(store.Options{
		Dir: o.Dir, Sync: o.Sync, SyncEvery: o.SyncEvery, MemtableBytes: o.MemtableBytes, CacheBytes: o.CacheBytes,
		RetainBytes: o.RetainBytes, SegmentBytes: segmentBytes(o.RetainBytes), Grant: time.Duration(o.Replica.Grant), OSBoot: osBoot(), Log: s.log,
		ScrubRate: o.ScrubRate, ScrubEvery: o.ScrubEvery, OnDamage: s.onDamage,
		Timed: store.Timed{Write: s.timed.write, Sync: syncs{s.timed}, Apply: s.timed.apply},
	})
	if err != nil {
		return nil, fmt.Errorf("-s: %w", err)
	}
	s.backlog = s.store.Stats().Bound
	s.starts = s.store.Starts()
	s.readGauges()
	for _, d := range s.store.Damaged() {
		s.log.Warn("damage found in the store", "what", d)
	}
	if n := len(s.store.Unclean()); n > 0 {
		s.log.Warn("copies may lack what they had acknowledged; they come back through the others", "copies", n)
	}
	s.cluster.Store(uint64(s.store.ClusterID()))
	if err = s.openProof(); err != nil {
		return nil, err
	}
	if err = s.openBus(); err != nil {
		return nil, err
	}
	s.metrics = s.newMetrics()
	if o.Witness != nil {
		s.witness, err = o.Witness(Witness{
			Bus: s.bus, Cluster: o.Cluster, Node: s.name, ID: s.store.ID(), Boot: s.boot,
			Dir: filepath.Join(o.Dir, "witness"), Log: s.log,
		})
		if err != nil {
			return nil, fmt.Errorf("start the witness: %w", err)
		}
	}
	if err = s.run(); err != nil {
		return nil, err
	}
	s.log.Info("server is up", "addr", o.Listen, "route", s.bus.RouteAddr(), "store", o.Dir, "id", s.store.ID(), "boot", s.boot)
	return s, nil
}

// openBus joins the mesh. A taken route port is a warning and a free one is
// taken: the original's own example gives one port to two servers.
func (s *Server) openBus() error {
	routes, err := managerRoutes(s.o.Managers)
	if err != nil {
		return err
	}
	host, own, err := net.SplitHostPort(s.o.Listen)
	if err != nil {
		return err
	}
	port := orDefault(s.o.RoutePort, DefaultRoutePort)
	if port < 0 {
		port = 0
	}
	o := bus.Options{
		Name: s.name, Mesh: string(s.o.Cluster), Advertise: s.o.Listen, Routes: routes,
		Listen: net.JoinHostPort(s.o.Bind, own), RouteListen: net.JoinHostPort(s.o.Bind, strconv.Itoa(port)),
		RouteAdvertise: net.JoinHostPort(host, strconv.Itoa(port)),
		Hub:            s.o.Hub, Security: s.o.Security, Log: s.log,
	}
	s.bus, err = bus.Open(o)
	var taken *bus.ListenError
	if errors.As(err, &taken) && taken.What == "route" && errors.Is(err, syscall.EADDRINUSE) {
		s.log.Warn("the route port is taken, a free one is used instead", "port", port)
		o.RouteListen, o.RouteAdvertise = net.JoinHostPort(s.o.Bind, "0"), net.JoinHostPort(host, "0")
		s.bus, err = bus.Open(o)
	}
	return err
}

// The bus carries the largest value, and what travels with it.
const _ = uint(bus.MaxPayload - subjects.MaxValue - 64<<10)

// run subscribes and starts the loops.
func (s *Server) run() (err error) {
	s.watch, err = watch.Start(watch.Options{
		Conn: Conn{s.bus}, Cluster: s.o.Cluster, At: s.o.Managers, Log: s.log, OnTable: s.onTable,
	})
	if err != nil {
		return err
	}
	if err = s.subscribe(); err != nil {
		return err
	}
	if err = s.heed(); err != nil {
		return err
	}
	if err = s.serve(); err != nil {
		return err
	}
	if err = s.serveFrozen(); err != nil {
		return err
	}
	if err = s.serveFeed(); err != nil {
		return err
	}
	s.background.Go(func() error {
		if err := newCore(s).run(s.ctx); err != nil {
			s.fail(err)
		}
		s.inbox.close()
		return nil
	})
	s.background.Go(s.beat)
	s.background.Go(s.gauge)
	s.background.Go(s.askLoop)
	s.background.Go(s.tick)
	s.background.Go(s.keepMesh)
	return nil
}

// onTable takes a newer table. One of another cluster is refused: the folder
// says whose data it holds.
func (s *Server) onTable(t *ring.Table) {
	if t.ClusterID == 0 {
		return
	}
	if err := s.store.SetClusterID(t.ClusterID); err != nil {
		s.fail(fmt.Errorf("store %s: %w", s.o.Dir, err))
		return
	}
	s.cluster.Store(uint64(t.ClusterID))
	s.mover.configure(t)
	s.inbox.push(work{table: t}, 0)
}

func (s *Server) process() ring.Process { return ring.Process{Store: s.store.ID(), Boot: s.boot} }

func (s *Server) meshID() uint64 { return s.cluster.Load() }

// fail ends the server for a reason that Wait returns.
func (s *Server) fail(err error) {
	s.log.Error("the server cannot go on", "err", err)
	s.cancel(err)
}

// Wait returns when the server has failed or ctx is done: an error if the
// server cannot go on.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.ctx.Done():
		if err := context.Cause(s.ctx); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
}

// Run works until ctx is done, hands over and closes.
func (s *Server) Run(ctx context.Context) error {
	err := s.Wait(ctx)
	if err == nil {
		s.HandOver()
	}
	return errors.Join(err, s.Close())
}

// HandOver tells the managers that this server stops, and waits, within bounds,
// until it holds nothing that another could hold instead: first the lead is taken
// from it, and then it is taken out of every configuration.
func (s *Server) HandOver() {
	s.stopping.Store(true)
	s.heartbeat()
	deadline := time.NewTimer(s.o.StopWithin)
	defer deadline.Stop()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for s.needed() {
		select {
		case <-deadline.C:
			s.log.Warn("stopping although it is still needed", "primaries", s.primaries.Load(), "replicas", s.replicas.Load())
			return
		case <-s.ctx.Done():
			return
		case <-poll.C:
		}
	}
}

// needed reports whether the table still counts on this process for a partition
// of which there is another live copy in sync.
func (s *Server) needed() bool {
	t := s.watch.Table()
	if t == nil || !t.Alive(s.process()) {
		return false
	}
	for _, c := range t.Partitions {
		if !c.HasISR(s.store.ID()) {
			continue
		}
		for _, id := range c.ISR {
			if n, ok := t.Node(id); ok && n.Up && id != s.store.ID() {
				return true
			}
		}
	}
	return false
}

// Name is the server's name in subjects.
func (s *Server) Name() string { return s.name }

// ID is the identity of the server's store.
func (s *Server) ID() ring.NodeID { return s.store.ID() }

// Table is the newest partition table that the server knows, or nil.
func (s *Server) Table() *ring.Table { return s.watch.Table() }

// Addr is where gateways and kumoctl connect, host:port.
func (s *Server) Addr() string { return s.bus.ClientAddr() }

// Close stops everything at once and waits for it. It may be called twice.
func (s *Server) Close() error {
	s.once.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Server) close() error {
	var errs []error
	if s.witness != nil {
		errs = append(errs, s.witness.Close())
	}
	if s.watch != nil {
		s.watch.Close()
	}
	s.cancel(context.Canceled)
	s.inbox.close()
	for _, stop := range s.stops {
		errs = append(errs, stop())
	}
	if s.deaths != nil {
		s.deaths.Close()
	}
	s.frozen.close()
	s.compares.close()
	errs = append(errs, s.background.Wait())
	if s.bus != nil {
		errs = append(errs, s.bus.Close())
	}
	if s.proof != nil {
		errs = append(errs, s.proof.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}
