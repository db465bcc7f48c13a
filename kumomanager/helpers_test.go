package kumomanager

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/subjects/watch"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long facts are waited for.
const patience = 20 * time.Second

// eventually waits for a fact.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// drawn are the ports that freePort has given to tests, which may run side by side.
var drawn = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// freePort draws a port that is free, with those that a manager has beside it,
// below those that the system gives to whoever asks for any.
func freePort(t testing.TB) int {
	t.Helper()
	drawn.Lock()
	defer drawn.Unlock()
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		all := []int{port, port + RouteOffset, port + HTTPOffset}
		free := true
		for _, p := range all {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
			if free = free && err == nil && !drawn.ports[p]; err == nil {
				l.Close()
			}
		}
		if !free {
			continue
		}
		for _, p := range all {
			drawn.ports[p] = true
		}
		return port
	}
	t.Fatal("no free ports")
	return 0
}

func testLog(t testing.TB) *slog.Logger {
	if os.Getenv("KUMO_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("test", t.Name())
}

// group is a cluster's managers in one process.
type group struct {
	t        testing.TB
	options  []Options
	managers []*Manager // nil where closed
}

func newGroup(t testing.TB, n int, change func(*Options)) *group {
	t.Helper()
	g := &group{t: t, managers: make([]*Manager, n)}
	var addrs []string
	for range n {
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	}
	for i := range n {
		o := Defaults()
		o.Listen, o.Partners, o.Dir = addrs[i], addrs, t.TempDir()
		o.Partitions, o.Log = 16, testLog(t).With("manager", i)
		o.ReplaceDelay = 300 * time.Millisecond
		if change != nil {
			change(&o)
		}
		g.options = append(g.options, o)
		g.open(i)
	}
	t.Cleanup(g.close)
	return g
}

func (g *group) open(i int) {
	g.t.Helper()
	m, err := Open(g.options[i])
	if err != nil {
		g.t.Fatal(err)
	}
	g.managers[i] = m
}

func (g *group) stop(i int) {
	if m := g.managers[i]; m != nil {
		g.managers[i] = nil
		if err := m.Close(); err != nil {
			g.t.Errorf("close: %v", err)
		}
	}
}

func (g *group) close() {
	for i := range g.managers {
		g.stop(i)
	}
}

// leader waits for one that leads and has a cluster.
func (g *group) leader() *Manager {
	g.t.Helper()
	var found *Manager
	eventually(g.t, "a manager leads", func() bool {
		for _, m := range g.managers {
			if m != nil && m.Leads() && m.Table().Size() > 0 {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

func (g *group) index(m *Manager) int { return slices.Index(g.managers, m) }

func (g *group) addrs() (out []string) {
	for _, o := range g.options {
		out = append(out, o.Listen)
	}
	return out
}

// askStatus asks whoever answers.
func askStatus(b *bus.Bus, st *subjects.ClusterStatus) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	m, err := b.Request(ctx, subjects.Cluster("kumo").Admin(subjects.AdminStatus), nil)
	if err != nil {
		return err
	}
	var rep subjects.AdminReply
	if err := json.Unmarshal(m.Data, &rep); err != nil {
		return err
	}
	if rep.Error != nil {
		return rep.Error
	}
	return json.Unmarshal(rep.Data, st)
}

// admin sends a command as kumoctl does.
func (g *group) admin(verb string, req any, to any) error {
	g.t.Helper()
	b, err := bus.Dial(bus.DialOptions{Name: "ctl", URLs: g.addrs(), Log: testLog(g.t)})
	if err != nil {
		g.t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	eventually(g.t, "the bus is connected", b.Connected)
	var body []byte
	if req != nil {
		body, _ = json.Marshal(req)
	}
	var rep subjects.AdminReply
	m, err := b.Request(ctx, subjects.Cluster("kumo").Admin(verb), body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(m.Data, &rep); err != nil {
		return err
	}
	if rep.Error != nil {
		return rep.Error
	}
	return json.Unmarshal(rep.Data, to)
}

func (g *group) attach(nodes ...string) subjects.AdminDone {
	g.t.Helper()
	var done subjects.AdminDone
	if err := g.admin(subjects.AdminAttach, subjects.AdminRequest{Nodes: nodes}, &done); err != nil {
		g.t.Fatal(err)
	}
	return done
}

func (g *group) status() (st subjects.ClusterStatus) {
	g.t.Helper()
	eventually(g.t, "there is a status", func() bool { return g.admin(subjects.AdminStatus, nil, &st) == nil })
	return st
}

// server is what a manager sees of one: heartbeats, a proof listener, and
// primaries that certify learners at once. It is a member of the mesh.
type server struct {
	t     testing.TB
	g     *group
	id    ring.NodeID
	addr  string
	dir   string
	boot  ring.BootID
	bus   *bus.Bus
	proof net.Listener
	watch *watch.Watcher
	wit   *Witness

	mu    sync.Mutex
	conns []net.Conn

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newServer(t testing.TB, g *group, id ring.NodeID) *server {
	t.Helper()
	s := &server{t: t, g: g, id: id, addr: fmt.Sprintf("127.0.0.1:%d", freePort(t)), dir: t.TempDir()}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) name() string { return subjects.NodeName(s.addr) }

type watchConn struct{ b *bus.Bus }

func (c watchConn) Subscribe(subject string, h func([]byte)) (func(), error) {
	sub, err := c.b.Subscribe(subject, func(m *bus.Msg) { h(m.Data) })
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Close() }, nil
}

func (c watchConn) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	m, err := c.b.Request(ctx, subject, data)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

func (s *server) start() {
	s.t.Helper()
	var err error
	s.boot = ring.BootID(random())
	var routes []string
	for _, a := range s.g.addrs() {
		routes = append(routes, withPort(a, RouteOffset))
	}
	if s.bus, err = bus.Open(bus.Options{
		Name: s.name(), Mesh: "kumo", Listen: s.addr, RouteListen: "127.0.0.1:0", Routes: routes, Log: testLog(s.t),
	}); err != nil {
		s.t.Fatal(err)
	}
	if s.proof, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	if s.watch, err = watch.Start(watch.Options{Conn: watchConn{s.bus}, Cluster: "kumo"}); err != nil {
		s.t.Fatal(err)
	}
	s.wg.Go(s.accept)
	s.wg.Go(func() { s.run(ctx) })
	if len(s.g.options) == 2 {
		s.wit, err = OpenWitness(WitnessOptions{Bus: s.bus, Cluster: "kumo", Store: s.id, Dir: s.dir, Log: testLog(s.t).With("witness", s.id)})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *server) accept() {
	for {
		c, err := s.proof.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
	}
}

func (s *server) beat(stopping bool) {
	data, _ := json.Marshal(subjects.Heartbeat{
		Cluster: "kumo", Node: s.name(), ID: s.id, Boot: s.boot, Role: subjects.RoleServer, Version: "1.2.3",
		Addr: s.addr, Proof: s.proof.Addr().String(), Stopping: stopping, Time: time.Now().UnixMilli(),
	})
	_ = s.bus.Publish(subjects.Cluster("kumo").Heartbeat(s.name()), data)
}

// run sends heartbeats, and certifies learners of partitions that it leads.
func (s *server) run(ctx context.Context) {
	beat, look := time.NewTicker(heartbeat), time.NewTicker(20*time.Millisecond)
	defer beat.Stop()
	defer look.Stop()
	s.beat(false)
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			s.beat(false)
		case <-look.C:
			s.certify(ctx)
		}
	}
}

func (s *server) certify(ctx context.Context) {
	if s.watch.Table() == nil {
		return
	}
	t := s.watch.Table()
	me := ring.Process{Store: s.id, Boot: s.boot}
	req := subjects.ChangeRequest{Cluster: t.ClusterID, From: me}
	for p, c := range t.Partitions {
		if c.Primary == me && len(c.Learners) > 0 {
			req.Changes = append(req.Changes, ring.Change{
				Partition: ring.Partition(p), Epoch: c.Epoch, Primary: me, ISR: append(slices.Clone(c.ISR), c.Learners...),
				Joined: processes(t, c.Learners),
			})
		}
	}
	if len(req.Changes) == 0 {
		return
	}
	body, _ := json.Marshal(req)
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, _ = s.bus.Request(ctx, subjects.Cluster("kumo").RingChange(), body)
}

// kill ends everything at once, as the end of a process does.
func (s *server) kill() {
	if s.bus == nil {
		return
	}
	s.cancel()
	s.proof.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.watch.Close()
	if s.wit != nil {
		_ = s.wit.seat.close() // no handing over
		s.wit = nil
	}
	s.bus.Close()
	s.bus, s.watch = nil, nil
}

// silence stops the heartbeats and leaves the process.
func (s *server) silence() { s.cancel() }

// full waits until each partition has this many copies and a live primary.
func (g *group) full(copies int) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("all partitions have %d copies", copies), func() bool {
		for _, m := range g.managers {
			if m == nil || !m.Leads() {
				continue
			}
			t := m.Table()
			for _, c := range t.Partitions {
				if len(c.ISR) != copies || len(c.Learners) > 0 || !t.Alive(c.Primary) {
					return false
				}
			}
			return t.Size() > 0
		}
		return false
	})
}
