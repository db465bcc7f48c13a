package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
)

// askWithin bounds a question to the cluster while it is in trouble.
const askWithin = 3 * time.Second

// nemeses carry out a plan.
type nemeses struct {
	cluster *local.Cluster
	net     *Network // nil: nothing can be cut
	began   time.Time
	hands   map[string]chan struct{} // by node: holds something while it is free

	mu       sync.Mutex
	timeline []string // guarded by mu
}

func newNemeses(c *local.Cluster, net *Network, shape Shape, began time.Time) *nemeses {
	n := &nemeses{cluster: c, net: net, began: began, hands: map[string]chan struct{}{}}
	for _, name := range shape.all() {
		n.hands[name] = make(chan struct{}, 1)
		n.hands[name] <- struct{}{}
	}
	return n
}

// say notes what is done, when it is done.
func (n *nemeses) say(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timeline = append(n.timeline, fmt.Sprintf("%9.3f %s", time.Since(n.began).Seconds(), fmt.Sprintf(format, args...)))
}

// take waits until nobody else has a hand on these nodes, and puts one there.
// All take them in the same order.
func (n *nemeses) take(names []string) (letGo func()) {
	names = slices.Sorted(slices.Values(names))
	for _, name := range names {
		<-n.hands[name]
	}
	return func() {
		for _, name := range names {
			n.hands[name] <- struct{}{}
		}
	}
}

// play carries the plan out. An error is a nemesis that failed, or a daemon
// that did what it was not told.
func (n *nemeses) play(ctx context.Context, plan []Event) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range plan {
		if !pause(ctx, time.Until(n.began.Add(e.At))) {
			break
		}
		g.Go(func() error {
			if err := n.perform(ctx, e); err != nil {
				n.say("%s %s: %v", e.Kind, e.Text, err)
				return fmt.Errorf("%s %s: %w", e.Kind, e.Text, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (n *nemeses) perform(ctx context.Context, e Event) error {
	defer n.take(e.Nodes)()
	switch e.Kind {
	case Kill:
		return n.kill(ctx, e.Nodes, e.Lasts)
	case Leader:
		return n.leader(ctx, e.Lasts)
	case Storm:
		for i := 0; i < len(e.Steps); i += 2 {
			if err := n.kill(ctx, e.Nodes, e.Steps[i]/4); err != nil {
				return err
			}
			pause(ctx, e.Steps[i+1])
		}
		return nil
	case Stop:
		return n.stop(ctx, e.Nodes[0], e.Lasts)
	case Pause:
		return n.pause(ctx, e.Nodes, e.Lasts)
	case Cut, Flap:
		return n.sever(ctx, e)
	case Unplug:
		n.say("unplug %s", e.Text)
		err := n.net.Unplug(e.Nodes[0])
		pause(ctx, e.Lasts)
		n.say("plug %s in", e.Text)
		return errors.Join(err, n.net.Plug(e.Nodes[0]))
	case Move:
		return n.move(ctx, e)
	}
	panic("chaos: unknown nemesis " + e.Kind)
}

// kill ends processes at once, and starts them again.
func (n *nemeses) kill(ctx context.Context, names []string, after time.Duration) error {
	n.say("kill %v", names)
	began := time.Now()
	if err := n.cluster.Kill(names...); err != nil {
		return err
	}
	if took := time.Since(began); took > time.Second {
		n.say("the machine took %s to end %v", took.Round(time.Millisecond), names)
	}
	for _, name := range names {
		if err := n.cluster.Err(name); err != nil {
			return fmt.Errorf("%s had ended by itself: %w", name, err)
		}
	}
	pause(ctx, after)
	n.say("start %v", names)
	for _, name := range names {
		if err := n.cluster.StartNode(name); err != nil {
			return err
		}
	}
	return nil
}

func (n *nemeses) leader(ctx context.Context, after time.Duration) error {
	short, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	st, err := n.cluster.Admin().Status(short)
	if err != nil {
		n.say("kill no leader: %v", err)
		return nil
	}
	for _, s := range st.Nodes {
		if !s.Leader {
			continue
		}
		for _, node := range n.cluster.Layout().Nodes {
			if node.Addr != s.Addr {
				continue
			}
			select {
			case <-n.hands[node.Name]:
				defer func() { n.hands[node.Name] <- struct{}{} }()
				return n.kill(ctx, []string{node.Name}, after)
			default:
				n.say("the leader, %s, is in other hands", node.Name)
				return nil
			}
		}
	}
	n.say("kill no leader: there is none")
	return nil
}

func (n *nemeses) stop(ctx context.Context, name string, after time.Duration) error {
	n.say("stop %s", name)
	began := time.Now()
	if err := n.cluster.Stop(name); err != nil {
		return err
	}
	n.say("%s stopped after %s", name, time.Since(began).Round(time.Millisecond))
	pause(ctx, after)
	n.say("start %s", name)
	return n.cluster.StartNode(name)
}

func (n *nemeses) pause(ctx context.Context, names []string, lasts time.Duration) error {
	n.say("pause %v", names)
	var errs []error
	for _, name := range names {
		errs = append(errs, n.cluster.Pause(name))
	}
	pause(ctx, lasts)
	for _, name := range names {
		errs = append(errs, n.cluster.Resume(name))
	}
	n.say("resume %v", names)
	return errors.Join(errs...)
}

// sever cuts and heals, once or several times.
func (n *nemeses) sever(ctx context.Context, e Event) error {
	steps := e.Steps
	if len(steps) == 0 {
		steps = []time.Duration{e.Lasts, 0}
	}
	end := n.began.Add(e.At + e.Lasts)
	for i := 0; i < len(steps) && (i == 0 || time.Now().Before(end)); i += 2 {
		n.say("cut %s", e.Text)
		err := n.net.Cut(e.Cut)
		pause(ctx, steps[i])
		n.say("heal")
		if err := errors.Join(err, n.net.Cut(nil)); err != nil {
			return err
		}
		pause(ctx, steps[i+1])
	}
	return nil
}

// move detaches a server, and attaches what is new later. Whether an order gets
// through is not its business: the end of the run sees to it that all are
// attached.
func (n *nemeses) move(ctx context.Context, e Event) error {
	order := func(verb string, nodes ...string) {
		short, cancel := context.WithTimeout(ctx, askWithin)
		defer cancel()
		var done subjects.AdminDone
		err := n.cluster.Admin().Do(short, verb, subjects.AdminRequest{Nodes: nodes}, &done)
		if err != nil {
			n.say("%s %v: %v", verb, nodes, err)
		} else {
			n.say("%s %v: %s", verb, nodes, done.Text)
		}
	}
	for _, node := range n.cluster.Layout().Nodes {
		if node.Name == e.Text {
			order(subjects.AdminDetach, node.Addr)
			pause(ctx, e.Lasts)
			order(subjects.AdminAttach, node.Addr)
		}
	}
	return nil
}

// heal undoes whatever a nemesis left, after the plan has ended.
func (n *nemeses) heal() error {
	var errs []error
	if n.net != nil {
		errs = append(errs, n.net.Cut(nil))
	}
	for name := range n.hands {
		select {
		case <-n.cluster.Ended(name):
			if err := n.cluster.Err(name); err != nil {
				errs = append(errs, fmt.Errorf("%s ended by itself: %w", name, err))
			}
			errs = append(errs, n.cluster.StartNode(name))
		default:
			errs = append(errs, n.cluster.Resume(name))
		}
	}
	return errors.Join(errs...)
}
