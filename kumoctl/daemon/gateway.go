package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumogateway"
	"github.com/etolabo/kumofs/subjects"
)

// gatewayOptions are kumo-gateway's.
type gatewayOptions struct {
	cli.Common
	kumogateway.Options
	text, binary []string
	mode         string
}

func (o *gatewayOptions) common() *cli.Common { return &o.Common }

func (o *gatewayOptions) flags(fs *pflag.FlagSet) {
	o.Options = kumogateway.Defaults()
	o.Managers, o.Listen = nil, nil
	fs.VarP(cli.Addrs{To: &o.Managers, Port: cli.ManagerPort}, "manager", "m", "managers, or any servers")
	fs.VarP(cli.Addrs{To: &o.Managers, Port: cli.ManagerPort}, "partner", "p", "further managers")
	fs.StringSliceVarP(&o.text, "memcached", "t", nil, "[addr:]port for memcached clients, or unix:PATH; may be repeated (default 11211)")
	fs.StringSliceVarP(&o.binary, "memcached-binary", "b", nil, "a further port; all protocols are spoken on each")
	fs.StringVar(&o.mode, "socket-mode", "700", "access to Unix sockets, in octal")
	fs.StringVar(&o.AuthFile, "auth-file", "", "file of lines user:password, one of which clients must know (SASL PLAIN, or memcached's set in text)")
	fs.StringVar(&o.KeyPrefix, "key-prefix", "", "put before every key")
	fs.BoolVar(&o.EnableFlushAll, "enable-flush-all", false, "let clients empty the whole store")
	fs.BoolVar(&o.EarlySet, "async-replicate-set", false, "(-As) answer sets before the replicas have them: no acknowledgement")
	fs.BoolVar(&o.EarlyDelete, "async-replicate-delete", false, "(-Ad) answer deletes before the replicas have them: no acknowledgement")
	fs.IntVar(&o.MaxItemSize, "max-item-size", o.MaxItemSize, "bytes of the largest value")
	fs.IntVar(&o.MaxConnections, "max-connections", o.MaxConnections, "further clients are told so and closed")
	cli.SecondsVarP(fs, &o.OpTimeout, "op-timeout", "", "how long an operation is repeated before it fails")
	cli.SecondsVarP(fs, &o.IdleTimeout, "idle-timeout", "", "close clients that are silent for so long; 0: never")
	cli.IgnoreSwitch(fs, "save-flag", "F", "flags are always kept")
	cli.IgnoreSwitch(fs, "save-expire", "E", "expiry is always kept")
	cli.Ignore(fs, "local-cache", "", "there is no cache yet")
	cli.Ignore(fs, "keepalive-interval", "k", "the managers decide who is down (--fail-after)")
	cli.Ignore(fs, "connect-timeout", "", "the managers decide who is down (--fail-after)")
	cli.Ignore(fs, "connect-retry-limit", "", "connections are tried without limit")
	cli.Ignore(fs, "get-retry", "G", "superseded by --op-timeout")
	cli.Ignore(fs, "set-retry", "S", "superseded by --op-timeout")
	cli.Ignore(fs, "delete-retry", "D", "superseded by --op-timeout")
}

func (o *gatewayOptions) open(log *slog.Logger) (cli.Daemon, error) {
	for _, text := range append(o.text, o.binary...) {
		addr, err := cli.ListenAddr(text)
		if err != nil {
			return nil, cli.Usagef("-t: %w", err)
		}
		o.Listen = append(o.Listen, addr)
	}
	if len(o.Listen) == 0 {
		o.Listen = []string{":11211"}
	}
	mode, err := strconv.ParseUint(o.mode, 8, 9)
	if err != nil {
		return nil, cli.Usagef("--socket-mode: %q is no octal number up to 777", o.mode)
	}
	o.SocketMode = fs.FileMode(mode)
	if len(o.Managers) == 0 {
		return nil, cli.Usagef("-m: the address of a manager is needed")
	}
	o.Options.Cluster = subjects.Cluster(o.Common.Cluster)
	o.Options.Version = cli.Version()
	o.Options.Log = log
	if err := o.Options.Check(); err != nil {
		return nil, &cli.UsageError{Err: err}
	}
	g, err := kumogateway.Open(o.Options)
	if wrong := new(kumogateway.AuthFileError); errors.As(err, &wrong) {
		return nil, fmt.Errorf("--auth-file: %w", err)
	}
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
