package kumomanager

import (
	"context"
	"time"
)

const (
	groomEvery = 500 * time.Millisecond
	groomWait  = 10 * time.Second
)

// groom is a step of the voters' upkeep; one field is set.
type groom struct{ add, remove, heir string }

// upkeep has the voters looked after: a manager that leads gives servers votes
// and takes them back, a witness that leads looks for a manager to hand over to.
func (s *seat) upkeep(now time.Time) {
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
		g.add, g.remove = nextVoter(managers, voters, s.core.candidates(now))
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
			if err := s.groomOne(g); err != nil && s.ctx.Err() == nil {
				s.log.Info("the voters could not be changed yet", "add", g.add, "remove", g.remove, "heir", g.heir, "err", err)
			}
			select {
			case s.groomed <- struct{}{}:
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
