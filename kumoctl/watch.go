package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

func newWatch(g *global) *cobra.Command {
	var o watchOptions
	cmd := &cobra.Command{
		Use: "watch [PREFIX]", Args: cobra.MaximumNArgs(1),
		Short: "Show changes of keys that begin with a prefix, as they are made",
		Long: `Show changes of keys that begin with a prefix, as they are made, until Ctrl-C.

Each change that was acknowledged is shown once, with the version of its entry
(epoch.number), in the order of its partition's log; changes of other partitions may
come before or after. Where changes may have been missed, since the cluster was quicker
than this command or lost a server at that moment, a line says gap, with the partition
and the versions between which they are; they can not be fetched again (kumoctl keys
and export show what is there now). A key whose time is over is shown when somebody
asks for it. Servers tell changes only while somebody watches.`,
		Example: `  kumoctl mgr1 watch user:
  kumoctl mgr1 watch session: -o ndjson | jq -r 'select(.kind == "expire").key'
  kumoctl mgr1 watch config: --values --count 1 --for 30`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.count < 0 {
				return cli.Usagef("--count %d: want 0 for no end, or more", o.count)
			}
			if len(args) > 0 {
				o.prefix = args[0]
			}
			if len(o.prefix) > subjects.MaxKey {
				return cli.Usagef("a prefix of %d bytes: keys have at most %d", len(o.prefix), subjects.MaxKey)
			}
			return g.watch(cmd, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.values, "values", false, "show values, too, those of 64 KiB at most")
	f.IntVar(&o.count, "count", 0, "end after so many changes; 0: do not")
	cli.SecondsVarP(f, &o.last, "for", "", "end after so long; 0: do not")
	return cmd
}

type watchOptions struct {
	prefix string
	values bool
	count  int
	last   time.Duration
}

// watched is a change as it is written for programs.
type watched struct {
	Partition ring.Partition `json:"partition"`
	*subjects.Change
}

// gapped says that changes may have been missed, likewise.
type gapped struct {
	Partition ring.Partition   `json:"partition"`
	Kind      string           `json:"kind"` // gap
	After     subjects.Version `json:"after"`
	Through   subjects.Version `json:"through"`
}

func (g *global) watch(cmd *cobra.Command, o watchOptions) error {
	c, err := g.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	w, left := cmd.OutOrStdout(), o.count
	var end *time.Timer
	defer func() {
		if end != nil {
			end.Stop()
		}
	}()
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	err = c.Watch(ctx, g.timeout, admin.WatchOptions{
		Prefix: []byte(o.prefix), Values: o.values,
		Ready: func() {
			fmt.Fprintln(cmd.ErrOrStderr(), "watching; Ctrl-C ends it")
			if o.last > 0 {
				end = time.AfterFunc(o.last, cancel)
			}
		},
		Change: func(p ring.Partition, ch *subjects.Change) error {
			var err error
			if g.output == "table" {
				err = printChange(w, p, ch)
			} else {
				err = enc.Encode(watched{p, ch})
			}
			if left--; left == 0 && err == nil {
				return errEnough
			}
			return err
		},
		Gap: func(p ring.Partition, after, through subjects.Version) error {
			if g.output != "table" {
				return enc.Encode(gapped{p, "gap", after, through})
			}
			_, err := lipgloss.Fprintf(w, "%s  %4d  %-14s  %s\n", time.Now().Format(changeTime), p, through,
				badStyle.Render(fmt.Sprintf("gap: up to %d changes behind %s may have been missed", through.Seq-after.Seq, after)))
			return err
		},
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

const changeTime = "2006-01-02 15:04:05.000"

// printChange writes a line: time, partition, version, what, bytes, key, value.
func printChange(w io.Writer, p ring.Partition, c *subjects.Change) error {
	style, size := plainStyle, ""
	switch c.Kind {
	case subjects.ChangeSet:
		style, size = goodStyle, strconv.Itoa(c.Size)
	case subjects.ChangeFlush:
		style = badStyle
	case subjects.ChangeDelete, subjects.ChangeExpire:
		style = warnStyle
	}
	key := shown(string(c.Bytes()))
	switch {
	case c.Value != nil:
		key += "  " + shown(*c.Value)
	case c.ValueBase64 != nil:
		key += "  " + shown(string(c.ValueBase64))
	}
	_, err := lipgloss.Fprintf(w, "%s  %4d  %-14s  %s  %8s  %s\n", time.UnixMilli(c.Time).Format(changeTime), p, c.Version,
		style.Render(fmt.Sprintf("%-6s", c.Kind)), size, key)
	return err
}

// shown is a text for people: quoted, if something in it does not print.
func shown(text string) string {
	if !printable(text) {
		return strconv.Quote(text)
	}
	return text
}
