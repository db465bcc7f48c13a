package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/etolabo/kumofs/kumoctl/cli"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Args: cobra.ExactArgs(1),
		Short:   "Write a manual page of every command into a folder",
		Example: "  kumoctl man /usr/local/share/man/man1 && man kumoctl-status",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the folder: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the same version makes the same pages
			head := &doc.GenManHeader{Title: "KUMOCTL", Section: "1", Source: "kumofs " + cli.Version(), Manual: "kumofs"}
			if err := doc.GenManTree(root, head, args[0]); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			return nil
		},
	}
}
