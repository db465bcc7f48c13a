package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/subjects"
)

// completeWithin bounds how long the shell's completion asks a cluster.
const completeWithin = time.Second

// completeServers offers the addresses of the cluster's servers to the shell.
func (g *global) completeServers(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if g.check() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	var list []cobra.Completion
	_ = g.with(ctx, func(ctx context.Context, c *admin.Client) error { // nothing to offer is no error
		st, err := c.Status(ctx)
		if err != nil {
			return err
		}
		for _, n := range st.Nodes {
			if n.Role == subjects.RoleServer {
				list = append(list, cobra.CompletionWithDesc(n.Addr, n.State))
			}
		}
		return nil
	})
	return list, cobra.ShellCompDirectiveNoFileComp
}
