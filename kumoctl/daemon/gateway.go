package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/web"
	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/subjects"
)

// clientOptions are what is said of memcached clients: to a gateway, and to a
// server that takes clients itself.
type clientOptions struct {
	kumogateway.Options
	text, binary []string
	mode         string
	memory       int // MiB
}

func (o *clientOptions) flags(fs *pflag.FlagSet, unset string) {
	o.Options = kumogateway.Defaults()
	o.Managers, o.Listen = nil, nil
	fs.StringSliceVarP(&o.text, "memcached", "t", nil, "[addr:]port for memcached clients, notls:[addr:]port, or unix:PATH; may be repeated ("+unset+")")
	fs.StringVar(&o.mode, "socket-mode", "700", "access to Unix sockets, in octal")
	fs.StringVar(&o.TLS.Cert, "tls-cert", "", "PEM file of a certificate, and those up to its authority: clients come with TLS, but on ports with notls: before them and Unix sockets; SIGHUP reads it again")
	fs.StringVar(&o.TLS.Key, "tls-key", "", "PEM file of its key")
	fs.StringVar(&o.TLS.ClientCA, "tls-client-ca", "", "PEM file of authorities: a client needs a certificate of one of them")
	fs.StringVar(&o.AuthFile, "auth-file", "", "file of lines user:password, or user RIGHTS:password, one of which clients must know (SASL PLAIN, or memcached's set in text); SIGHUP reads it again")
	fs.StringVar(&o.KeyPrefix, "key-prefix", "", "put before every key")
	fs.BoolVar(&o.EnableFlushAll, "enable-flush-all", false, "let clients empty the whole store")
	o.memory = 8 * o.MaxAnswers / mib
	fs.IntVar(&o.memory, "client-memory", o.memory, "MiB for what clients send and are sent, while it is on its way (less by default where GOMEMLIMIT or a control group bounds the memory)")
	fs.IntVar(&o.MaxConnections, "max-connections", o.MaxConnections, "further clients are told so and closed")
	cli.SecondsVarP(fs, &o.OpTimeout, "op-timeout", "", "how long an operation is repeated before it fails")
	cli.SecondsVarP(fs, &o.SlowThreshold, "slowlog-threshold", "", "operations that take as long are kept for kumoctl slowlog; 0: none")
	fs.IntVar(&o.SlowSize, "slowlog-size", o.SlowSize, "how many of these are kept, the last ones")
	cli.SecondsVarP(fs, &o.IdleTimeout, "idle-timeout", "", "close clients that are silent for so long; 0: never")
	cli.Reloadable(fs, "max-connections", "op-timeout", "idle-timeout", "enable-flush-all", "slowlog-threshold", "slowlog-size")
}

// limits are those that may change while the gateway runs.
func (o *clientOptions) limits() kumogateway.Limits {
	return kumogateway.Limits{
		MaxConnections: o.MaxConnections, OpTimeout: o.OpTimeout, IdleTimeout: o.IdleTimeout, EnableFlushAll: o.EnableFlushAll,
		SlowThreshold: o.SlowThreshold, SlowSize: o.SlowSize,
	}
}

// notls begins a port without TLS, as in memcached's -l.
const notls = "notls:"

// listen reads where clients come.
func (o *clientOptions) listen() error {
	for _, text := range append(o.text, o.binary...) {
		text, plain := strings.CutPrefix(text, notls)
		addr, err := cli.ListenAddr(text)
		if err != nil {
			return cli.Usagef("-t: %w", err)
		}
		if plain {
			addr = notls + addr
		}
		o.Listen = append(o.Listen, addr)
	}
	mode, err := strconv.ParseUint(o.mode, 8, 9)
	if err != nil {
		return cli.Usagef("--socket-mode: %q is no octal number up to 777", o.mode)
	}
	o.SocketMode = fs.FileMode(mode)
	return o.bounds()
}

// check says what of the options cannot work.
func (o *clientOptions) check(cluster string) error {
	o.Options.Cluster = subjects.Cluster(cluster)
	o.Options.Version = cli.Version()
	if err := o.Options.Check(); err != nil {
		return &cli.UsageError{Err: err}
	}
	return nil
}

// openGateway opens the gateway that the options say.
func (o *clientOptions) openGateway(s surroundings) (*kumogateway.Gateway, error) {
	o.Options.Log, o.Hub, o.Security, o.HTTP = s.log, s.hub, s.security, s.http
	g, err := kumogateway.Open(o.Options)
	if wrong := new(kumogateway.AuthFileError); errors.As(err, &wrong) {
		return nil, fmt.Errorf("--auth-file: %w", err)
	}
	return g, err
}

// gatewayOptions are kumo-gateway's.
type gatewayOptions struct {
	cli.Common
	clientOptions
	given              *pflag.FlagSet
	managers, partners []string
}

func (o *gatewayOptions) role() subjects.Role { return subjects.RoleGateway }

func (o *gatewayOptions) common() *cli.Common { return &o.Common }

func (o *gatewayOptions) flags(fs *pflag.FlagSet) {
	o.given = fs
	o.clientOptions.flags(fs, "default 11211")
	fs.VarP(cli.Addrs{To: &o.managers, Port: cli.ManagerPort}, "manager", "m", "managers, or any servers")
	fs.VarP(cli.Addrs{To: &o.partners, Port: cli.ManagerPort}, "partner", "p", "further managers")
	fs.StringSliceVarP(&o.binary, "memcached-binary", "b", nil, "a further port; all protocols are spoken on each")
	fs.BoolVar(&o.EarlySet, "async-replicate-set", false, "(-As) answer sets before the replicas have them: no acknowledgement")
	fs.BoolVar(&o.EarlyDelete, "async-replicate-delete", false, "(-Ad) answer deletes before the replicas have them: no acknowledgement")
	fs.IntVar(&o.MaxItemSize, "max-item-size", o.MaxItemSize, "bytes of the largest value")
	cli.IgnoreSwitch(fs, "save-flag", "F", "flags are always kept")
	cli.IgnoreSwitch(fs, "save-expire", "E", "expiry is always kept")
	fs.Var((*cli.Size)(&o.LocalCache), "local-cache", "(-lc) bytes of values, such as 64M, that are kept when they were read and answered again without asking a server; 0: none")
	cli.SecondsVarP(fs, &o.LocalCacheTTL, "local-cache-ttl", "", "how old such an answer may be, at most")
	cli.Ignore(fs, "keepalive-interval", "k", "the managers decide who is down (--fail-after)")
	cli.Ignore(fs, "connect-timeout", "", "the managers decide who is down (--fail-after)")
	cli.Ignore(fs, "connect-retry-limit", "", "connections are tried without limit")
	cli.Ignore(fs, "get-retry", "G", "superseded by --op-timeout")
	cli.Ignore(fs, "set-retry", "S", "superseded by --op-timeout")
	cli.Ignore(fs, "delete-retry", "D", "superseded by --op-timeout")
}

func (o *gatewayOptions) complete(m cli.Memory) error {
	if err := o.Common.Check(); err != nil {
		return err
	}
	o.fitMemory(o.given, m, 2)
	if len(o.text)+len(o.binary) == 0 {
		o.text = []string{strconv.Itoa(cli.MemcachedPort)}
	}
	if err := o.listen(); err != nil {
		return err
	}
	if o.Managers = slices.Concat(o.managers, o.partners); len(o.Managers) == 0 {
		return cli.Usagef("-m: the address of a manager is needed")
	}
	return o.check(o.Common.Cluster)
}

func (o *gatewayOptions) place() place { return place{} }

func (o *gatewayOptions) open(s surroundings) (running, error) {
	g, err := o.openGateway(s)
	if err != nil {
		return nil, err
	}
	return gateway{g}, nil
}

// gateway works from Open to Close.
type gateway struct{ *kumogateway.Gateway }

// Run waits for the end.
func (gateway) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// waited: nothing of it is on disk.
func (g gateway) waited() time.Duration { return 0 }

func (g gateway) node() web.Node {
	return web.Node{
		Role: "gateway", Metrics: g.Metrics(), Unready: g.Unready, Status: func() (any, error) { return g.Status(), nil },
	}
}

func (g gateway) reload(now options) { reloadClients(g.Gateway, &now.(*gatewayOptions).clientOptions) }

// reloadClients takes over what may change of how clients are served.
func reloadClients(g *kumogateway.Gateway, now *clientOptions) {
	g.SetLimits(now.limits())
	g.Reload()
}
