// Package daemon is the command lines of kumo-manager, kumo-server and
// kumo-gateway: which options each takes, and how they become its Options.
// The mains are made of it, kumoctl runs daemons with it as processes of their
// own, and so do clusters within one process, so that all start the same thing.
package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/web"
	"github.com/etolabo/kumofs/subjects"
)

// options are what a daemon's command line sets.
type options interface {
	// flags defines the options with their defaults.
	flags(*pflag.FlagSet)
	common() *cli.Common
	role() subjects.Role
	// complete works out what follows from the options, and says what of them cannot
	// work, with so much memory. It is called once.
	complete(cli.Memory) error
	// place is where the HTTP port goes if the options do not say it.
	place() place
	// open opens the daemon as the completed options say.
	open(surroundings) (running, error)
}

// surroundings are what a daemon is opened with, beside its options.
type surroundings struct {
	log      *slog.Logger
	hub      *bus.Hub      // shared with other daemons of the process; nil: none
	security *bus.Security // nil: none
	http     string        // where the HTTP port is seen; "": there is none
}

// running is an open daemon.
type running interface {
	cli.Daemon
	cli.Reporter
	// reload takes over what may change from options of the same role.
	reload(options)
	// waited is for how long it has waited so far for a disk to sync.
	waited() time.Duration
	// node is what the HTTP port shows.
	node() web.Node
}

// newOptions are the daemons by role.
func newOptions(role string) (options, error) {
	switch role {
	case "manager":
		return &managerOptions{}, nil
	case "server":
		return &serverOptions{}, nil
	case "gateway":
		return &gatewayOptions{}, nil
	}
	return nil, cli.Usagef("no daemon is called %q: want manager, server or gateway", role)
}

// Command returns the command line of the daemon with this role (manager,
// server or gateway), under the name it is started by.
func Command(role, use string) (*cobra.Command, error) {
	o, err := newOptions(role)
	if err != nil {
		return nil, err
	}
	cmd := &cobra.Command{
		Use: use, Short: "Run a " + role + " of a kumofs cluster",
		Long:    "Run a " + role + " of a kumofs cluster.\n\n" + long,
		Version: cli.Version(), Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := configure(role, o, cmd.Flags())
			if err != nil {
				return err
			}
			return o.common().Serve(cmd, cli.Service{
				Open: func(log *slog.Logger) (cli.Daemon, error) {
					Heed(log, cli.MemoryLimit())
					d, err := open(o, log, nil)
					if err != nil {
						return nil, err
					}
					return &adaptive{d}, nil
				},
				Reload: func(d cli.Daemon, log *cli.Log) error { return c.reload(d.(*adaptive).running.(*secured), log) },
				Warn:   strange(),
			})
		},
	}
	o.common().Flags(cmd.Flags())
	o.flags(cmd.Flags())
	cmd.Flags().Bool("version", false, "print the version")
	return cmd, nil
}

const long = `Each option can also be set by an environment variable (KUMO_FAIL_AFTER for
--fail-after) and in the TOML file of --config (fail-after = 2). Flags go before
the environment, and the environment before the file. SIGHUP has the file read
again, and takes over what is marked [reload]; a restart takes over the rest.
SIGUSR1 opens the files of the log again.

It runs on as many processors as it has work for, or on $GOMAXPROCS of them if
that is set.`

// Main runs a daemon's command line and returns the exit code. It may begin the
// process anew, see cli.KeepMonitor.
func Main(role, use string, args []string) int {
	cli.KeepMonitor()
	cmd, err := Command(role, use)
	if err != nil {
		cmd = &cobra.Command{Use: use, RunE: func(*cobra.Command, []string) error { return err }}
	}
	return cli.DaemonMain(cmd, args)
}

// Open opens a daemon in this process: args are its role and its options. The
// log goes to log, whatever they say, and neither environment nor files are read.
// Daemons that share a hub hand frames to each other without the network. m is its
// share of the memory.
func Open(args []string, log *slog.Logger, hub *bus.Hub, m cli.Memory) (cli.Daemon, error) {
	if len(args) == 0 {
		return nil, cli.Usagef("no role given")
	}
	o, fs, err := flagsOf(args[0])
	if err != nil {
		return nil, err
	}
	if err := fs.Parse(cli.Translate(args[1:])); err != nil {
		return nil, fmt.Errorf("options of the %s: %w", args[0], err)
	}
	if err := o.complete(m); err != nil {
		return nil, err
	}
	return open(o, log, hub)
}

// open opens a daemon, and says what helps when it cannot listen.
func open(o options, log *slog.Logger, hub *bus.Hub) (running, error) {
	security, err := openCredentials(o, log)
	if err != nil {
		return nil, err
	}
	p, err := openPort(o.common(), o.place(), log)
	if err != nil {
		return nil, err
	}
	d, err := o.open(surroundings{log, hub, security, p.Addr()})
	if _, gateway := o.(*gatewayOptions); !gateway && errors.Is(err, syscall.EADDRNOTAVAIL) {
		err = fmt.Errorf("%w (-l names an address of another machine; where its ports are forwarded to this one, --bind names the host to listen on)", err)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if d, err = withPort(d, p); err != nil {
		return nil, err
	}
	return &secured{d, security, log}, nil
}
