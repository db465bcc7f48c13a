package main

import (
	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/daemon"
)

// runDaemon is "kumoctl daemon ROLE OPTION...": kumoctl up --processes runs
// itself so, and needs no other binary.
func runDaemon(args []string) int {
	if len(args) == 0 {
		return cli.Main(&cobra.Command{Use: "kumoctl daemon ROLE", Args: cobra.MinimumNArgs(1), Run: func(*cobra.Command, []string) {}}, nil)
	}
	return daemon.Main(args[0], "kumoctl daemon "+args[0], args[1:])
}
