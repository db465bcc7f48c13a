package daemon

import (
	"cmp"
	"net"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/web"
	"github.com/etolabo/kumofs/kumomanager"
	"github.com/etolabo/kumofs/subjects"
)

// managerOptions are kumo-manager's.
type managerOptions struct {
	cli.Common
	kumomanager.Options
}

func (o *managerOptions) role() subjects.Role { return subjects.RoleManager }

func (o *managerOptions) common() *cli.Common { return &o.Common }

func (o *managerOptions) flags(fs *pflag.FlagSet) {
	o.Options = kumomanager.Defaults()
	fs.VarP(cli.Addr{To: &o.Listen, Port: cli.ManagerPort}, "listen", "l", "address of this manager as other nodes see it (default 127.0.0.1:19700, where the others are on this machine too)")
	fs.StringVar(&o.Bind, "bind", "", "host on whose ports to listen, where they are forwarded from the address of -l")
	fs.VarP(cli.Addrs{To: &o.Partners, Port: cli.ManagerPort}, "partner", "p", "the other managers")
	fs.BoolVar(&o.Join, "join", false, "with a new folder: wait until the managers of -p make this one of them (kumoctl manager add)")
	fs.StringVarP(&o.Dir, "store", "s", "", "folder for the manager's state (default ./kumo-manager-HOST-PORT)")
	fs.BoolVarP(&o.AutoReplace, "auto-replace", "a", false, "attach new servers, and rebalance, without being told")
	cli.SecondsVarP(fs, &o.ReplaceDelay, "replace-delay", "", "(-Rs) with -a: how long to wait before")
	fs.IntVar(&o.Partitions, "partitions", o.Partitions, "how many partitions a new cluster has: a power of two")
	fs.IntVar(&o.Replicas, "replicas", o.Replicas, "how many copies a new cluster keeps")
	cli.SecondsVarP(fs, &o.LostAfter, "lost-after", "", "with -a: how long a server is down before its data goes elsewhere")
	cli.SecondsVarP(fs, &o.FailAfter, "fail-after", "", "how long a silent node counts as up")
	fs.IntVar(&o.MaxMoves, "max-moves", o.MaxMoves, "how many copies may be under way to a server, and from one")
	fs.Var((*cli.Rate)(&o.MoveRate), "move-rate", "MB/s of copies that a server of a new cluster sends at most; 0: no limit (later: kumoctl move-rate)")
	cli.Reloadable(fs, "replace-delay", "lost-after", "fail-after", "max-moves")
	cli.Ignore(fs, "max-item-size", "", "servers and gateways have one")
	cli.Ignore(fs, "keepalive-interval", "k", "see --fail-after")
	cli.Ignore(fs, "connect-timeout", "", "see --fail-after")
	cli.Ignore(fs, "connect-retry-limit", "", "see --fail-after")
}

func (o *managerOptions) complete(_ cli.Memory) error {
	if err := o.Common.Check(); err != nil {
		return err
	}
	if o.Listen == "" {
		if o.Listen = loopback(cli.ManagerPort, o.Partners); o.Listen == "" {
			return cli.Usagef("-l: the address of this manager is needed, as the others of -p see it")
		}
	}
	if err := ownPort(o.Listen); err != nil {
		return err
	}
	o.Options.Cluster = subjects.Cluster(o.Common.Cluster)
	o.Options.Version = cli.Version()
	if err := o.Options.Check(); err != nil {
		return &cli.UsageError{Err: err}
	}
	return nil
}

func (o *managerOptions) place() place {
	host, port, _ := net.SplitHostPort(o.Listen)
	usual, _ := strconv.Atoi(port)
	return place{cmp.Or(o.Bind, host), host, usual + kumomanager.HTTPOffset}
}

func (o *managerOptions) open(s surroundings) (running, error) {
	o.Options.Log, o.Options.HTTP, o.Security = s.log, s.http, s.security
	m, err := kumomanager.Open(o.Options)
	if err != nil {
		return nil, err
	}
	return manager{m}, nil
}

// manager is a kumomanager.Manager that runs.
type manager struct{ *kumomanager.Manager }

// waited is not counted: what a manager does is seldom and may wait.
func (m manager) waited() time.Duration { return 0 }

func (m manager) node() web.Node {
	return web.Node{
		Role: "manager", Metrics: m.Metrics(), Unready: m.Unready, Status: func() (any, error) { return m.Status() },
		Root: m.Dashboard(),
	}
}

func (m manager) reload(now options) {
	o := now.(*managerOptions)
	m.SetLimits(kumomanager.Limits{
		ReplaceDelay: o.ReplaceDelay, LostAfter: o.LostAfter, FailAfter: o.FailAfter, MaxMoves: o.MaxMoves,
	})
}
