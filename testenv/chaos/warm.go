package chaos

import (
	"context"
	"sync"
	"time"

	"github.com/etolabo/kumofs/kumoctl/loadgen"
	"github.com/etolabo/kumofs/subjects"
)

const (
	// fullWithin is how long all that has bounds may take to fill, before the trouble.
	fullWithin = 5 * time.Minute
	// remembered is how many events managers keep.
	remembered = 1000
)

// warm fills what daemons keep, goes on filling until the function that it returns is
// called, and returns once it is full: what still fills looks like a leak.
func (r *run) warm() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	r.talk(ctx, began)
	var filling sync.WaitGroup
	filling.Go(func() { r.fill(ctx) })
	layout := r.cluster.Layout()
	for _, n := range layout.Of(subjects.RoleServer) {
		for pid := r.cluster.PID(n.Name); ; {
			u, err := r.look(ctx, n.Addr, pid)
			if err == nil && u.full {
				break
			}
			if time.Since(began) > fullWithin || !pause(ctx, time.Second) {
				r.problem("not warm", "what %s keeps is not full after %s: %v", n.Name, fullWithin, err)
				break
			}
		}
	}
	r.t.Logf("all that daemons keep was full after %s", time.Since(began).Round(time.Second))
	return func() { cancel(); filling.Wait() }
}

// talk makes events until managers have as many as they keep: empty servers are
// detached and attached again, which changes the epochs of many partitions.
func (r *run) talk(ctx context.Context, began time.Time) {
	layout := r.cluster.Layout()
	servers := layout.Of(subjects.RoleServer)
	for i := 0; ; i++ {
		events, err := r.cluster.Admin().Events(ctx, time.Unix(0, 0))
		switch {
		case err == nil && len(events) >= remembered:
			return
		case time.Since(began) > fullWithin:
			r.problem("not warm", "managers have %d events after %s: %v", len(events), fullWithin, err)
			return
		}
		short, cancel := context.WithTimeout(ctx, askWithin)
		detach := subjects.AdminRequest{Nodes: []string{servers[i%len(servers)].Addr}}
		err = r.cluster.Admin().Do(short, subjects.AdminDetach, detach, &subjects.AdminDone{})
		cancel()
		if why := r.whole(); err != nil || why != "" { // which attaches it
			r.t.Logf("to make events: %v, %s", err, why)
		}
	}
}

// fill keeps the servers' caches and logs full, beside the clients, whose few keys
// would take a day for that: 48 MB of values, of which each primary keeps what it has
// room for.
func (r *run) fill(ctx context.Context) {
	layout := r.cluster.Layout()
	gateways := layout.Addrs(subjects.RoleGateway)
	for i := 0; ctx.Err() == nil; i++ {
		o := loadgen.Defaults()
		o.Addr, o.Keys, o.Connections, o.Rate, o.Sets = gateways[i%len(gateways)], 6_000, 4, 300, 0.1
		o.Size = loadgen.Range{Min: 8 << 10, Max: 8 << 10}
		o.Fill, o.Time, o.Warmup = i == 0, 20*time.Second, 0
		loadgen.Run(ctx, o) // what fails in trouble is for the clients to judge
		pause(ctx, redial)
	}
}
