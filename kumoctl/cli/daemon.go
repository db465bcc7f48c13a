package cli

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/subjects"
)

// Common are the options that every daemon has.
type Common struct {
	Cluster string // --cluster
	Config  string // --config
	Logging
	PIDFile string // --pid-file
	Leave   string // -d: the same, and the daemon leaves the terminal
	HTTP    string // --http, as it was given
	Pprof   bool   // --pprof
	// Credentials is a folder of kumoctl auth's; "": none.
	Credentials string
}

// Flags defines the options, and those of kumofs that every daemon accepts and
// that do nothing any more.
func (c *Common) Flags(fs *pflag.FlagSet) {
	OldNames(fs)
	c.Cluster, c.Format = subjects.DefaultCluster, LogAuto
	fs.StringVar(&c.Cluster, "cluster", c.Cluster, "name of the cluster")
	fs.StringVar(&c.Config, "config", "", "TOML file of options by their long names, which flags and KUMO_ variables go before (environment: KUMO_CONFIG)")
	fs.StringVarP(&c.Logging.File, "log", "o", "", "write the log to this file (\"-\": standard output); SIGUSR1 opens it again")
	fs.StringVarP(&c.Logging.JSON, "json-log", "g", "", "write the log as JSON lines to this file, too; SIGUSR1 opens it again")
	fs.StringVar(&c.Format, "log-format", c.Format, "of the log: text, json, or auto: text on a terminal and with -o, json otherwise")
	fs.BoolVarP(&c.Verbose, "verbose", "v", false, "log debug messages too")
	fs.StringVar(&c.PIDFile, "pid-file", "", "write the process's ID to this file")
	fs.StringVarP(&c.Leave, "daemon", "d", "", "leave the terminal once everything is open, and write the process's ID to this file; with -o what is printed goes nowhere")
	fs.StringVar(&c.HTTP, "http", "", "[addr:]port for HTTP: /metrics, /healthz, /readyz, /statusz; none for none (default: none; of a manager, its port + 99)")
	fs.BoolVar(&c.Pprof, "pprof", false, "show Go's profiles there, too, at /debug/pprof/")
	fs.StringVar(&c.Credentials, "credentials", "", "folder of certificates and keys for the bus, as kumoctl auth init makes it: this role's, or the one around it; without, the bus is open to whoever reaches it")
	Reloadable(fs, "verbose", "credentials")
	Ignore(fs, "clock-interval", "", "clocks need not agree")
	Ignore(fs, "write-threads", "", "")
	Ignore(fs, "read-threads", "", "")
	Ignore(fs, "renew-threshold", "", "the partition table comes by itself")
}

// Check says what of the options cannot be.
func (c *Common) Check() error {
	if err := subjects.Cluster(c.Cluster).Check(); err != nil {
		return &UsageError{err}
	}
	if c.HTTP != "" && c.HTTP != NoHTTP {
		if _, _, err := HTTPAddr(c.HTTP); err != nil {
			return err
		}
	}
	if c.PIDFile != "" && c.Leave != "" {
		return Usagef("-d names a file for the process's ID, too: leave --pid-file out")
	}
	return c.Logging.Check()
}

// Daemon is a manager, server or gateway that was opened.
type Daemon interface {
	// Run serves until ctx ends, then stops in good order. An error means that
	// the daemon could not go on.
	Run(ctx context.Context) error
	// Close gives everything back; it may be called twice.
	Close() error
}

// A Reporter is a daemon that can tell whoever supervises it how it is.
type Reporter interface {
	// CanServe tells whether it can do what it is for.
	CanServe() bool
	// Doing says in a line what it does, with how much of a rebalancing is done
	// where it knows.
	Doing() string
	// Alive has its loops answer; the error names one that does not until ctx ends.
	Alive(ctx context.Context) error
}

// Service is what Serve runs.
type Service struct {
	Open func(*slog.Logger) (Daemon, error)
	// Reload takes over what changed in the configuration, and says so in the log:
	// SIGHUP. Nil: there is nothing to take over.
	Reload func(Daemon, *Log) error
	// Warn are told in the log first.
	Warn []string
}

// Serve opens the log and the daemon, runs it until cmd's context ends and
// closes both. Meanwhile SIGUSR1 opens the files of the log again, and SIGHUP
// reloads.
func (c *Common) Serve(cmd *cobra.Command, s Service) (err error) {
	if err := c.Check(); err != nil {
		return err
	}
	left, err := leaveTerminal(cmd.Context(), c.Leave)
	if left == nil {
		return err
	}
	log, err := c.Logging.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	for _, w := range s.Warn {
		log.Warn(w)
	}
	for _, i := range IgnoredOf(cmd.Flags()) {
		log.Info("option accepted: "+i.Why, "option", i.Option)
	}
	removePID, err := writePID(cmp.Or(c.Leave, c.PIDFile))
	if err != nil {
		return err
	}
	defer removePID()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	tell, err := newNotifier(log.Logger)
	if err != nil {
		return err
	}
	defer tell.close()
	signals := heed(log) // from here on: a SIGHUP while it opens waits
	defer signals.stop()
	d, err := s.Open(log.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	signals.start(cancel, func() error {
		if s.Reload == nil {
			return nil
		}
		return tell.reloading(func() error { return s.Reload(d, log) })
	})
	tell.start(ctx, d)
	if err := left(c.Logging.File != "" && c.Logging.File != "-"); err != nil {
		return err
	}
	if err := d.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
