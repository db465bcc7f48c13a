package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// settingsCommands are the switches of a cluster; each is kept in its table.
func settingsCommands(g *global) []*cobra.Command {
	on, off := true, false
	return []*cobra.Command{
		g.setCommand("enable-auto-replace", "Attach new servers and plan around lost ones without being told", ring.Settings{AutoReplace: &on}),
		g.setCommand("disable-auto-replace", "Wait for attach, detach and rebalance", ring.Settings{AutoReplace: &off}),
		g.setCommand("pause", "Hold all moves where they are; lost copies are still made anew", ring.Settings{Paused: &on}),
		g.setCommand("resume", "Let moves go on", ring.Settings{Paused: &off}),
		newMoveRate(g),
	}
}

func (g *global) setCommand(use, short string, set ring.Settings) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		Example: "  kumoctl " + use + "\n  kumoctl mgr1 " + use,
		RunE:    func(cmd *cobra.Command, _ []string) error { return g.set(cmd, set) },
	}
}

// set changes switches and prints what they are now.
func (g *global) set(cmd *cobra.Command, set ring.Settings) error {
	return g.with(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
		var done subjects.AdminDone
		if err := c.Do(ctx, subjects.AdminSet, set, &done); err != nil {
			return err
		}
		return g.printDone(cmd, done)
	})
}

func newMoveRate(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "move-rate [MB/S]", Args: cobra.MaximumNArgs(1),
		Short: "Bound how many bytes of copies each server sends; without a number, tell",
		Long: `Bound how many bytes of copies each server sends; without a number, tell.

A MB is 10^6 bytes, of keys and values before they travel. 0 is no bound: then
--max-moves of the manager alone keeps copies from taking the disk from clients.
It applies at once, to copies under way too. What a server that was away for a
short time lacks of the log does not count.`,
		Example: `  kumoctl move-rate 50
  kumoctl move-rate 0.5
  kumoctl move-rate`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return g.tellMoveRate(cmd)
			}
			var r cli.Rate
			if err := r.Set(args[0]); err != nil {
				return &cli.UsageError{Err: err}
			}
			if rate := int64(r); rate != ring.BoundMoveRate(rate) {
				return cli.Usagef("%s MB/s: want 0 or at least %g", args[0], ring.MinMoveRate/1e6)
			}
			return g.set(cmd, ring.Settings{MoveRate: (*int64)(&r)})
		},
	}
}

// tellMoveRate asks for no more than those may who only look.
func (g *global) tellMoveRate(cmd *cobra.Command) error {
	return g.with(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
		st, err := c.Status(ctx)
		if err != nil {
			return err
		}
		text := rateText(st.MoveRate)
		if st.Paused {
			text += ", and paused"
		}
		return g.printDone(cmd, subjects.AdminDone{Text: text})
	})
}

// printDone prints what is to be said of a command.
func (g *global) printDone(cmd *cobra.Command, done subjects.AdminDone) error {
	return g.print(cmd, done, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, done.Text)
		return err
	})
}
