package kumomanager

import (
	"fmt"
	"slices"
	"time"

	"github.com/etolabo/kumofs/kumomanager/members"
	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const (
	// heartbeat is how often every node says that it lives.
	heartbeat = time.Duration(members.HeartbeatEvery)
	// A server that was taken out as silent although it is up gets no new copies
	// for so long.
	restAfterSilence = time.Second
	// A new primary is given so long to have its epoch promised by the one before,
	// who then may leave.
	settleAfter = 500 * time.Millisecond
	// At most so many primaries change in each period only for balance.
	shiftEvery   = 250 * time.Millisecond
	shiftsAtOnce = 8
	// One command carries at most so many changes, and targets, and half as many
	// servers, to stay well below what a message of the log holds.
	maxPerCommand = 512
	// Requests that wait to be decided; more are refused.
	maxWaiting = 1024
)

// settings are what decisions depend on, beside the table.
type settings struct {
	init         ring.Init
	learners     int           // copies under way to or from one server
	failAfter    time.Duration // silence
	replaceDelay time.Duration // with auto-replace: from a change to a new plan
	lostAfter    time.Duration // with auto-replace: a server that is down for so long is planned around
	witness      bool          // keeps partitions served and plans nothing
}

// core decides what the leader does. Events come in through its methods, next
// gives the command to propose. It is owned by one goroutine and neither waits
// nor knows a clock.
type core struct {
	settings
	table   *ring.Table // as applied, never nil
	members *members.Roster
	began   time.Time
	leading bool // this manager leads and has applied all that was committed before
	busy    bool // a command is under way
	asked   []*asked
	orders  []*order
	plan    []ring.Target // wishes that did not fit into the command that began them
	resting map[ring.NodeID]time.Time
	moved   map[ring.Partition]time.Time // partitions whose lead has just moved
	shifts  int                          // left in this period
	shifted time.Time
	auto    autoplan
	pace    pace
	looked  *ring.Table // that next saw last
	// said is what servers have said of their copies of partitions that nobody
	// leads; unsure are those of which it must be asked, stuck all of them.
	said          map[ring.Partition]map[ring.NodeID]saidCopy
	unsure, stuck []ring.Partition
}

// asked is a ChangeRequest that waits. done is called once.
type asked struct {
	req  subjects.ChangeRequest
	done func(refused []ring.Refusal, err error)
}

// order is an operator's command that waits. done is called once.
type order struct {
	verb    string
	req     subjects.AdminRequest
	set     ring.Settings           // of AdminSet
	events  subjects.EventsRequest  // of AdminEvents
	manager subjects.ManagerRequest // of AdminManager
	// Of AdminRecover, with what the servers have of the partition.
	recover subjects.RecoverRequest
	said    []saidCopy
	done    func(subjects.AdminDone, error)
}

// proposal is a command with what its outcome is needed for.
type proposal struct {
	command ring.Command
	finish  []func(err error) // call each with the outcome
}

func newCore(s settings, now time.Time) *core {
	return &core{
		settings: s, table: &ring.Table{}, members: members.New(int64(s.failAfter), 1), began: now,
		resting: map[ring.NodeID]time.Time{}, moved: map[ring.Partition]time.Time{},
		said: map[ring.Partition]map[ring.NodeID]saidCopy{},
	}
}

// at is a time as members want it.
func (c *core) at(now time.Time) int64 { return int64(now.Sub(c.began)) + 1 }

// tables takes the newest table.
func (c *core) tables(t *ring.Table, now time.Time) {
	for p := range c.table.Size() {
		if was := c.table.Partitions[p].Primary; p < t.Size() && !was.Zero() && was != t.Partitions[p].Primary {
			c.moved[ring.Partition(p)] = now
		}
	}
	c.table = t
	c.members.Know(t, c.at(now))
}

// lead begins a term as leader, everything committed being applied.
func (c *core) lead(now time.Time) {
	c.leading, c.busy, c.plan, c.pace = true, false, nil, pace{}
	c.shifts, c.shifted = shiftsAtOnce, now
	c.members.Lead(c.at(now))
}

// follow ends it: whoever waits is told to ask again, in time the next leader.
func (c *core) follow() {
	c.leading, c.busy, c.plan = false, false, nil
	for _, a := range c.asked {
		a.done(nil, subjects.ErrNoLeader)
	}
	for _, o := range c.orders {
		o.done(subjects.AdminDone{}, subjects.ErrNoLeader)
	}
	c.asked, c.orders = nil, nil
}

// ask takes a request for new configurations.
func (c *core) ask(a *asked) {
	switch {
	case !c.leading:
		a.done(nil, subjects.ErrNotLeader)
	case c.table.Size() == 0:
		a.done(nil, subjects.ErrNoCluster)
	case a.req.Cluster != c.table.ClusterID:
		a.done(nil, fmt.Errorf("%w: the request is of cluster %s", subjects.ErrBadRequest, a.req.Cluster))
	case len(a.req.Changes) > maxPerCommand:
		a.done(nil, fmt.Errorf("%w: %d changes at once, at most %d", subjects.ErrBadRequest, len(a.req.Changes), maxPerCommand))
	case len(c.asked) >= maxWaiting:
		a.done(nil, fmt.Errorf("%w: too many requests wait", subjects.ErrUnavailable))
	default:
		c.asked = append(c.asked, a)
	}
}

// command takes an operator's order.
func (c *core) command(o *order) {
	switch {
	case !c.leading:
		o.done(subjects.AdminDone{}, subjects.ErrNotLeader)
	case c.witness:
		o.done(subjects.AdminDone{}, fmt.Errorf("%w: no manager is up; a server stands in and plans nothing", subjects.ErrUnavailable))
	case c.table.Size() == 0:
		o.done(subjects.AdminDone{}, subjects.ErrNoCluster)
	case len(c.orders) >= maxWaiting:
		o.done(subjects.AdminDone{}, fmt.Errorf("%w: too many commands wait", subjects.ErrUnavailable))
	default:
		c.orders = append(c.orders, o)
	}
}

// done takes the outcome of the command that next gave.
func (c *core) done(p *proposal, err error) {
	c.busy = false
	if err != nil {
		c.auto.done = nil // what was planned may not be there: look again
	}
	for _, f := range p.finish {
		f(err)
	}
}

// next returns the command to propose now, nil if there is nothing to do. After
// it, done must be called before next gives another.
func (c *core) next(now time.Time) *proposal {
	if !c.leading || c.busy {
		return nil
	}
	c.looked = c.table
	c.members.NoNews()
	if c.table.Size() == 0 {
		if c.witness {
			return nil
		}
		c.busy = true
		return &proposal{command: ring.Command{Init: &c.init}}
	}
	d := &draft{table: c.table}
	c.members.LetGo(c.table, c.at(now))
	seen, down := c.members.Changes(c.table)
	d.step(ring.Command{Seen: seen[:min(len(seen), maxPerCommand/2)], Down: down})
	c.takeOrder(d, now)
	if !c.witness {
		c.autoPlan(d, now)
	}
	c.takeTargets(d)
	view := c.view(d.table, now)
	c.takeAsked(d, view, now)
	c.reconcile(d, view, now)
	c.forget(d, now)
	if !d.any {
		d.finishNow()
		return nil
	}
	c.busy = true
	return &proposal{command: d.Command, finish: d.finish}
}

// pressing reports whether next has news to look at. What time alone makes due
// can wait for a moment.
func (c *core) pressing() bool {
	return c.members.News() || c.table != c.looked || len(c.asked)+len(c.orders)+len(c.plan) > 0
}

// draft is a command in the making, with the table that it will make.
type draft struct {
	ring.Command
	table  *ring.Table
	any    bool
	finish []func(error)
}

// step adds a part to the command, if it changes anything. Parts must come in
// the order in which a command takes effect.
func (d *draft) step(part ring.Command) ring.Result {
	next, res, err := d.table.Apply(part)
	if err != nil || next == d.table {
		return res
	}
	d.any, d.table = true, next
	d.Seen = append(d.Seen, part.Seen...)
	d.Down = append(d.Down, part.Down...)
	d.Attach = append(d.Attach, part.Attach...)
	d.Detach = append(d.Detach, part.Detach...)
	d.Drain = append(d.Drain, part.Drain...)
	d.Target = append(d.Target, part.Target...)
	for _, ch := range part.Change {
		if slices.Contains(res.Done, ch.Partition) {
			d.Change = append(d.Change, ch)
		}
	}
	d.Forget = append(d.Forget, part.Forget...)
	if part.Settings != nil {
		d.Settings = part.Settings
	}
	return res
}

// finishNow answers those who asked for nothing that takes a command.
func (d *draft) finishNow() {
	for _, f := range d.finish {
		f(nil)
	}
}

// view is what partitions are decided from.
func (c *core) view(t *ring.Table, now time.Time) rebalance.View {
	if now.Sub(c.shifted) >= shiftEvery {
		c.shifts, c.shifted = shiftsAtOnce, now
	}
	v := rebalance.View{
		Table: t, Nodes: c.members.Status(c.at(now)), Learners: c.learners, Shifts: c.shifts, FailoverOnly: c.witness,
	}
	v.Copies = c.copies(t, v.Nodes)
	for p, at := range c.moved {
		if now.Sub(at) > settleAfter {
			delete(c.moved, p)
			continue
		}
		if v.Moved == nil {
			v.Moved = map[ring.Partition]bool{}
		}
		v.Moved[p] = true
	}
	for id, since := range c.resting {
		if now.Sub(since) > restAfterSilence {
			delete(c.resting, id)
			continue
		}
		s := v.Nodes[id]
		s.Resting = true
		v.Nodes[id] = s
	}
	return v
}

// takeTargets puts as many wishes into the command as fit.
func (c *core) takeTargets(d *draft) {
	n := min(len(c.plan), maxPerCommand)
	d.step(ring.Command{Target: c.plan[:n:n]})
	c.plan = c.plan[n:]
}

// takeAsked judges what primaries ask for and puts it into the command.
func (c *core) takeAsked(d *draft, v rebalance.View, now time.Time) {
	taken := map[ring.Partition]bool{}
	for len(c.asked) > 0 && len(d.Change)+len(c.asked[0].req.Changes) <= maxPerCommand {
		a := c.asked[0]
		c.asked = c.asked[1:]
		var refused []ring.Refusal
		var changes []ring.Change
		for _, ch := range a.req.Changes {
			judged, why := rebalance.Judge(v, a.req.From, ch)
			if why == "" && taken[ch.Partition] {
				why = "another change of the partition is under way"
			}
			if why != "" {
				refused = append(refused, ring.Refusal{Partition: ch.Partition, Epoch: epochOf(d.table, ch.Partition), Why: why})
				continue
			}
			taken[ch.Partition] = true
			changes = append(changes, judged)
		}
		res := d.step(ring.Command{Change: changes})
		refused = append(refused, res.Refused...)
		d.finish = append(d.finish, func(err error) { a.done(refused, err) })
		for _, ch := range changes {
			c.rest(v, ch, now)
		}
	}
}

func epochOf(t *ring.Table, p ring.Partition) ring.Epoch {
	if int(p) < t.Size() {
		return t.Partitions[p].Epoch
	}
	return 0
}

// rest notes servers that a primary has taken out although they are up.
func (c *core) rest(v rebalance.View, ch ring.Change, now time.Time) {
	old := v.Table.Partitions[ch.Partition]
	next := ring.Config{ISR: ch.ISR, Learners: ch.Learners}
	for _, id := range old.ISR {
		if !next.Holds(id) && v.Nodes[id].State == rebalance.Up {
			c.resting[id] = now
		}
	}
}

// reconcile adds what the partitions need, except where a primary has asked for
// something already.
func (c *core) reconcile(d *draft, v rebalance.View, now time.Time) {
	v.Table = d.table
	out := rebalance.Reconcile(v)
	c.stuck, c.unsure = out.Stuck, out.Unsure
	asked := map[ring.Partition]bool{}
	for _, ch := range d.Change {
		asked[ch.Partition] = true
	}
	var changes []ring.Change
	for _, ch := range out.Changes {
		if !asked[ch.Partition] && len(d.Change)+len(changes) < maxPerCommand {
			changes = append(changes, ch)
		}
	}
	if len(changes) == 0 {
		return
	}
	c.shifts -= out.Shifts
	d.step(ring.Command{Change: changes})
}

// forget drops servers that hold nothing, have been down for long and were not
// attached.
func (c *core) forget(d *draft, now time.Time) {
	if c.witness {
		return
	}
	var ids []ring.NodeID
	for _, n := range d.table.Nodes {
		if !n.Up && !n.Attached && c.members.DownFor(n.ID, c.at(now)) > members.ForgetAfter && !holdsAnything(d.table, n.ID) {
			ids = append(ids, n.ID)
		}
	}
	d.step(ring.Command{Forget: ids})
}

func holdsAnything(t *ring.Table, id ring.NodeID) bool {
	for _, p := range t.Partitions {
		if p.Holds(id) || slices.Contains(p.Target, id) {
			return true
		}
	}
	return false
}
