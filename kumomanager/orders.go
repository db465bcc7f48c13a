package kumomanager

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// takeOrder puts the oldest order into the command. One at a time: each sees
// what the last has made.
func (c *core) takeOrder(d *draft, now time.Time) {
	if len(c.orders) == 0 || len(c.plan) > 0 {
		return
	}
	o := c.orders[0]
	c.orders = c.orders[1:]
	done, err := c.obey(o, d, now)
	if err != nil {
		o.done(subjects.AdminDone{}, err)
		return
	}
	d.finish = append(d.finish, func(err error) { o.done(done, err) })
}

// obey adds what an order takes to the command.
func (c *core) obey(o *order, d *draft, now time.Time) (subjects.AdminDone, error) {
	switch o.verb {
	case subjects.AdminAttach:
		return c.attach(o.req, d, now)
	case subjects.AdminDetach:
		return c.detach(o.req, d, now)
	case subjects.AdminDrain:
		return c.drain(o.req, d, now)
	case subjects.AdminRecover:
		return c.recover(o, d, now)
	case subjects.AdminReplace:
		moves := c.replan(d, now)
		return subjects.AdminDone{Moves: moves, Text: planned(d.table, moves)}, nil
	case subjects.AdminSet:
		if r := o.set.MoveRate; r != nil && *r != ring.BoundMoveRate(*r) {
			return subjects.AdminDone{}, fmt.Errorf("%w: a move rate of %d bytes a second: want 0 or %d to %d", subjects.ErrBadRequest, *r, ring.MinMoveRate, int64(ring.MaxMoveRate))
		}
		d.step(ring.Command{Settings: &o.set})
		return subjects.AdminDone{Text: fmt.Sprintf("auto-replace %s, moves %s, %s", onOff(d.table.AutoReplace), goOn(d.table.Paused), rateText(d.table.MoveRate))}, nil
	}
	return subjects.AdminDone{}, fmt.Errorf("%w: no such command: %s", subjects.ErrBadRequest, o.verb)
}

// attach gives servers their share: those named, or all that are up and new. One
// that is named and was to be emptied is filled again.
func (c *core) attach(req subjects.AdminRequest, d *draft, now time.Time) (subjects.AdminDone, error) {
	nodes, err := choose(d.table, req.Nodes, func(n ring.Node) bool { return n.Up && !n.Attached })
	if err != nil {
		return subjects.AdminDone{}, err
	}
	nodes = slices.DeleteFunc(nodes, func(n ring.Node) bool { return n.Attached && !n.Draining })
	for _, n := range nodes {
		if !n.Up {
			return subjects.AdminDone{}, fmt.Errorf("%w: %s is down", subjects.ErrRefused, n.Name)
		}
	}
	d.step(ring.Command{Attach: ids(nodes)})
	done := subjects.AdminDone{Nodes: names(nodes)}
	if !req.NoReplace && (len(nodes) > 0 || !everPlaced(d.table)) {
		done.Moves = c.replan(d, now)
	}
	if done.Text = "no new servers to attach"; len(nodes) > 0 {
		done.Text = fmt.Sprintf("%d attached", len(nodes)) + suffix(d.table, req, done.Moves)
	}
	return done, nil
}

// detach takes all partitions from servers: those named, or all that are down.
// What they hold is copied elsewhere first; a server that is down and has the
// only copy of something is kept.
func (c *core) detach(req subjects.AdminRequest, d *draft, now time.Time) (subjects.AdminDone, error) {
	nodes, err := choose(d.table, req.Nodes, func(n ring.Node) bool { return !n.Up && n.Attached })
	if err != nil {
		return subjects.AdminDone{}, err
	}
	nodes = slices.DeleteFunc(nodes, func(n ring.Node) bool { return !n.Attached })
	if err := mayLeave(d.table, nodes); err != nil {
		return subjects.AdminDone{}, err
	}
	d.step(ring.Command{Detach: ids(nodes)})
	done := subjects.AdminDone{Nodes: names(nodes)}
	if !req.NoReplace && len(nodes) > 0 {
		done.Moves = c.replan(d, now)
	}
	if done.Text = "no servers to detach"; len(nodes) > 0 {
		done.Text = fmt.Sprintf("%d detached", len(nodes)) + suffix(d.table, req, done.Moves)
	}
	return done, nil
}

// drain empties servers while they serve: leads first, and copies once others
// have them. They stay attached and are planned around until they are attached
// again, or detached.
func (c *core) drain(req subjects.AdminRequest, d *draft, now time.Time) (subjects.AdminDone, error) {
	if len(req.Nodes) == 0 {
		return subjects.AdminDone{}, fmt.Errorf("%w: which server is to be emptied?", subjects.ErrBadRequest)
	}
	nodes, err := choose(d.table, req.Nodes, nil)
	if err != nil {
		return subjects.AdminDone{}, err
	}
	for _, n := range nodes {
		if !n.Attached {
			return subjects.AdminDone{}, fmt.Errorf("%w: %s is not attached", subjects.ErrRefused, n.Name)
		}
	}
	if err := mayLeave(d.table, nodes); err != nil {
		return subjects.AdminDone{}, err
	}
	d.step(ring.Command{Drain: ids(nodes)})
	done := subjects.AdminDone{Nodes: names(nodes)}
	done.Moves = c.replan(d, now)
	done.Text = fmt.Sprintf("%d draining", len(nodes)) + suffix(d.table, req, done.Moves)
	return done, nil
}

// mayLeave refuses to empty the last server, or the last that is up: nobody could
// take what it holds, and copies beside it would go as surplus. It refuses to
// empty dead ones with an only copy, too.
func mayLeave(t *ring.Table, leaving []ring.Node) error {
	leaves := func(id ring.NodeID) bool {
		return slices.ContainsFunc(leaving, func(n ring.Node) bool { return n.ID == id })
	}
	stay, up := 0, 0
	for _, n := range t.Nodes {
		if n.Attached && !n.Draining && !leaves(n.ID) {
			stay++
			if n.Up {
				up++
			}
		}
	}
	switch {
	case len(leaving) == 0:
	case stay == 0:
		return fmt.Errorf("%w: no server would be left", subjects.ErrRefused)
	case up == 0:
		return fmt.Errorf("%w: no server that is up would be left", subjects.ErrRefused)
	}
	var only []string
	for p, c := range t.Partitions {
		lost := len(c.ISR) > 0
		for _, id := range c.ISR {
			n, _ := t.Node(id)
			lost = lost && leaves(id) && !n.Up
		}
		if lost {
			only = append(only, fmt.Sprint(p))
		}
	}
	if len(only) > 0 {
		return fmt.Errorf("%w: the only copies of %d partitions would be given up (%s)", subjects.ErrRefused, len(only), shorten(only))
	}
	return nil
}

func shorten(list []string) string {
	const most = 16
	if len(list) > most {
		return strings.Join(list[:most], " ") + " …"
	}
	return strings.Join(list, " ")
}

// onHost returns the server of a host that has one, since ports that are the default's
// are left out where people can.
func onHost(t *ring.Table, host string) (found ring.Node, ok bool) {
	for _, n := range t.Nodes {
		if h, _, err := net.SplitHostPort(n.Addr); err == nil && h == host {
			switch {
			case ok && n.Addr != found.Addr:
				return ring.Node{}, false
			case !ok || n.Up: // one that was at the address in earlier times is no other
				found, ok = n, true
			}
		}
	}
	return found, ok
}

// choose finds the servers that a command names, by name, address, ID, or the host if
// it is the only one there; without names it is all that fit.
func choose(t *ring.Table, who []string, fits func(ring.Node) bool) ([]ring.Node, error) {
	var out []ring.Node
	if len(who) == 0 {
		for _, n := range t.Nodes {
			if fits(n) {
				out = append(out, n)
			}
		}
		return out, nil
	}
	for _, name := range who {
		n, ok := t.NodeNamed(name)
		if id, err := ring.ParseNodeID(name); !ok && err == nil {
			n, ok = t.Node(id)
		}
		if !ok {
			n, ok = onHost(t, name)
		}
		if !ok {
			return nil, fmt.Errorf("%w %s: there are %s", subjects.ErrUnknownNode, name, shorten(addresses(t.Nodes)))
		}
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out, nil
}

// replan places the partitions on the attached servers and returns how many
// copies that will move.
func (c *core) replan(d *draft, now time.Time) (moves int) {
	servers := c.eligible(d.table, now)
	if len(servers) == 0 {
		return 0
	}
	c.plan = rebalance.Targets(d.table, servers)
	for _, w := range c.plan {
		old := d.table.Partitions[w.Partition]
		for _, id := range w.Nodes {
			if old.Epoch > 0 && !old.HasISR(id) {
				moves++
			}
		}
	}
	return moves
}

// eligible are the servers that partitions are planned on: the attached ones,
// with auto-replace without those that are lost.
func (c *core) eligible(t *ring.Table, now time.Time) (out []rebalance.Server) {
	for _, n := range t.Nodes {
		lost := t.AutoReplace && c.members.DownFor(n.ID, c.at(now)) > int64(c.lostAfter)
		if n.Attached && !n.Draining && !lost {
			out = append(out, rebalance.Server{ID: n.ID, Zone: n.Zone})
		}
	}
	return out
}

func everPlaced(t *ring.Table) bool {
	for _, c := range t.Partitions {
		if len(c.Target) > 0 {
			return true
		}
	}
	return false
}

func names(nodes []ring.Node) (out []string) {
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return out
}

func addresses(nodes []ring.Node) (out []string) {
	for _, n := range nodes {
		out = append(out, n.Addr)
	}
	slices.Sort(out)
	if len(out) == 0 {
		out = []string{"no servers"}
	}
	return out
}

func ids(nodes []ring.Node) (out []ring.NodeID) {
	for _, n := range nodes {
		out = append(out, n.ID)
	}
	return out
}

func suffix(t *ring.Table, req subjects.AdminRequest, moves int) string {
	if req.NoReplace {
		return ", partitions stay where they are"
	}
	return ", " + planned(t, moves)
}

// planned says what a plan comes to, and what stands in its way.
func planned(t *ring.Table, moves int) string {
	text := "nothing to move"
	if moves > 0 {
		text = fmt.Sprintf("%d copies to move", moves)
	}
	if t.Paused {
		text += "; moves are paused (kumoctl resume)"
	}
	stay := 0
	for _, n := range t.Nodes {
		if n.Attached && !n.Draining {
			stay++
		}
	}
	if stay < t.Replicas {
		text += fmt.Sprintf("; %d servers for %d copies of everything", stay, t.Replicas)
	}
	return text
}

// rateText says how fast copies may be sent.
func rateText(rate int64) string {
	if rate == 0 {
		return "as fast as they can"
	}
	return fmt.Sprintf("at %g MB/s from each server at most", float64(rate)/1e6)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func goOn(paused bool) string {
	if paused {
		return "paused"
	}
	return "going on"
}
