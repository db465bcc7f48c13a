package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

func newAttach(g *global, noReplace bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "attach [NODE...]",
		Short: "Give servers their share of the data; without names, all new ones",
		RunE:  g.nodesCommand(subjects.AdminAttach, noReplace),
	}
	if noReplace {
		cmd.Use = "attach-noreplace [NODE...]"
		cmd.Short = "Attach servers and move nothing yet (see replace)"
	}
	return cmd
}

func newDetach(g *global, noReplace bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "detach [NODE...]",
		Short: "Take all data off servers; without names, those that are down",
		RunE:  g.nodesCommand(subjects.AdminDetach, noReplace),
	}
	if noReplace {
		cmd.Use = "detach-noreplace [NODE...]"
		cmd.Short = "Detach servers and move nothing yet (see replace)"
	}
	return cmd
}

func newReplace(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "rebalance", Aliases: []string{"replace"}, Args: cobra.NoArgs,
		Short: "Spread the data evenly over the attached servers",
		RunE:  g.nodesCommand(subjects.AdminReplace, false),
	}
}

// nodesCommand sends a verb about the nodes named.
func (g *global) nodesCommand(verb string, noReplace bool) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, nodes []string) error {
		req := subjects.AdminRequest{NoReplace: noReplace}
		for _, n := range nodes {
			req.Nodes = append(req.Nodes, serverName(n))
		}
		return g.with(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
			var done subjects.AdminDone
			if err := c.Do(ctx, verb, req, &done); err != nil {
				return err
			}
			return g.print(cmd, done, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, done.Text)
				return err
			})
		})
	}
}

// serverName gives a server's address its default port; names and IDs pass.
func serverName(text string) string {
	if strings.Contains(text, ".") && !strings.Contains(text, ":") || text == "localhost" {
		if hp, err := cli.HostPort(text, cli.ServerPort); err == nil {
			return hp
		}
	}
	return text
}
