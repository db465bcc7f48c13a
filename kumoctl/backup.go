package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/backup"
	"github.com/etolabo/kumofs/kumoctl/cli"
)

// backupDone is what the commands about backups print.
type backupDone struct {
	Dir     string    `json:"dir"`
	ID      string    `json:"id"`
	Base    string    `json:"base,omitempty"`
	Cluster string    `json:"cluster"`
	Began   time.Time `json:"began"`
	Records int64     `json:"records"`
	Bytes   int64     `json:"bytes"`
	Stored  int64     `json:"stored"` // bytes of the files of this backup
}

func doneWith(dir string, m *backup.Manifest) backupDone {
	d := backupDone{Dir: dir, ID: m.ID, Base: m.Base, Cluster: m.Cluster, Began: m.Began, Records: m.Records, Bytes: m.Bytes}
	for i := range m.Parts {
		d.Stored += m.Parts[i].Size
	}
	return d
}

func (g *global) printBackup(cmd *cobra.Command, d backupDone, verb string) error {
	return g.print(cmd, d, func(w io.Writer) error { return d.print(w, verb) })
}

func (d backupDone) print(w io.Writer, verb string) error {
	kind := "full"
	if d.Base != "" {
		kind = "incremental"
	}
	_, err := fmt.Fprintf(w, "%s %s: %s, of cluster %s at %s, %d keys, %s; %s in its files\n", d.Dir, verb, kind, d.Cluster,
		d.Began.Local().Format(time.DateTime), d.Records, size(uint64(d.Bytes)), size(uint64(d.Stored)))
	return err
}

func newBackup(g *global) *cobra.Command {
	var base string
	var verify bool
	var rate cli.Bytes
	cmd := &cobra.Command{
		Use: "backup [SUFFIX | DIR]", Args: cobra.MatchAll(cobra.MaximumNArgs(1), named),
		Short: "Take a backup while the cluster runs",
		Long: `Take a backup while the cluster runs, into a folder that is made.

A word without a slash is a suffix, as kumofs had it: the folder is CLUSTER-SUFFIX
here. Without one the suffix is today's date. Every partition is as it was at one
moment, and all that was acknowledged before the command began is in it.
Interrupted, it leaves FOLDER.partial, which the next attempt replaces.`,
		Example: `  kumoctl mgr1 backup
  kumoctl mgr1 backup /var/backups/monday
  kumoctl mgr1 backup /var/backups/tuesday --base /var/backups/monday
  kumoctl backup --verify /var/backups/monday`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if verify {
				if len(args) == 0 {
					return cli.Usagef("--verify: name the backup's folder")
				}
				return g.verifyBackups(cmd, args)
			}
			o := backup.Options{
				Dir: backupDir(g.cluster, args, time.Now()), Base: base, Version: cli.Version(), Rate: int64(rate), Patience: time.Minute,
			}
			return g.takeBackup(cmd, o)
		},
	}
	cmd.Flags().StringVar(&base, "base", "", "folder of an earlier backup: only what has changed since is stored")
	cmd.Flags().BoolVar(&verify, "verify", false, "take none, check one")
	cmd.Flags().Var(&rate, "rate", "bytes a second that are read, such as 10M; by default as many as the servers give (64M each)")
	return cmd
}

// named refuses an argument that is empty, such as a variable that is not set.
func named(_ *cobra.Command, args []string) error {
	for _, a := range args {
		if a == "" {
			return cli.Usagef("an argument is empty: name a folder, or the end of its name")
		}
	}
	return nil
}

// backupDir is the folder that a backup's argument means.
func backupDir(cluster string, args []string, now time.Time) string {
	switch {
	case len(args) == 0:
		return cluster + "-" + now.Format("20060102")
	case strings.ContainsRune(args[0], filepath.Separator) || args[0] == "." || args[0] == "..":
		return args[0]
	}
	return cluster + "-" + args[0]
}

func (g *global) takeBackup(cmd *cobra.Command, o backup.Options) error {
	return g.long(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
		t, err := c.Table(ctx)
		if err != nil {
			return err
		}
		m := startMeter(cmd.ErrOrStderr(), "backup", "partitions", int64(t.Size()))
		o.Told = func(partitions int, records, bytes int64) {
			m.done.Add(int64(partitions))
			m.records.Add(records)
			m.bytes.Add(bytes)
		}
		done, err := backup.Take(ctx, c, o)
		m.end()
		if err != nil {
			return err
		}
		return g.printBackup(cmd, doneWith(o.Dir, done), "is complete")
	})
}

func newBackupVerify(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "backup-verify DIR...", Args: cobra.MinimumNArgs(1),
		Short:   "Check backups without restoring them, and name what is damaged",
		Example: "  kumoctl backup-verify kumo-backup-20261129",
		RunE:    g.verifyBackups,
	}
}

// verifyBackups checks each backup by itself.
func (g *global) verifyBackups(cmd *cobra.Command, dirs []string) error {
	list := []backupDone{}
	for _, dir := range dirs {
		m := startMeter(cmd.ErrOrStderr(), "check "+dir, "", 0)
		done, err := backup.Verify(cmd.Context(), dir, func(n int64) { m.bytes.Add(n) })
		m.end()
		if err != nil {
			return err
		}
		list = append(list, doneWith(dir, done))
	}
	return g.print(cmd, list, func(w io.Writer) error {
		for _, d := range list {
			if err := d.print(w, "is whole"); err != nil {
				return err
			}
		}
		return nil
	})
}

func newMerge(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "merge DST SRC...", Args: cobra.MinimumNArgs(2),
		Short: "Join a full backup and incremental ones, as kumomergedb did",
		Long: `Join a full backup and incremental ones on top of it into a full one, in a folder
that is made. The order of the sources does not matter. Incremental ones on top of
the newest source fit on top of the result.`,
		Example: "  kumoctl merge /var/backups/week /var/backups/monday /var/backups/tuesday",
		RunE: func(cmd *cobra.Command, args []string) error {
			chain, err := backup.Open(args[1:]...)
			if err != nil {
				return err
			}
			m := startMeter(cmd.ErrOrStderr(), "merge", "", chain.Manifest().Bytes)
			done, err := backup.Merge(cmd.Context(), args[0], chain, func(n int64) { m.bytes.Add(n) })
			m.end()
			if err != nil {
				return err
			}
			return g.printBackup(cmd, doneWith(args[0], done), "is complete")
		},
	}
}
