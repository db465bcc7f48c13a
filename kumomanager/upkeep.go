package kumomanager

import (
	"context"
	"slices"
	"time"

	"github.com/etolabo/kumofs/subjects"
)

const (
	groomEvery = 500 * time.Millisecond
	groomWait  = 10 * time.Second
)

// groom is a step of the voters' upkeep; one field is set, or remove with the heir
// of who leads and is to go.
type groom struct{ add, remove, heir, evict string }

// groomed is what became of one.
type groomed struct {
	groom
	err error
}

// upkeep has the voters looked after: a manager that leads gives servers votes
// and takes them back, a witness that leads looks for a manager to hand over to.
func (s *seat) upkeep(now time.Time) {
	if c := s.change; c != nil && !s.grooming && !c.sent {
		c.sent, s.grooming = true, true
		s.grooms <- c.groom
		return
	}
	if s.grooming || now.Sub(s.groomAt) < groomEvery || s.core.table.Size() == 0 {
		return
	}
	s.groomAt = now
	voters := s.quorum.Voters()
	var g groom
	if s.core.witness {
		g.heir = s.core.heir(voters, now)
	} else {
		managers := 0
		for _, v := range voters {
			if !isWitness(v) {
				managers++
			}
		}
		if g.evict = s.core.stray(slices.Concat(voters, s.quorum.Learners()), now); g.evict == "" {
			g.add, g.remove = nextVoter(managers, voters, s.core.candidates(now))
		}
	}
	if g != (groom{}) {
		s.grooming = true
		s.grooms <- g
	}
}

// groom does what upkeep decides, which may take long.
func (s *seat) groom() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case g := <-s.grooms:
			err := s.groomOne(g)
			if err != nil && s.ctx.Err() == nil {
				s.log.Info("the voters could not be changed yet", "add", g.add, "remove", g.remove, "heir", g.heir, "evict", g.evict, "err", err)
			}
			select {
			case s.groomed <- groomed{g, err}:
			case <-s.ctx.Done():
				return
			}
		}
	}
}

func (s *seat) groomOne(g groom) (err error) {
	ctx, cancel := context.WithTimeout(s.ctx, groomWait)
	defer cancel()
	switch {
	case g.evict != "":
		return s.evict(ctx, g.evict)
	case g.heir != "" && g.remove != "": // the next leader removes this one
		if err = s.quorum.TransferLeadership(ctx, g.heir); err == nil {
			err = subjects.ErrNotLeader
		}
	case g.heir != "":
		err = s.quorum.TransferLeadership(ctx, g.heir)
	case g.add != "":
		err = s.quorum.AddVoter(ctx, g.add)
	case g.remove != "":
		err = s.quorum.RemoveVoter(ctx, g.remove)
	}
	if err == nil {
		s.log.Info("the voters have changed", "add", g.add, "remove", g.remove, "heir", g.heir)
	}
	return err
}

// groomDone takes the outcome of a step.
func (s *seat) groomDone(out groomed) {
	s.grooming = false
	if c := s.change; c != nil && c.sent && c.groom == out.groom {
		s.change = nil
		if out.err != nil {
			out.err = translate(out.err)
		}
		c.end(out.err)
	}
}
