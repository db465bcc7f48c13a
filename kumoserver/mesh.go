package kumoserver

import (
	"slices"
	"time"
)

const (
	meshEvery = time.Second
	// A server that the table calls up and that has had no route to this one for so
	// long will not get one by itself. The one whose name comes later in the order
	// waits longer, so that the two do not dial each other again at once.
	meshMissing = 4 * time.Second
	meshPatient = 8 * time.Second
	// Where joining again does not help it is tried ever more seldom: the server may
	// be gone while no manager can say so, or be out of reach for this one only.
	meshRare = time.Minute
)

// absence is since when routes to servers that are up are missing.
type absence struct {
	since map[string]time.Time     // or since it was tried last
	wait  map[string]time.Duration // for the next try
}

// look takes what is up and what has routes, and returns the servers for whose
// sake the mesh should be joined again, now. It then waits twice as long.
func (a *absence) look(self string, up []string, peers []string, now time.Time) (missing []string) {
	if a.since == nil {
		a.since, a.wait = map[string]time.Time{}, map[string]time.Duration{}
	}
	for name := range a.since {
		if !slices.Contains(up, name) {
			delete(a.since, name)
		}
	}
	for _, name := range up {
		// Without any route this server is cut off, and dials all the time.
		if name == self || len(peers) == 0 || slices.Contains(peers, name) {
			delete(a.since, name)
			continue
		}
		first, ok := a.since[name]
		if !ok {
			a.since[name], a.wait[name] = now, meshMissing
			if name < self {
				a.wait[name] = meshPatient
			}
			continue
		}
		if now.Sub(first) >= a.wait[name] {
			missing = append(missing, name)
			a.since[name], a.wait[name] = now, min(2*a.wait[name], meshRare)
		}
	}
	return missing
}

// keepMesh joins the mesh again where a route is missing that nobody makes.
func (s *Server) keepMesh() error {
	t := time.NewTicker(meshEvery)
	defer t.Stop()
	var a absence
	for {
		select {
		case <-s.ctx.Done():
			return nil
		case <-t.C:
		}
		table := s.watch.Table()
		if table == nil {
			continue
		}
		var up []string
		for _, n := range table.Nodes {
			if n.Up {
				up = append(up, n.Name)
			}
		}
		missing := a.look(s.name, up, s.bus.Peers(), time.Now())
		if len(missing) == 0 {
			continue
		}
		s.log.Warn("no route to servers that are up: joining the mesh again", "servers", missing)
		if err := s.bus.Rejoin(); err != nil {
			s.log.Warn("cannot join the mesh again", "err", err)
		}
	}
}
