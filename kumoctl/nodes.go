package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

func newAttach(g *global, noReplace bool) *cobra.Command {
	if noReplace {
		cmd := g.nodesCommand(subjects.AdminAttach, true, false)
		cmd.Use = "attach-noreplace [NODE...]"
		cmd.Short = "Attach servers and move nothing yet (see rebalance)"
		cmd.Example = `  kumoctl attach-noreplace svr4
  kumoctl rebalance --wait`
		return cmd
	}
	cmd := g.nodesCommand(subjects.AdminAttach, false, true)
	cmd.Use = "attach [NODE...]"
	cmd.Short = "Give servers their share of the data; without names, all new ones"
	cmd.Long = cmd.Short + `.

A server that was drained is given its share again if it is named.` + nodeHelp
	cmd.Example = `  kumoctl mgr1 attach
  kumoctl attach svr4 svr5 --wait
  kumoctl attach --wait=10m -o json`
	return cmd
}

func newDetach(g *global, noReplace bool) *cobra.Command {
	if noReplace {
		cmd := g.nodesCommand(subjects.AdminDetach, true, false)
		cmd.Use = "detach-noreplace [NODE...]"
		cmd.Short = "Detach servers and move nothing yet (see rebalance)"
		cmd.Example = `  kumoctl detach-noreplace svr4
  kumoctl rebalance --wait`
		return cmd
	}
	cmd := g.nodesCommand(subjects.AdminDetach, false, true)
	cmd.Use = "detach [NODE...]"
	cmd.Short = "Take all data off servers; without names, those that are down"
	cmd.Long = cmd.Short + `.

What servers that are up hold is copied to others first; until then they serve.
Servers that are down are kept if they have the only copy of something.` + nodeHelp
	cmd.Example = `  kumoctl detach
  kumoctl detach svr3 --wait`
	return cmd
}

const nodeHelp = `

NODE is a server's address, its name or its ID, as kumoctl status -o json has
them.`

func newDrain(g *global) *cobra.Command {
	cmd := g.nodesCommand(subjects.AdminDrain, false, true)
	cmd.Use, cmd.Args = "drain NODE...", cobra.MinimumNArgs(1)
	cmd.Short = "Empty servers while they serve; they stay attached"
	cmd.Long = cmd.Short + `.

Leads go to other servers, and copies once others have them. A drained server
can be stopped, or detached; attach fills it again.` + nodeHelp
	cmd.Example = `  kumoctl drain svr2 --wait && ssh svr2 reboot
  kumoctl attach svr2          # it gets its share again
  kumoctl detach svr2          # or it is taken out for good`
	return cmd
}

func newReplace(g *global) *cobra.Command {
	cmd := g.nodesCommand(subjects.AdminReplace, false, true)
	cmd.Use, cmd.Aliases, cmd.Args = "rebalance", []string{"replace"}, cobra.NoArgs
	cmd.Short = "Spread the data evenly over the attached servers"
	cmd.Example = `  kumoctl rebalance --wait
  kumoctl mgr1 replace`
	return cmd
}

// nodesCommand sends a verb about the nodes named, and waits for the moves if it
// is told to.
func (g *global) nodesCommand(verb string, noReplace, moves bool) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{ValidArgsFunction: g.completeServers, RunE: func(cmd *cobra.Command, nodes []string) error {
		req := subjects.AdminRequest{NoReplace: noReplace}
		for _, n := range nodes {
			req.Nodes = append(req.Nodes, serverName(n))
		}
		err := g.with(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
			var done subjects.AdminDone
			if err := c.Do(ctx, verb, req, &done); err != nil {
				return err
			}
			return g.printDone(cmd, done)
		})
		if err != nil || !w.on {
			return err
		}
		return g.wait(cmd.Context(), cmd.ErrOrStderr(), w)
	}}
	if moves {
		w.flag(cmd)
	}
	return cmd
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
