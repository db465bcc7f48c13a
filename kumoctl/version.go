package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/cli"
)

func newVersion(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, Example: "  kumoctl version -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := cli.Version()
			return g.print(cmd, map[string]string{"version": v}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, "kumofs", v)
				return err
			})
		},
	}
}
