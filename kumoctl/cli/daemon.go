package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/subjects"
)

// Common are the options that every daemon has.
type Common struct {
	Cluster string // --cluster
	Logging
	PIDFile string // -d
}

// Flags defines the options, and those of kumofs that every daemon accepts and
// that do nothing any more.
func (c *Common) Flags(fs *pflag.FlagSet) {
	OldNames(fs)
	c.Cluster = subjects.DefaultCluster
	fs.StringVar(&c.Cluster, "cluster", c.Cluster, "name of the cluster")
	fs.StringVarP(&c.Logging.File, "log", "o", "", "write the log to this file (\"-\": standard output)")
	fs.StringVarP(&c.Logging.JSON, "json-log", "g", "", "write the log as JSON lines to this file, too")
	fs.BoolVarP(&c.Verbose, "verbose", "v", false, "log debug messages too")
	fs.StringVarP(&c.PIDFile, "pid-file", "d", "", "write the process's ID to this file")
	Ignore(fs, "clock-interval", "", "clocks need not agree")
	Ignore(fs, "write-threads", "", "")
	Ignore(fs, "read-threads", "", "")
	Ignore(fs, "renew-threshold", "", "the partition table comes by itself")
}

// Daemon is a manager, server or gateway that was opened.
type Daemon interface {
	// Run serves until ctx ends, then stops in good order. An error means that
	// the daemon could not go on.
	Run(ctx context.Context) error
	// Close gives everything back; it may be called twice.
	Close() error
}

// Serve opens the log and the daemon, runs it until cmd's context ends and
// closes both.
func (c *Common) Serve(cmd *cobra.Command, open func(*slog.Logger) (Daemon, error)) (err error) {
	if err := subjects.Cluster(c.Cluster).Check(); err != nil {
		return &UsageError{err}
	}
	log, files, err := c.Logging.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	for _, i := range IgnoredOf(cmd.Flags()) {
		log.Info("option accepted: "+i.Why, "option", i.Option)
	}
	removePID, err := writePID(c.PIDFile)
	if err != nil {
		return err
	}
	defer removePID()
	d, err := open(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Run(cmd.Context()); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// writePID writes the file of -d; the function that it returns removes it.
func writePID(path string) (remove func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("write pid file (-d): %w", err)
	}
	return func() { os.Remove(path) }, nil
}
