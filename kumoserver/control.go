package kumoserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/subjects/watch"
)

// Conn is the bus as the table's follower sees it.
type Conn struct{ Bus *bus.Bus }

// Subscribe implements watch.Conn.
func (c Conn) Subscribe(subject string, h func([]byte)) (func(), error) {
	sub, err := c.Bus.Subscribe(subject, func(m *bus.Msg) { h(m.Data) })
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Close() }, nil
}

// Request implements watch.Conn.
func (c Conn) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	m, err := c.Bus.Request(ctx, subject, data)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

const (
	tickEvery   = 25 * time.Millisecond
	askTimeout  = 500 * time.Millisecond
	ringPerPage = 1024
)

// beat says every so often that this process lives.
func (s *Server) beat() error {
	t := time.NewTicker(s.o.HeartbeatEvery)
	defer t.Stop()
	for {
		s.heartbeat()
		s.beaten.Store(time.Now().UnixNano())
		select {
		case <-s.ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (s *Server) heartbeat() {
	h := subjects.Heartbeat{
		Cluster: string(s.o.Cluster), ClusterID: ring.ClusterID(s.cluster.Load()),
		Node: s.name, ID: s.store.ID(), Boot: s.boot, Starts: s.starts, OSBoot: osBoot(), Role: subjects.RoleServer,
		Version: s.o.Version, PID: os.Getpid(), Addr: s.o.Listen, Proof: s.proofAddr(), HTTP: s.o.HTTP, Zone: s.o.Zone,
		Stopping: s.stopping.Load(), Unclean: *s.gauges.unclean.Load(),
		Time: time.Now().UnixMilli(), Uptime: int64(time.Since(s.start).Seconds()), Load: s.load(), Disk: s.disk(),
		Moving: s.mover.moving(), Expires: s.o.Security.Expires(),
	}
	if t := s.Table(); t != nil {
		h.Revision = t.Revision
	}
	data, err := json.Marshal(h)
	if err == nil {
		err = s.bus.Publish(s.o.Cluster.Heartbeat(s.name), data)
	}
	if err != nil && !errors.Is(err, bus.ErrClosed) {
		s.log.Debug("heartbeat", "err", err)
	}
}

// countRoles notes how many partitions this process leads and holds.
func (s *Server) countRoles(t *ring.Table) {
	var lead, hold, learn int64
	for _, c := range t.Partitions {
		switch {
		case c.Primary == s.process():
			lead++
			hold++
		case c.HasISR(s.store.ID()):
			hold++
		case c.HasLearner(s.store.ID()):
			learn++
		}
	}
	s.primaries.Store(lead)
	s.replicas.Store(hold)
	s.joins.Store(learn)
}

// tick passes time to the machines.
func (s *Server) tick() error {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case <-t.C:
			s.inbox.push(work{tick: true}, 0)
		}
	}
}

// ask queues a change request. One that finds the queue full is dropped: its
// primary asks again.
func (s *Server) ask(c ring.Change) {
	select {
	case s.asks <- c:
	default:
	}
}

// askLoop sends change requests to the leader, many at a time.
func (s *Server) askLoop() error {
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case c := <-s.asks:
			changes := []ring.Change{c}
			for more := true; more && len(changes) < 512; {
				select {
				case c := <-s.asks:
					changes = append(changes, c)
				default:
					more = false
				}
			}
			s.askLeader(changes)
		}
	}
}

func (s *Server) askLeader(changes []ring.Change) {
	t := s.Table()
	if t == nil {
		return
	}
	for i := range changes {
		if p := &changes[i].Primary; p.Boot == 0 {
			n, ok := t.Node(p.Store)
			if !ok {
				return
			}
			p.Boot = n.Boot
		}
	}
	data, err := json.Marshal(subjects.ChangeRequest{Cluster: t.ClusterID, From: s.process(), Changes: changes})
	if err != nil {
		s.log.Error("change request does not encode", "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, askTimeout)
	defer cancel()
	m, err := s.bus.Request(ctx, s.o.Cluster.RingChange(), data)
	if err != nil {
		s.log.Debug("ask for new configurations", "changes", len(changes), "err", err)
		return // the primaries ask again
	}
	var rep subjects.ChangeReply
	if err := json.Unmarshal(m.Data, &rep); err != nil {
		s.log.Warn("the leader's answer does not parse", "err", err)
		return
	}
	if rep.Error != nil {
		s.log.Debug("ask for new configurations", "changes", len(changes), "err", rep.Error)
	}
	// It is nothing unusual: several members, or the managers, see the same
	// failure, and the first to ask wins.
	for _, r := range rep.Refused {
		s.log.Debug("a new configuration was refused", "partition", r.Partition, "epoch", r.Epoch, "why", r.Why)
	}
	if n := len(rep.Refused); n > 0 {
		s.log.Info("new configurations were refused", "count", n, "first", rep.Refused[0].Partition, "why", rep.Refused[0].Why)
		s.watch.Refresh()
	}
}

// fault tells the operator of damage.
func (s *Server) fault(p ring.Partition, e ring.Epoch, text string) {
	s.log.Error("damage", "partition", p, "epoch", e, "err", text)
	s.event(subjects.Event{Kind: subjects.EventDamage, Partition: &p, Epoch: e, Text: text})
}

func (s *Server) event(e subjects.Event) {
	e.Node, e.Time = s.name, time.Now().UnixMilli()
	data, err := json.Marshal(e)
	if err == nil {
		err = s.bus.Publish(s.o.Cluster.Event(e.Kind), data)
	}
	if err != nil {
		s.log.Debug("event", "kind", e.Kind, "err", err)
	}
}

// heed ends this process if the managers say that its store is another's: it
// runs on a copy of a folder, or was taken for dead and has a successor.
func (s *Server) heed() error {
	sub, err := s.bus.Subscribe(s.o.Cluster.Event(subjects.EventRefused), func(m *bus.Msg) {
		var e subjects.Event
		if json.Unmarshal(m.Data, &e) == nil && e.Process == s.process() {
			s.fail(fmt.Errorf("store %s: %s", s.o.Dir, e.Text))
		}
	})
	if err != nil {
		return err
	}
	s.stops = append(s.stops, sub.Close)
	return nil
}

// serve offers the node's own commands and the table to whoever asks.
func (s *Server) serve() error {
	c := s.o.Cluster
	stop, err := s.bus.Service(bus.ServiceOptions{
		Name: "kumo-server", Version: semver(s.o.Version), Description: "keeps partitions of cluster " + string(c),
		Metadata: map[string]string{"node": s.name, "id": s.store.ID().String(), "boot": s.boot.String()},
		Endpoints: []bus.Endpoint{
			{Name: "ring", Subject: c.RingGet(), Handler: func(req []byte, _ string) ([]byte, error) {
				return watch.Answer(s.Table(), req, ringPerPage), nil
			}},
			{Name: "copies", Subject: c.NodeAdmin(s.name, subjects.NodeCopies), Handler: func(req []byte, _ string) ([]byte, error) {
				return adminReply(s.copies(req))
			}},
			{Name: "stat", Subject: c.NodeAdmin(s.name, subjects.NodeStat), Handler: func([]byte, string) ([]byte, error) {
				return adminReply(s.stat(), nil)
			}},
		},
	})
	if err != nil {
		return err
	}
	s.stops = append(s.stops, stop)
	return nil
}

func adminReply(data any, err error) ([]byte, error) {
	rep := subjects.AdminReply{Error: subjects.ToWire(err)}
	if err == nil {
		raw, err := json.Marshal(data)
		if err != nil {
			return nil, err
		}
		rep.Data = raw
	}
	return json.Marshal(rep)
}

// semver makes a version that a NATS service accepts.
func semver(v string) string {
	if v == "" || v[0] < '0' || v[0] > '9' {
		return "0.0.0"
	}
	return v
}
