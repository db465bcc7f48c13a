package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

func newRecover(g *global) *cobra.Command {
	var accept bool
	var from string
	cmd := &cobra.Command{
		Use: "recover PARTITION", Args: cobra.ExactArgs(1),
		Short: "Give up the missing copies of a partition that nobody may lead",
		Long: `Give up the missing copies of a partition that nobody may lead.

A partition waits where all copies that are in sync are on servers that are
down, or may lack acknowledged writes. Starting those servers is the better
way. Where they are gone for good, this makes what one server holds all that
there is. Without --accept-loss it only says what would be lost.`,
		Example: `  kumoctl recover 17                # what would be lost
  kumoctl recover 17 --accept-loss
  kumoctl recover 17 --accept-loss --from svr2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := strconv.ParseUint(args[0], 10, 16)
			if err != nil || p >= ring.MaxPartitions {
				return cli.Usagef("%q is no partition: want a number (kumoctl status and dump show them)", args[0])
			}
			req := subjects.RecoverRequest{Partition: ring.Partition(p), Node: serverName(from)}
			return g.with(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
				return g.recover(ctx, cmd, c, req, accept)
			})
		},
	}
	cmd.Flags().BoolVar(&accept, "accept-loss", false, "do it: acknowledged writes may be lost")
	cmd.Flags().StringVar(&from, "from", "", "server whose copy to take; by default the best one")
	return cmd
}

// recover asks what it costs, and does it if that is accepted.
func (g *global) recover(ctx context.Context, cmd *cobra.Command, c *admin.Client, req subjects.RecoverRequest, accept bool) error {
	var done subjects.AdminDone
	if err := c.Do(ctx, subjects.AdminRecover, req, &done); err != nil {
		return err
	}
	if accept && done.Recover != nil {
		plan := done.Recover
		// The same copy, of the same epoch: nothing else was accepted. A repeat
		// finds it done.
		req.AcceptLoss, req.Epoch, req.Node = true, plan.Epoch, plan.Node
		if err := c.Do(ctx, subjects.AdminRecover, req, &done); err != nil {
			return err
		}
		if done.Recover == nil {
			plan.Done = true
			done.Recover = plan
		}
	}
	if err := g.print(cmd, done, func(w io.Writer) error { return printRecovery(w, &done) }); err != nil {
		return err
	}
	if !accept {
		return fmt.Errorf("%w: nothing was done; --accept-loss does it", subjects.ErrRefused)
	}
	return nil
}

func printRecovery(w io.Writer, done *subjects.AdminDone) error {
	fmt.Fprintln(w, done.Text)
	rep := done.Recover
	if rep == nil {
		return nil
	}
	what := "would be lost"
	if rep.Done {
		what = "may be lost"
	}
	for _, l := range rep.Loss {
		fmt.Fprintf(w, "%s: %s\n", what, l)
	}
	if len(rep.Loss) == 0 {
		fmt.Fprintf(w, "%s: nothing that is known of\n", what)
	}
	t := columns(w)
	fmt.Fprintln(t, "SERVER\tLAST ENTRY\tKEYS\tCOPY")
	for _, c := range rep.Copies {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", c.Node, c.Tail, c.Items, copyText(c))
	}
	return t.Flush()
}

// copyText says in words what is to be known of a copy.
func copyText(c subjects.NodeCopy) string {
	words := []string{"old"}
	if c.InSync {
		words[0] = "in sync"
	}
	for _, w := range []struct {
		is   bool
		word string
	}{{c.Incomplete, "not complete"}, {c.Unclean, "its machine or its disk died"}, {c.Damaged > 0, "damaged"}} {
		if w.is {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ", ")
}
