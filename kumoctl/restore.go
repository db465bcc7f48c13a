package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/backup"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/load"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// loadPatience is for how long one record is tried.
const loadPatience = time.Minute

// loadDone is what restore and import print.
type loadDone struct {
	Stored int64 `json:"stored"` // keys
	Bytes  int64 `json:"bytes"`
	Over   int64 `json:"over"` // keys whose time was over
}

func newRestore(g *global) *cobra.Command {
	var yes bool
	var rate cli.Bytes
	cmd := &cobra.Command{
		Use: "restore DIR...", Args: cobra.MinimumNArgs(1),
		Short: "Store what is in a backup, in a cluster of any size",
		Long: `Store what is in a backup, in a cluster that runs, of any number of servers and
partitions. Flags, values and times of expiry are as they were; keys whose time is
over are left out. An incremental backup is named together with those that it is on
top of, in any order.

Everything is checked before anything is written. Keys that the cluster has and the
backup has not stay. Interrupted, it can be run again.`,
		Example: `  kumoctl mgr1 restore /var/backups/monday
  kumoctl mgr1 restore /var/backups/monday /var/backups/tuesday --rate 20M --yes`,
		RunE: func(cmd *cobra.Command, dirs []string) error {
			chain, err := backup.Open(dirs...)
			if err != nil {
				return err
			}
			m := startMeter(cmd.ErrOrStderr(), "check", "", chain.Files())
			err = chain.Verify(cmd.Context(), func(n int64) { m.bytes.Add(n) })
			m.end()
			if err != nil {
				return fmt.Errorf("nothing is restored: %w", err)
			}
			return g.long(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
				if err := g.mayFill(cmd, c, yes); err != nil {
					return err
				}
				return g.load(cmd, "restore", chain.Manifest().Bytes, int64(rate), func(ctx context.Context, put func(*subjects.Record) error) error {
					for p := range chain.Manifest().Parts {
						if err := chain.Part(p, func(r *subjects.Record, _ []byte) error { return put(r) }); err != nil {
							return err
						}
					}
					return nil
				})
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "also into a cluster that has keys: those that the backup has, too, are replaced")
	cmd.Flags().Var(&rate, "rate", "bytes a second that are stored, such as 10M; by default as many as the servers take")
	return cmd
}

// load stores what each gives to its function, and tells what was done.
func (g *global) load(cmd *cobra.Command, what string, total, rate int64, each func(ctx context.Context, put func(*subjects.Record) error) error) error {
	m := startMeter(cmd.ErrOrStderr(), what, "", total)
	var done loadDone
	err := func() (err error) {
		defer m.end()
		security, err := g.security()
		if err != nil {
			return err
		}
		w, err := load.Open(load.Options{Cluster: g.cluster, Managers: g.managers, Security: security, Rate: rate, Patience: loadPatience}, func(n int64) {
			m.records.Add(1)
			m.bytes.Add(n)
		})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Close()) }()
		err = each(cmd.Context(), func(r *subjects.Record) error {
			if load.Over(r, time.Now()) {
				done.Over++
				return nil
			}
			return w.Put(cmd.Context(), r)
		})
		// What was begun is ended, unless the command is interrupted: closing ends it.
		if waited := w.Wait(cmd.Context()); err == nil {
			err = waited
		}
		return err
	}()
	done.Stored, done.Bytes = m.records.Load(), m.bytes.Load()
	if err != nil {
		return fmt.Errorf("%d keys were stored, and then: %w; it can be run again", done.Stored, err)
	}
	return g.print(cmd, done, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s: %s; %d keys were over\n", what, m.summary(), done.Over)
		return err
	})
}

var errNotEmpty = errors.New("there are keys")

// mayFill asks whether to restore into a cluster that has keys.
func (g *global) mayFill(cmd *cobra.Command, c *admin.Client, yes bool) error {
	if yes {
		return nil
	}
	// What status counts trails by seconds.
	o := scanOptions{keysOnly: true}
	err := eachPartition(cmd.Context(), c, func(ctx context.Context, t *ring.Table, p ring.Partition) error {
		return scan(ctx, c, t, p, o, func(*subjects.Record) error { return errNotEmpty })
	})
	if !errors.Is(err, errNotEmpty) {
		return err
	}
	text := fmt.Sprintf("cluster %s is not empty, and keys of the same name are replaced", g.cluster)
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return fmt.Errorf("%s: if that is meant, add --yes", text)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s. Go on? [y/N] ", text)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
		return errors.New("nothing is restored")
	}
	return nil
}
