// Package admin is a cluster as its operator sees it: commands to the leader
// and to single nodes, the status and the partition table.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"github.com/etolabo/kumofs/subjects/watch"
)

// How long to wait before asking again: for a connection, and for an answer
// while the managers elect a leader.
const (
	connectPause = 20 * time.Millisecond
	retryPause   = 100 * time.Millisecond
	attempt      = time.Second // one request, of several that a command may send
)

// Client is a connection to a cluster.
type Client struct {
	bus     *bus.Bus
	cluster subjects.Cluster
	at      string
	secured bool
}

// Options say which cluster. Managers (any member of the mesh, in fact) are
// host:port.
type Options struct {
	Cluster  string
	Managers []string
	Security *bus.Security // credentials; nil for none
	Log      *slog.Logger  // nil for none
}

// Dial prepares a connection; it does not wait for it. Close ends it.
func Dial(o Options) (*Client, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	at := strings.Join(o.Managers, ", ")
	b, err := bus.Dial(bus.DialOptions{Name: "kumoctl", URLs: o.Managers, Security: o.Security, Log: o.Log})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", at, err)
	}
	return &Client{bus: b, cluster: subjects.Cluster(o.Cluster), at: at, secured: o.Security != nil}, nil
}

// Close hangs up. It may be called twice.
func (c *Client) Close() error { return c.bus.Close() }

// Connect waits for the connection. Without one in time the error is
// subjects.ErrUnavailable.
func (c *Client) Connect(ctx context.Context) error {
	for !c.bus.Connected() {
		if !pause(ctx, connectPause) {
			return fmt.Errorf("no manager answers at %s%s: %w", c.at, c.why(), subjects.ErrUnavailable)
		}
	}
	return nil
}

// why says what is known of the reason that there is no connection.
func (c *Client) why() string {
	err := c.bus.Trouble()
	switch {
	case err == nil:
		return ""
	case c.secured:
		return fmt.Sprintf(" (%v)", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return ""
	}
	return fmt.Sprintf(" (%v; where a cluster has credentials, --credentials is needed)", err)
}

// pause waits, or returns false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Do sends a command to the leader and decodes the answer's data into to,
// which may be nil. Commands are safe to repeat, and are until ctx ends while
// there is no leader.
func (c *Client) Do(ctx context.Context, verb string, req, to any) error {
	return c.ask(ctx, c.cluster.Admin(verb), req, to)
}

// Node sends a command to the manager or server of this name.
func (c *Client) Node(ctx context.Context, name, verb string, req, to any) error {
	return c.ask(ctx, c.cluster.NodeAdmin(name, verb), req, to)
}

// Gateway sends a command to the gateway of this name.
func (c *Client) Gateway(ctx context.Context, name, verb string, req, to any) error {
	return c.ask(ctx, c.cluster.GatewayAdmin(name, verb), req, to)
}

// Status returns the cluster as its leader sees it.
func (c *Client) Status(ctx context.Context) (*subjects.ClusterStatus, error) {
	var st subjects.ClusterStatus
	if err := c.Do(ctx, subjects.AdminStatus, nil, &st); err != nil {
		return nil, err
	}
	return &st, nil
}

// Events returns what the leader remembers of what was told since a time.
func (c *Client) Events(ctx context.Context, since time.Time) ([]subjects.Event, error) {
	var rep subjects.EventsReport
	if err := c.Do(ctx, subjects.AdminEvents, subjects.EventsRequest{Since: since.UnixMilli()}, &rep); err != nil {
		return nil, err
	}
	return rep.Events, nil
}

// Follow calls f with each event that is told from now on, one at a time, until
// the function that it returns is called.
func (c *Client) Follow(f func(subjects.Event)) (stop func() error, err error) {
	sub, err := c.bus.Subscribe(c.cluster.Event("*"), func(m *bus.Msg) {
		var e subjects.Event
		if json.Unmarshal(m.Data, &e) == nil {
			f(e)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen to events: %w", err)
	}
	return sub.Close, nil
}

// Attach gives the servers named, or all new ones, their share.
func (c *Client) Attach(ctx context.Context, nodes ...string) (*subjects.AdminDone, error) {
	var done subjects.AdminDone
	if err := c.Do(ctx, subjects.AdminAttach, subjects.AdminRequest{Nodes: nodes}, &done); err != nil {
		return nil, err
	}
	return &done, nil
}

func (c *Client) ask(ctx context.Context, subject string, req, to any) error {
	body, err := encode(req)
	if err != nil {
		return err
	}
	if err := c.Connect(ctx); err != nil {
		return err
	}
	for {
		err := c.once(ctx, attempt, subject, body, to)
		if err == nil || !again(err) || !pause(ctx, retryPause) {
			return plain(subject, err)
		}
	}
}

func encode(req any) ([]byte, error) {
	if req == nil {
		return nil, nil
	}
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return body, nil
}

func (c *Client) once(ctx context.Context, within time.Duration, subject string, body []byte, to any) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	m, err := c.bus.Request(ctx, subject, body)
	if err != nil {
		return err
	}
	var rep subjects.AdminReply
	if err := json.Unmarshal(m.Data, &rep); err != nil {
		return fmt.Errorf("the answer does not parse: %w", err)
	}
	if rep.Error != nil {
		return rep.Error
	}
	if to == nil {
		return nil
	}
	if err := json.Unmarshal(rep.Data, to); err != nil {
		return fmt.Errorf("the answer does not parse: %w", err)
	}
	return nil
}

// again reports whether an error may pass by itself.
func again(err error) bool {
	for _, e := range []error{
		bus.ErrTimeout, bus.ErrNoResponders, bus.ErrDisconnected,
		subjects.ErrNotLeader, subjects.ErrNoLeader, subjects.ErrNoCluster, subjects.ErrTimeout,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// plain says the bus's errors in an operator's words.
func plain(subject string, err error) error {
	switch {
	case errors.Is(err, bus.ErrTimeout):
		return fmt.Errorf("no answer on %s: %w", subject, subjects.ErrTimeout)
	case errors.Is(err, bus.ErrNoResponders):
		return fmt.Errorf("nobody serves %s (is the cluster's name right, have the managers a leader?): %w", subject, subjects.ErrUnavailable)
	case errors.Is(err, bus.ErrForbidden):
		return fmt.Errorf("%s: %w", subject, err)
	case errors.Is(err, bus.ErrDisconnected):
		return fmt.Errorf("the connection broke: %w", subjects.ErrUnavailable)
	}
	return err
}

// Table fetches the partition table.
func (c *Client) Table(ctx context.Context) (*ring.Table, error) {
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	got := make(chan *ring.Table, 1)
	w, err := watch.Start(watch.Options{Conn: watchConn{c.bus}, Cluster: c.cluster, OnTable: func(t *ring.Table) {
		select {
		case got <- t:
		default:
		}
	}})
	if err != nil {
		return nil, fmt.Errorf("ask for the partition table: %w", err)
	}
	defer w.Close()
	select {
	case t := <-got:
		return t, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nobody gives a partition table (is the cluster's name right, have the managers a leader?): %w", subjects.ErrTimeout)
	}
}

// watchConn is the bus as package watch needs it.
type watchConn struct{ *bus.Bus }

func (c watchConn) Subscribe(subject string, h func([]byte)) (func(), error) {
	s, err := c.Bus.Subscribe(subject, func(m *bus.Msg) { h(m.Data) })
	if err != nil {
		return nil, err
	}
	return func() { s.Close() }, nil
}

func (c watchConn) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	m, err := c.Bus.Request(ctx, subject, data)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}
