package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/daemon"
	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
)

// upWithin bounds how long up waits until the cluster serves; catching up
// after a crash may take a while.
const upWithin = time.Minute

func newUp(g *global) *cobra.Command {
	o := local.Defaults()
	processes, verbose, restart := false, false, 10*time.Second
	cmd := &cobra.Command{
		Use: "up", Args: cobra.NoArgs,
		Short: "Start a whole cluster on this machine: a manager, three servers and a gateway",
		Long: `Start a whole cluster on this machine: a manager, three servers and a gateway.

All data is kept in one folder; a second start finds it again. Ctrl-C stops.
Options that are not here have their defaults: the daemons see nothing of KUMO_
variables in the environment.
With --credentials each daemon takes its role's sub-folder of what kumoctl auth
init made.`,
		Example: `  kumoctl up
  kumoctl up --servers 5 --processes
  kumoctl up --dir /tmp/try --host 127.0.0.2 --port 0
  kumoctl up --credentials ./credentials`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := g.folder(); err != nil { // which may name the cluster
				return err
			}
			o.Cluster, o.Credentials = g.cluster, g.credentials
			if processes {
				self, err := os.Executable()
				if err != nil {
					return fmt.Errorf("find this program: %w", err)
				}
				o.Program = []string{self, "daemon"}
			}
			o.Verbose = verbose
			return up(cmd.Context(), cmd.ErrOrStderr(), o, restart)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", o.Dir, "folder for all data")
	f.StringVar(&o.Host, "host", o.Host, "address to listen on; of managers and servers when the folder is new, and of servers that are added")
	f.IntVar(&o.MemcachedPort, "port", o.MemcachedPort, "port for memcached clients; 0: any")
	f.IntVar(&o.Servers, "servers", o.Servers, "how many servers; more than last time are added")
	f.IntVar(&o.Managers, "managers", o.Managers, "how many managers, when the folder is new")
	f.IntVar(&o.Replicas, "replicas", 3, "copies of everything, when the folder is new")
	f.IntVar(&o.Partitions, "partitions", 0, "how many partitions, when the folder is new (default 256)")
	f.StringVar(&o.Sync, "sync", "", "when writes are flushed to disk: interval (the default), always or none")
	f.BoolVar(&processes, "processes", false, "each daemon as a process of its own, so that one can be killed")
	cli.SecondsVarP(f, &restart, "restart-after", "", "with --processes: when one that ended is started again; 0: never")
	f.BoolVar(&o.EnableFlushAll, "enable-flush-all", false, "let clients empty the whole store")
	f.BoolVarP(&verbose, "verbose", "v", false, "log debug messages too")
	return cmd
}

// up runs a cluster until ctx ends.
func up(ctx context.Context, talk io.Writer, o local.Options, restartAfter time.Duration) (err error) {
	if o.Servers < 1 || o.Managers < 1 || o.Replicas < 1 {
		return cli.Usagef("--servers, --managers and --replicas: want at least 1")
	}
	if o.MemcachedPort < 0 || o.MemcachedPort > math.MaxUint16 {
		return cli.Usagef("--port %d: want 0 to %d", o.MemcachedPort, math.MaxUint16)
	}
	log, err := cli.Logging{Verbose: o.Verbose, Format: cli.LogText}.Open()
	if err != nil {
		return err
	}
	defer log.Close()
	o.Log = upLog(log.Logger, o.Verbose)
	if o.Program == nil {
		daemon.Heed(o.Log, cli.MemoryLimit())
	}
	began := time.Now()
	c, err := local.Open(o)
	if err != nil {
		return upError(o, err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Start(); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, upWithin)
	defer cancel()
	if err := c.Ready(ready); err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C while starting
		}
		return err
	}
	announce(talk, c, o, time.Since(began))
	return waitUp(ctx, talk, c, o, restartAfter)
}

// upLog shows warnings only: what the daemons have to say between is in the
// way of a newcomer.
func upLog(log *slog.Logger, verbose bool) *slog.Logger {
	if verbose {
		return log
	}
	return slog.New(atLeast{log.Handler(), slog.LevelWarn})
}

// atLeast drops records below a level.
type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}

func (h atLeast) WithAttrs(as []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(as), h.level}
}
func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}

// upError says which option a port that is taken belongs to.
func upError(o local.Options, err error) error {
	var taken *local.PortError
	switch {
	case !errors.As(err, &taken):
		return err
	case !errors.Is(err, syscall.EADDRINUSE): // no such address here, or no right to the port
		return fmt.Errorf("%w: see --host and --port", err)
	}
	_, port, _ := net.SplitHostPort(taken.Addr)
	if taken.Node.Role == subjects.RoleGateway {
		return fmt.Errorf("port %s for memcached clients is taken: choose another with --port (%w)", port, err)
	}
	return fmt.Errorf("port %s of %s, which %s remembers, is taken: does this cluster run already? (%w)",
		port, taken.Node.Name, filepath.Join(o.Dir, "cluster.json"), err)
}

// announce prints where everything is and what to try.
func announce(w io.Writer, c *local.Cluster, o local.Options, took time.Duration) {
	l := c.Layout()
	fmt.Fprintf(w, "kumofs is up, in %s. Ctrl-C stops it; the data stays in %s\n\n", took.Round(time.Millisecond), c.Dir())
	t := columns(w)
	for _, n := range l.Nodes {
		what := n.Addr
		switch n.Role {
		case subjects.RoleGateway:
			what += "  (memcached)"
		case subjects.RoleManager:
			what += "  http://" + n.HTTP() + "/"
		}
		if o.Program != nil {
			fmt.Fprintf(t, "  %s\t%s\tpid %d\t%s\n", n.Name, what, c.PID(n.Name), filepath.Join(c.Dir(), n.Name+".log"))
		} else {
			fmt.Fprintf(t, "  %s\t%s\n", n.Name, what)
		}
	}
	t.Flush()
	manager, gateway := l.Addrs(subjects.RoleManager)[0], l.Addrs(subjects.RoleGateway)[0]
	host, port, _ := net.SplitHostPort(gateway)
	self := os.Args[0]
	if strings.Contains(self, "go-build") {
		self = "go run ./kumoctl"
	}
	if o.Credentials != "" {
		self += " --credentials " + o.Credentials
	}
	fmt.Fprintf(w, `
Try:
  printf 'set k 0 0 5\r\nhello\r\nget k\r\nquit\r\n' | nc %s %s
  %s %s status
%s`, host, port, self, manager, watchCommand(o, self, manager))
	if o.Program != nil {
		for _, n := range l.Of(subjects.RoleServer) {
			fmt.Fprintf(w, "  kill -9 %d\n", c.PID(n.Name))
			break
		}
	}
	fmt.Fprintln(w)
}

// watchCommand is how to listen to what happens.
func watchCommand(o local.Options, self, manager string) string {
	if o.Credentials != "" {
		return fmt.Sprintf("  %s %s events -f\n", self, manager)
	}
	return fmt.Sprintf("  nats -s %s sub 'kumo.>'\n", manager)
}

// waitUp waits for Ctrl-C. A daemon that ends by itself ends a cluster that is
// one process. One that is a process, and was killed perhaps, is started again
// after a while; the others go on meanwhile.
func waitUp(ctx context.Context, talk io.Writer, c *local.Cluster, o local.Options, restartAfter time.Duration) error {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	since := make(map[string]time.Time) // when those ended that are to be started again
	for {
		select {
		case <-ctx.Done():
			fmt.Fprintln(talk, "stopping")
			return nil
		case <-t.C:
		}
		for name, err := range c.Failed() {
			if o.Program == nil {
				return fmt.Errorf("%s ended: %w", name, err)
			}
			since[name] = time.Now()
			fmt.Fprintf(talk, "%s ended: %v\n", name, err)
			c.Forget(name)
		}
		for name, ended := range since {
			if restartAfter == 0 || time.Since(ended) < restartAfter {
				continue
			}
			delete(since, name)
			if err := c.StartNode(name); err != nil {
				return err
			}
			fmt.Fprintf(talk, "%s started again, pid %d\n", name, c.PID(name))
		}
	}
}
