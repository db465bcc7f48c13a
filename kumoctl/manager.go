package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

// managersWithin bounds a change of the managers, one of which may have to get the
// whole log first; --timeout may be longer.
const managersWithin = 30 * time.Second

func newManager(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use: "manager", Short: "Add managers to a cluster, or remove some, while it runs",
		Long: `Add managers to a cluster, or remove some, while it runs.

A new manager is started on an empty folder with --join, and -p for the others;
it has a say once it was added. One that was removed ends by itself, and its
folder is of no more use. Commands may be repeated. Servers and gateways learn
of new managers by themselves, but name them in their -m and -p for the next
start.`,
		Example: `  mgr3$ kumo-manager -l mgr3 -p mgr1,mgr2 --join
  kumoctl mgr1 manager add mgr3
  kumoctl mgr1 manager remove mgr2
  kumoctl mgr1 manager replace mgr2 mgr4`,
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			return cli.Usagef("want: manager add ADDR, remove ADDR or replace OLD NEW")
		},
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "add ADDR", Short: "Give a manager that was started with --join its vote", Args: cobra.ExactArgs(1),
			Example: "  kumoctl mgr1 manager add mgr3:19700",
			RunE: func(cmd *cobra.Command, args []string) error {
				return g.changeManagers(cmd, subjects.ManagerRequest{Add: args[0]})
			},
		},
		&cobra.Command{
			Use: "remove ADDR", Short: "Take a manager out for good; it ends", Args: cobra.ExactArgs(1),
			Example: "  kumoctl mgr1 manager remove mgr3",
			RunE: func(cmd *cobra.Command, args []string) error {
				return g.changeManagers(cmd, subjects.ManagerRequest{Remove: args[0]})
			},
		},
		&cobra.Command{
			Use: "replace OLD NEW", Short: "Add a manager, then remove another", Args: cobra.ExactArgs(2),
			Long: `Add a manager, then remove another.

If it is interrupted between the two, both are managers; repeat it.`,
			Example: "  kumoctl mgr1 manager replace mgr2 mgr4",
			RunE: func(cmd *cobra.Command, args []string) error {
				return g.replaceManager(cmd, args[0], args[1])
			},
		},
	)
	return cmd
}

// replaceManager adds one manager and removes another. Of two names of one manager
// the second would be added, which it is already, and the first removed.
func (g *global) replaceManager(cmd *cobra.Command, from, to string) error {
	was, err := cli.HostPort(from, cli.ManagerPort)
	if err != nil {
		return &cli.UsageError{Err: err}
	}
	is, err := cli.HostPort(to, cli.ManagerPort)
	if err != nil {
		return &cli.UsageError{Err: err}
	}
	if subjects.NodeName(was) == subjects.NodeName(is) {
		return cli.Usagef("%s cannot be replaced by itself", was)
	}
	return g.changeManagers(cmd, subjects.ManagerRequest{Add: is}, subjects.ManagerRequest{Remove: was})
}

// changeManagers makes changes one after the other and tells of each.
func (g *global) changeManagers(cmd *cobra.Command, changes ...subjects.ManagerRequest) error {
	for _, ch := range changes {
		for _, addr := range []*string{&ch.Add, &ch.Remove} {
			if *addr == "" {
				continue
			}
			hp, err := cli.HostPort(*addr, cli.ManagerPort)
			if err != nil {
				return &cli.UsageError{Err: err}
			}
			*addr = hp
		}
		own := *g
		own.timeout = max(g.timeout, managersWithin)
		var done subjects.AdminDone
		err := own.with(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
			return c.Do(ctx, subjects.AdminManager, ch, &done)
		})
		if err != nil {
			return err
		}
		if err := g.printDone(cmd, done); err != nil {
			return err
		}
	}
	return nil
}
