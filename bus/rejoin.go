package bus

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
)

// Rejoin makes the members tell each other of this one again, and connect to it
// where a route is missing. Two members that dial each other at the same moment
// may take each other's connection for the second of two and close both, and
// neither dials again: the route is then missing until one of them joins the
// mesh anew. Rejoin does that by dropping the route to one of the members that
// it was given, and making it again; another one each time. The two may dial
// each other at once again: about one time in ten the route is still missing
// seconds later, and Rejoin is to be repeated.
func (b *Bus) Rejoin() error {
	if b.srv == nil {
		return errors.New("a client has no routes")
	}
	b.reloading.Lock()
	defer b.reloading.Unlock()
	routes := b.srvOptions.Routes
	if len(routes) == 0 {
		return errors.New("no route was given")
	}
	b.rejoins++
	i := b.rejoins % len(routes)
	if err := b.reroute(slices.Delete(slices.Clone(routes), i, i+1)); err != nil {
		return err
	}
	return b.reroute(routes)
}

// reroute changes the members that are dialled for ever. The routes to those that
// are left out are closed.
func (b *Bus) reroute(routes []*url.URL) error {
	o := b.srvOptions.Clone()
	o.Routes = routes
	if err := b.srv.ReloadOptions(o); err != nil {
		return fmt.Errorf("change the routes of bus member %s: %w", b.name, err)
	}
	return nil
}

// reload has the embedded server take over what change does to its options, or
// leaves both as they were.
func (b *Bus) reload(change func()) error {
	b.reloading.Lock()
	defer b.reloading.Unlock()
	was := b.srvOptions.Clone()
	change()
	if err := b.srv.ReloadOptions(b.srvOptions.Clone()); err != nil {
		b.srvOptions = was
		return fmt.Errorf("change the options of bus member %s: %w", b.name, err)
	}
	return nil
}
