package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/daemon"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Args: cobra.ExactArgs(1),
		Short:   "Write a manual page of every command, and of each daemon, into a folder",
		Example: "  kumoctl man /usr/local/share/man/man1 && man kumoctl-status",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil { // #nosec G301 -- manual pages are for everybody
				return fmt.Errorf("make the folder: %w", err)
			}
			commands := []*cobra.Command{cmd.Root()}
			for _, role := range []string{"manager", "server", "gateway"} {
				c, err := daemon.Command(role, "kumo-"+role)
				if err != nil {
					return err
				}
				commands = append(commands, c)
			}
			for _, c := range commands {
				c.DisableAutoGenTag = true // the same version makes the same pages
				head := &doc.GenManHeader{Title: strings.ToUpper(c.Name()), Section: "1", Source: "kumofs " + cli.Version(), Manual: "kumofs"}
				if err := doc.GenManTree(c, head, args[0]); err != nil {
					return fmt.Errorf("write manual pages: %w", err)
				}
			}
			return nil
		},
	}
}
