package kumomanager

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/subjects/watch"
)

const (
	// An update that is larger is cut short; who needs it asks for the table.
	maxUpdate = 512 << 10
	// Partitions in one page of the table.
	ringPerPage = 1024
	// An operator's command is answered within so long, whatever came of it.
	orderWait = 5 * time.Second
	// A manager waits so long for the leader to which it passed a command on. It
	// is less than kumoctl waits.
	forwardWait = 900 * time.Millisecond
)

// verbs are the commands that every voter takes on its own subject, and the
// managers together on the cluster's.
var verbs = [...]string{
	subjects.AdminStatus, subjects.AdminAttach, subjects.AdminDetach, subjects.AdminReplace, subjects.AdminSet,
	subjects.AdminRecover, subjects.AdminDrain, subjects.AdminEvents,
	subjects.AdminManager,
}

// subscribe begins to listen.
func (s *seat) subscribe() error {
	c := s.o.cluster
	type entry struct {
		subject string
		h       func(*bus.Msg)
	}
	list := []entry{
		{c.Heartbeat("*"), s.heard},
		{c.GatewayHeartbeat("*"), s.heard},
		{c.RingChange(), s.changeAsked},
		{c.RingLatest(), func(m *bus.Msg) {
			if s.leads.Load() {
				s.answer(m.Reply, watch.Answer(s.machine.table.Load(), m.Data, ringPerPage))
			}
		}},
	}
	for _, verb := range verbs {
		list = append(list, entry{c.NodeAdmin(s.o.name, verb), func(m *bus.Msg) {
			s.answer(m.Reply, s.obey(verb, m.Data))
		}})
	}
	if !s.o.witness {
		list = append(list, entry{c.Event("*"), s.recent.heard})
	} else {
		list = append(list, entry{c.Admin(subjects.AdminStatus), s.statusAsked})
	}
	for _, e := range list {
		sub, err := s.o.bus.Subscribe(e.subject, e.h)
		if err != nil {
			return err
		}
		s.subs = append(s.subs, sub)
	}
	return nil
}

func (s *seat) answer(reply string, data []byte) {
	if reply == "" {
		return
	}
	if err := s.o.bus.Publish(reply, data); err != nil {
		s.log.Debug("answer not sent", "err", err)
	}
}

func (s *seat) heard(m *bus.Msg) {
	if !s.votes.Load() {
		return
	}
	var hb subjects.Heartbeat
	if err := json.Unmarshal(m.Data, &hb); err != nil {
		s.log.Debug("heartbeat does not parse", "subject", m.Subject, "err", err)
		return
	}
	if hb.Cluster != string(s.o.cluster) || !s.spokeFor(m.Subject, &hb) {
		return
	}
	s.do(func(now time.Time) { s.core.members.Hear(hb, s.core.at(now)) })
}

// spokeFor tells whether a heartbeat came on its node's own subject. Who may send on
// gateways' subjects may not speak for servers and managers.
func (s *seat) spokeFor(subject string, hb *subjects.Heartbeat) bool {
	c := s.o.cluster
	return subject == c.Heartbeat(hb.Node) || subject == c.GatewayHeartbeat(hb.Node) && hb.Role == subjects.RoleGateway
}

// changeAsked takes a primary's request. Only the leader answers; the others
// stay silent, since the first answer counts.
func (s *seat) changeAsked(m *bus.Msg) {
	if !s.leads.Load() {
		return
	}
	reply := m.Reply
	send := func(refused []ring.Refusal, err error) {
		data, e := json.Marshal(subjects.ChangeReply{Error: subjects.ToWire(err), Refused: refused})
		if e == nil {
			s.answer(reply, data)
		}
	}
	a := &asked{done: send}
	if err := json.Unmarshal(m.Data, &a.req); err != nil {
		send(nil, fmt.Errorf("%w: %w", subjects.ErrBadRequest, err))
		return
	}
	s.do(func(time.Time) { s.core.ask(a) })
}

// publish sends what has changed in the table to all, the first change at once
// and those that follow together. It returns how long that must wait.
func (s *seat) publish(now time.Time) (wait time.Duration) {
	t := s.core.table
	if t.Size() == 0 || t == s.published {
		return 0
	}
	if wait := publishEvery - now.Sub(s.publishAt); wait > 0 {
		return wait
	}
	u := t.Diff(s.published)
	data, err := json.Marshal(u)
	if err == nil && len(data) > maxUpdate {
		u.Changed, u.Next, u.Head.Nodes = nil, 1, nil
		data, err = json.Marshal(u)
	}
	if err == nil {
		err = s.o.bus.Publish(s.o.cluster.Ring(), data)
	}
	if err != nil {
		s.log.Warn("the ring could not be published", "err", err)
	}
	s.published, s.publishAt = t, now
	return 0
}

// tell publishes events, and logs them.
func (s *seat) tell(list []subjects.Event, now time.Time) {
	for _, e := range list {
		e.Time = now.UnixMilli()
		level := slog.LevelInfo
		if e.Kind == subjects.EventEpoch {
			level = slog.LevelDebug // there are many, and EventMove sums them up
		}
		s.log.Log(s.ctx, level, e.Text, "event", e.Kind)
		data, err := json.Marshal(e)
		if err == nil {
			err = s.o.bus.Publish(s.o.cluster.Event(e.Kind), data)
		}
		if err != nil {
			s.log.Debug("event not sent", "err", err)
		}
	}
}

// statusAsked lets a witness that leads answer for managers that are all down.
func (s *seat) statusAsked(m *bus.Msg) {
	if !s.leads.Load() {
		return
	}
	s.do(func(now time.Time) {
		for _, o := range s.core.members.Others() {
			if o.Role == subjects.RoleManager && o.State == rebalance.Up {
				return
			}
		}
		s.answer(m.Reply, adminReply(s.status(now), nil))
	})
}

// order takes a command wherever it arrives, and passes it on to the leader.
func (s *seat) order(verb string, req []byte) []byte {
	if s.leads.Load() {
		return s.obey(verb, req)
	}
	leader, ok := s.quorum.Leader()
	if !ok || leader == s.o.name {
		return adminReply(nil, subjects.ErrNoLeader)
	}
	ctx, cancel := context.WithTimeout(s.ctx, forwardWait)
	defer cancel()
	m, err := s.o.bus.Request(ctx, s.o.cluster.NodeAdmin(leader, verb), req)
	if err != nil {
		return adminReply(nil, fmt.Errorf("%w: %s, which leads, does not answer: %w", subjects.ErrNoLeader, leader, err))
	}
	return m.Data
}

// obey carries a command out, here, and returns the answer.
func (s *seat) obey(verb string, req []byte) []byte {
	answers := make(chan []byte, 1)
	done := func(data any, err error) {
		select {
		case answers <- adminReply(data, err):
		default: // answered already
		}
	}
	o := &order{verb: verb, done: func(d subjects.AdminDone, err error) { done(d, err) }}
	if err := s.prepare(o, req); err != nil {
		return adminReply(nil, err)
	}
	s.do(func(now time.Time) {
		switch {
		case !s.core.leading:
			done(nil, subjects.ErrNotLeader)
		case verb == subjects.AdminStatus:
			done(s.status(now), nil)
		case verb == subjects.AdminEvents:
			done(s.recent.since(o.events.Since), nil)
		case verb == subjects.AdminManager:
			s.manage(o.manager, now, o.done)
		default:
			s.core.command(o)
		}
	})
	t := time.NewTimer(orderWait)
	defer t.Stop()
	select {
	case data := <-answers:
		return data
	case <-t.C:
		return adminReply(nil, fmt.Errorf("%s: %w", verb, subjects.ErrTimeout))
	case <-s.ctx.Done():
		return adminReply(nil, subjects.ErrNotLeader)
	}
}

// prepare reads a command's arguments, and gathers what it is decided from.
func (s *seat) prepare(o *order, req []byte) error {
	if o.verb != subjects.AdminRecover {
		return parseOrder(o, req)
	}
	if !s.leads.Load() {
		return subjects.ErrNotLeader
	}
	return s.askAround(o, req)
}

// parseOrder reads a command's arguments; none at all is as good as an empty
// object.
func parseOrder(o *order, req []byte) error {
	if len(req) == 0 {
		return nil
	}
	to := any(&o.req)
	switch o.verb {
	case subjects.AdminSet:
		to = &o.set
	case subjects.AdminEvents:
		to = &o.events
	case subjects.AdminManager:
		to = &o.manager
	}
	if err := json.Unmarshal(req, to); err != nil {
		return fmt.Errorf("%w: %w", subjects.ErrBadRequest, err)
	}
	return nil
}

// status is the leader's, with voters under the names of their nodes.
func (s *seat) status(now time.Time) subjects.ClusterStatus {
	leader, _ := s.quorum.Leader()
	voters := s.quorum.Voters()
	for i, v := range voters {
		voters[i] = s.core.nodeName(v)
	}
	slices.Sort(voters)
	return s.core.status(s.core.nodeName(leader), voters, now)
}

// nodeName is the node that votes under a name.
func (c *core) nodeName(voter string) string {
	if !isWitness(voter) {
		return voter
	}
	id, err := ring.ParseNodeID(voter[len(witnessPrefix):])
	if n, ok := c.table.Node(id); ok && err == nil {
		return n.Name
	}
	return voter
}

// adminReply wraps an answer.
func adminReply(data any, err error) []byte {
	rep := subjects.AdminReply{Error: subjects.ToWire(err)}
	if err == nil {
		raw, e := json.Marshal(data)
		rep.Data, rep.Error = raw, subjects.ToWire(e)
	}
	out, err := json.Marshal(rep)
	if err != nil {
		return []byte(`{"error":{"code":"internal","message":"the answer does not encode"}}`)
	}
	return out
}
