package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/web"
	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/kumomanager"
	"github.com/etolabo/kumofs/kumoserver"
	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects"
)

// serverOptions are kumo-server's.
type serverOptions struct {
	cli.Common
	kumoserver.Options
	clients              clientOptions
	managers, partners   []string
	sync, failover, read string
	scrub                int // KiB a second
	memory               int // MiB
	retain               cli.Bytes
	given                *pflag.FlagSet
}

// Bounds of --memory, in MiB. With less than the least, a few large values would fill
// it.
const (
	leastMemory = 24
	mostMemory  = 1 << 20
)

// Bounds of --retain-log.
const (
	leastRetain = 1 << 20
	usualRetain = 256 << 20
	mostRetain  = 1 << 40
)

func (o *serverOptions) role() subjects.Role { return subjects.RoleServer }

func (o *serverOptions) common() *cli.Common { return &o.Common }

func (o *serverOptions) flags(fs *pflag.FlagSet) {
	o.given = fs
	o.RoutePort = kumoserver.DefaultRoutePort
	o.sync = "interval"
	o.SyncEvery = 100 * time.Millisecond
	o.Lease = time.Second
	o.failover, o.read = "proof", "lease"
	fs.VarP(cli.Addr{To: &o.Listen, Port: cli.ServerPort}, "listen", "l", "address of this server as other nodes see it (default 127.0.0.1:19800, where the managers are on this machine too)")
	fs.StringVar(&o.Bind, "bind", "", "host on whose ports to listen, where they are forwarded from the address of -l")
	fs.IntVarP(&o.RoutePort, "route-port", "L", o.RoutePort, "port for the mesh's routes; another is taken if it is in use")
	fs.VarP(cli.Addrs{To: &o.managers, Port: cli.ManagerPort}, "manager", "m", "the managers")
	fs.VarP(cli.Addrs{To: &o.partners, Port: cli.ManagerPort}, "partner", "p", "further managers")
	fs.StringVarP(&o.Dir, "store", "s", "", "folder for the data")
	fs.StringVar(&o.sync, "sync", o.sync, "when writes are flushed to disk: interval, always or none")
	cli.SecondsVarP(fs, &o.SyncEvery, "sync-every", "", "with --sync interval: how often")
	fs.IntVar(&o.scrub, "scrub-rate", 2048, "KiB a second that are read to find damage on the disk that nobody meets; 0 for none")
	fs.IntVar(&o.memory, "memory", 192, "MiB for values: two thirds for those that wait for the data file, beyond which writers are slowed down, and the rest for those that are read often (less by default where GOMEMLIMIT or a control group bounds the memory)")
	o.ScrubEvery = time.Hour
	cli.SecondsVarP(fs, &o.ScrubEvery, "scrub-every", "", "how long after one such look at everything the next begins")
	o.ReadRate = kumoserver.DefaultReadRate
	fs.Var((*cli.Bytes)(&o.ReadRate), "read-rate", "bytes a second, such as 16M, that are read for backups, exports and comparisons of copies, together")
	o.retain = usualRetain
	fs.Var(&o.retain, "retain-log", "bytes, such as 64M, of the log that are kept beyond what the data file lacks, for copies that lag; a copy that lags by more is sent whole, and each entry of it takes four bytes of memory")
	fs.StringVar(&o.Zone, "zone", "", "zone of this server; copies are kept in different ones")
	o.clients.flags(fs, "default: none, clients come to gateways")
	fs.IntVar(&o.MaxItem, "max-item-size", subjects.DefaultMaxItem, "bytes of the largest value")
	cli.SecondsVarP(fs, &o.Lease, "lease", "", "how long a primary may read without asking its replicas again")
	fs.StringVar(&o.failover, "failover", o.failover, "what a new primary waits for before it writes: proof that the one before is gone, or else its leases; or lease, always its leases")
	fs.StringVar(&o.read, "read", o.read, "what lets a primary read: lease, which trusts clocks to run alike; or confirm, a round to the replicas for each read")
	cli.Reloadable(fs, "scrub-rate", "scrub-every", "read-rate")
	cli.Ignore(fs, "tmp-dir", "f", "copies need no temporary files")
	cli.Ignore(fs, "keepalive-interval", "k", "the managers decide who is down (--fail-after)")
	cli.Ignore(fs, "connect-timeout", "", "the managers decide who is down (--fail-after)")
	cli.Ignore(fs, "connect-retry-limit", "", "connections are tried without limit")
	cli.Ignore(fs, "replicate-set-retry", "S", "replication is repeated until the ring changes")
	cli.Ignore(fs, "replicate-delete-retry", "D", "replication is repeated until the ring changes")
	cli.Ignore(fs, "replace-memory-limit", "M", "")
	cli.Ignore(fs, "garbage-min-time", "", "deletes leave nothing to collect")
	cli.Ignore(fs, "garbage-max-time", "", "deletes leave nothing to collect")
	cli.Ignore(fs, "garbage-mem-limit", "", "deletes leave nothing to collect")
}

func (o *serverOptions) complete(m cli.Memory) error {
	err := o.Common.Check()
	if err != nil {
		return err
	}
	if !o.given.Changed("memory") {
		o.memory = share(m, 4, o.memory, leastMemory)
	}
	o.clients.MaxItemSize = o.MaxItem
	o.clients.fitMemory(o.given, m, 4)
	if err = o.clients.listen(); err != nil {
		return err
	}
	if o.Sync, err = syncMode(o.sync); err != nil {
		return err
	}
	if o.Failover, err = choice("failover", o.failover, "proof", "lease", kumoserver.FailoverProof, kumoserver.FailoverLease); err != nil {
		return err
	}
	if o.Read, err = choice("read", o.read, "lease", "confirm", kumoserver.ReadLease, kumoserver.ReadConfirm); err != nil {
		return err
	}
	for _, d := range []struct {
		option string
		is     time.Duration
	}{{"lease", o.Lease}, {"sync-every", o.SyncEvery}, {"scrub-every", o.ScrubEvery}} {
		if d.is <= 0 {
			return cli.Usagef("--%s %v: want more than 0 seconds", d.option, d.is.Seconds())
		}
	}
	if o.scrub < 0 {
		return cli.Usagef("--scrub-rate %d: want 0 or more", o.scrub)
	}
	if o.ScrubRate = int64(o.scrub) << 10; o.scrub == 0 {
		o.ScrubRate = -1
	}
	if o.memory < leastMemory || o.memory > mostMemory {
		return cli.Usagef("--memory %d: want %d to %d (MiB)", o.memory, leastMemory, mostMemory)
	}
	o.CacheBytes = int64(o.memory) << 20 / 3
	o.MemtableBytes = 2 * o.CacheBytes
	if o.retain < leastRetain || o.retain > mostRetain {
		return cli.Usagef("--retain-log %s: want 1M to 1T", &o.retain)
	}
	o.RetainBytes = int64(o.retain)
	if err := ownPort(o.Listen); err != nil {
		return err
	}
	o.Managers = slices.Concat(o.managers, o.partners)
	if o.Listen == "" {
		if o.Listen = loopback(cli.ServerPort, o.Managers); o.Listen == "" {
			return cli.Usagef("-l: the address of this server is needed, as the managers see it")
		}
	}
	o.Options.Cluster = subjects.Cluster(o.Common.Cluster)
	o.Options.Version = cli.Version()
	o.Witness = openWitness
	if err := o.Options.Check(); err != nil {
		return &cli.UsageError{Err: err}
	}
	if len(o.clients.Listen) == 0 {
		return nil
	}
	o.clients.Managers = slices.Clone(o.Managers)
	return o.clients.check(o.Common.Cluster)
}

func (o *serverOptions) place() place {
	host, _, _ := net.SplitHostPort(o.Listen)
	return place{bind: cmp.Or(o.Bind, host), seen: host}
}

func (o *serverOptions) open(with surroundings) (running, error) {
	if len(o.clients.Listen) > 0 && with.hub == nil {
		with.hub = bus.NewHub()
	}
	o.Options.Log, o.Options.Hub, o.Security, o.Options.HTTP = with.log, with.hub, with.security, with.http
	s, err := kumoserver.Open(o.Options)
	if err != nil {
		return nil, err
	}
	d := &server{now: s, o: o.Options}
	if len(o.clients.Listen) == 0 {
		return d, nil
	}
	// Its own connection: the gateway goes on when the server begins anew.
	o.clients.Managers = append(o.clients.Managers, s.Addr())
	if d.gateway, err = o.clients.openGateway(with); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return d, nil
}

// server is a kumoserver.Server that begins anew when its data file turns out to
// be damaged: Open sets the file aside, and the replicas give the copies back.
type server struct {
	gateway *kumogateway.Gateway // that takes clients in this process; nil: none

	mu  sync.Mutex
	now *kumoserver.Server // guarded by mu
	o   kumoserver.Options // guarded by mu
}

func (s *server) get() *kumoserver.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Close stops everything at once.
func (s *server) Close() error {
	var err error
	if s.gateway != nil {
		err = s.gateway.Close()
	}
	return errors.Join(s.get().Close(), err)
}

// giveUp is how soon another damaged file is no bad luck any more but a disk
// that is failing.
const giveUp = time.Minute

// Run serves until ctx ends or the server cannot go on.
func (s *server) Run(ctx context.Context) error {
	for again := false; ; again = true {
		began := time.Now()
		err := s.get().Run(ctx)
		if !errors.Is(err, store.ErrDamaged) || ctx.Err() != nil || time.Since(began) < giveUp && again {
			return err
		}
		if openErr := s.anew(); openErr != nil {
			return errors.Join(err, fmt.Errorf("begin anew: %w", openErr))
		}
	}
}

func (s *server) anew() error {
	s.mu.Lock()
	o := s.o
	s.mu.Unlock()
	o.Log.Warn("the server begins anew without its damaged data file", "store", o.Dir)
	next, err := kumoserver.Open(o) // which may take long
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = next
	next.SetScrub(s.o.ScrubRate, s.o.ScrubEvery)
	next.SetReadRate(s.o.ReadRate)
	return nil
}

// waited is the server's of now.
func (s *server) waited() time.Duration { return s.get().Waited() }

// node is what the HTTP port shows: of the server of now, and of the gateway.
func (s *server) node() web.Node {
	n := web.Node{
		Role:    "server",
		Metrics: []prometheus.Collector{ofNow{s}},
		Unready: func() error { return s.get().Unready() },
		Status:  func() (any, error) { return s.get().Status(), nil },
	}
	if g := s.gateway; g != nil {
		n.Metrics = append(n.Metrics, g.Metrics()...)
		n.Unready = func() error { return errors.Join(s.get().Unready(), g.Unready()) }
		n.Status = func() (any, error) {
			return map[string]any{"server": s.get().Status(), "gateway": g.Status()}, nil
		}
	}
	return n
}

// ofNow are the metrics of the server of now; one that begins anew counts anew.
type ofNow struct{ s *server }

func (c ofNow) Describe(to chan<- *prometheus.Desc) {
	for _, m := range c.s.get().Metrics() {
		m.Describe(to)
	}
}

func (c ofNow) Collect(to chan<- prometheus.Metric) {
	for _, m := range c.s.get().Metrics() {
		m.Collect(to)
	}
}

// CanServe implements cli.Reporter.
func (s *server) CanServe() bool {
	return s.get().CanServe() && (s.gateway == nil || s.gateway.CanServe())
}

// Doing implements cli.Reporter.
func (s *server) Doing() string {
	if s.gateway == nil {
		return s.get().Doing()
	}
	return s.get().Doing() + "; " + s.gateway.Doing()
}

// Alive implements cli.Reporter.
func (s *server) Alive(ctx context.Context) error {
	err := s.get().Alive(ctx)
	if err == nil && s.gateway != nil {
		err = s.gateway.Alive(ctx)
	}
	return err
}

func (s *server) reload(now options) {
	o := now.(*serverOptions)
	s.mu.Lock()
	s.o.ScrubRate, s.o.ScrubEvery, s.o.ReadRate = o.ScrubRate, o.ScrubEvery, o.ReadRate
	s.now.SetScrub(o.ScrubRate, o.ScrubEvery)
	s.now.SetReadRate(o.ReadRate)
	s.mu.Unlock()
	if s.gateway != nil {
		reloadClients(s.gateway, &o.clients)
	}
}

// openWitness lets a server vote among two managers. It is put together here
// because servers and managers do not know each other. One that has forgotten its
// votes serves its data all the same.
func openWitness(w kumoserver.Witness) (kumoserver.Closer, error) {
	o, err := kumomanager.OpenWitness(kumomanager.WitnessOptions{Bus: w.Bus, Cluster: w.Cluster, Store: w.ID, Dir: w.Dir, Log: w.Log})
	if errors.Is(err, kumomanager.ErrDamaged) {
		w.Log.Error("this server does not vote among the managers: its log of them is damaged; drain it, and start it with an empty folder",
			"folder", w.Dir, "err", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// choice reads an option of two words.
func choice[T any](option, word, one, other string, first, second T) (T, error) {
	switch word {
	case one:
		return first, nil
	case other:
		return second, nil
	}
	return first, &cli.UsageError{Err: fmt.Errorf("--%s %s: want %s or %s", option, word, one, other)}
}

func syncMode(name string) (store.SyncMode, error) {
	switch name {
	case "interval":
		return store.SyncInterval, nil
	case "always":
		return store.SyncAlways, nil
	case "none":
		return store.SyncNone, nil
	}
	return 0, &cli.UsageError{Err: fmt.Errorf("--sync %s: want interval, always or none", name)}
}
