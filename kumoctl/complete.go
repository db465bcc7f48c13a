package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

// completeWithin bounds how long the shell's completion asks a cluster.
const completeWithin = time.Second

// nameShells has completion refuse a shell that it does not know, where cobra's own
// shows its help and is content.
func nameShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		var shells []string
		for _, c := range cmd.Commands() {
			shells = append(shells, c.Name())
		}
		cmd.Args = func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.Usagef("no completion for %q: there is %s", args[0], strings.Join(shells, ", "))
			}
			return nil
		}
		cmd.Example = "  kumoctl completion bash >/etc/bash_completion.d/kumoctl"
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
}

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
