package kumomanager

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
)

// strayAfter is for how long a manager that has no vote, and does not wait for
// one, is heard before it is told that it was removed.
const strayAfter = 3 * time.Second

// voterChange is an operator's change of the managers, and who waits for it.
type voterChange struct {
	groom
	text string
	sent bool
	done []func(subjects.AdminDone, error)
}

func (v *voterChange) end(err error) {
	for _, done := range v.done {
		done(subjects.AdminDone{Text: v.text}, err)
	}
}

// manage takes an operator's change of the managers. One at a time: who asks for
// the one that is under way waits for it, too.
func (s *seat) manage(req subjects.ManagerRequest, now time.Time, done func(subjects.AdminDone, error)) {
	if s.core.witness {
		done(subjects.AdminDone{}, fmt.Errorf("%w: no manager is up; a server stands in and changes no managers", subjects.ErrUnavailable))
		return
	}
	g, text, err := s.core.managerChange(req, s.o.name, s.quorum.Voters(), now)
	switch {
	case err != nil || g == groom{}:
		done(subjects.AdminDone{Text: text}, err)
	case s.change == nil:
		s.change = &voterChange{groom: g, text: text, done: []func(subjects.AdminDone, error){done}}
	case s.change.groom != g:
		done(subjects.AdminDone{}, fmt.Errorf("%w: another change of the managers is under way", subjects.ErrUnavailable))
	case len(s.change.done) >= maxWaiting:
		done(subjects.AdminDone{}, fmt.Errorf("%w: too many commands wait", subjects.ErrUnavailable))
	default:
		s.change.done = append(s.change.done, done)
	}
}

// dropChange ends what an operator waits for, because this voter leads no more.
func (s *seat) dropChange() {
	if s.change != nil {
		s.change.end(subjects.ErrNotLeader)
		s.change = nil
	}
}

// managerChange is the change of voters that a request comes to; none, with what
// there is to say, if it is made already.
func (c *core) managerChange(req subjects.ManagerRequest, self string, voters []string, now time.Time) (g groom, text string, err error) {
	managers := slices.DeleteFunc(slices.Clone(voters), isWitness)
	if (req.Add == "") == (req.Remove == "") {
		return g, "", fmt.Errorf("%w: name one manager to add, or one to remove", subjects.ErrBadRequest)
	}
	if req.Add != "" {
		return c.addManager(req.Add, managers)
	}
	name := subjects.NodeName(req.Remove)
	if !slices.Contains(managers, name) {
		if _, heard := c.members.Others()[name]; heard {
			return g, name + " is no manager any more", nil
		}
		return g, "", fmt.Errorf("%w %s: the managers are %s", subjects.ErrUnknownNode, req.Remove, shorten(managers))
	}
	if len(managers) == 1 {
		return g, "", fmt.Errorf("%w: %s is the only manager; add another first", subjects.ErrRefused, name)
	}
	left := slices.DeleteFunc(slices.Clone(voters), func(v string) bool { return v == name })
	up := 0
	for _, v := range left {
		if v == self || c.voterUp(v, now) {
			up++
		}
	}
	if 2*up <= len(left) {
		return g, "", fmt.Errorf("%w: only %d of the %d other voters are up, which is no majority", subjects.ErrRefused, up, len(left))
	}
	g.remove = name
	if name == self {
		if g.heir = c.heir(left, now); g.heir == "" {
			return groom{}, "", fmt.Errorf("%w: %s leads, and no other manager is up to date", subjects.ErrRefused, name)
		}
	}
	return g, name + " is no manager any more; it ends by itself", nil
}

func (c *core) addManager(addr string, managers []string) (g groom, text string, err error) {
	name := subjects.NodeName(addr)
	if slices.Contains(managers, name) {
		return g, name + " is a manager", nil
	}
	m, heard := c.members.Others()[name]
	switch {
	case !heard || m.Role != subjects.RoleManager || m.State != rebalance.Up:
		return g, "", fmt.Errorf("%w %s: start it with --join, and -p for the managers there are: %s", subjects.ErrUnknownNode, addr, shorten(managers))
	case !m.Joining:
		return g, "", fmt.Errorf("%w: %s has a log of its own: start it on an empty folder with --join", subjects.ErrRefused, name)
	case len(managers) >= maxManagers:
		return g, "", fmt.Errorf("%w: there are %d managers, the most that there can be", subjects.ErrRefused, len(managers))
	}
	return groom{add: name}, name + " is a manager", nil
}

// voterUp reports whether another voter is heard.
func (c *core) voterUp(voter string, now time.Time) bool {
	if !isWitness(voter) {
		m, ok := c.members.Others()[voter]
		return ok && m.State == rebalance.Up
	}
	return slices.ContainsFunc(c.candidates(now), func(s candidate) bool { return WitnessID(s.id) == voter && s.up })
}

// stray is a manager that goes on although it has no vote and waits for none: it
// was removed and has not heard of it. "" if there is none.
func (c *core) stray(members []string, now time.Time) string {
	for _, name := range slices.Sorted(maps.Keys(c.members.Others())) {
		m := c.members.Others()[name]
		if m.Role == subjects.RoleManager && m.State == rebalance.Up && !m.Joining && m.ClusterID != 0 &&
			c.at(now)-m.Changed > int64(strayAfter) && !slices.Contains(members, name) {
			return name
		}
	}
	return ""
}

// evict tells a manager that it was removed, if that is so for sure.
func (s *seat) evict(ctx context.Context, name string) error {
	if err := s.quorum.Barrier(ctx); err != nil {
		return err
	}
	if slices.Contains(s.quorum.Voters(), name) || slices.Contains(s.quorum.Learners(), name) {
		return nil
	}
	req, err := json.Marshal(subjects.RemovedRequest{Cluster: s.machine.table.Load().ClusterID})
	if err == nil {
		_, err = s.o.bus.Request(ctx, s.o.cluster.NodeAdmin(name, subjects.NodeRemoved), req)
	}
	return err
}

// removed notes in the folder that this manager was removed, and has it stop.
func (m *Manager) removed(data []byte) (subjects.AdminDone, error) {
	var req subjects.RemovedRequest
	if err := json.Unmarshal(data, &req); err != nil {
		return subjects.AdminDone{}, fmt.Errorf("%w: %w", subjects.ErrBadRequest, err)
	}
	if err := m.folder.retire(req.Cluster); err != nil {
		return subjects.AdminDone{}, err
	}
	m.log.Warn("this manager was removed from its cluster and ends; its folder is of no more use")
	m.askStop()
	return subjects.AdminDone{Nodes: []string{m.name}, Text: "stopping"}, nil
}

func (m *Manager) askStop() {
	select {
	case m.stopAsk <- struct{}{}:
	default:
	}
}

// joining reports whether this manager waits to be given a vote.
func (m *Manager) joining() bool { return m.folder.identity().Joined && !m.seat.quorum.Started() }
