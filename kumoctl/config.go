package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/daemon"
)

func newConfig(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Show how a daemon would be configured",
		Example: "  kumoctl config show server --config /etc/kumofs/server.toml",
		Args:    cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return cli.Usagef("want: config show ROLE") },
	}
	cmd.AddCommand(newConfigShow(g))
	return cmd
}

func newConfigShow(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "show ROLE [OPTION...]",
		Short: "Print the options that a manager, server or gateway would run with, and where each comes from",
		Long: `Print the options that a manager, server or gateway would run with if it were
started here with these options, this environment and the file of --config, and
where each comes from. Nothing is started. What it would not start with is an
error, so that a file can be checked before a daemon is told to read it.

The options are those of kumo-ROLE, but for -o, which is table, json or ndjson here: the
log's file is --log. Those with an asterisk change when a running daemon is sent
SIGHUP, the others when it is started again.`,
		Example: `  kumoctl config show server --config /etc/kumofs/server.toml
  kumoctl config show gateway -m mgr1 -t 11211 -o json
  KUMO_FAIL_AFTER=3 kumoctl config show manager -l mgr1`,
		// The options after ROLE are a daemon's.
		DisableFlagParsing: true,
		ValidArgs:          daemon.Roles,
		RunE: func(cmd *cobra.Command, args []string) error {
			role, args, err := g.configArgs(args)
			if err != nil {
				return err
			}
			if role == "" {
				return cmd.Help()
			}
			list, err := daemon.Settings(role, args)
			if err != nil {
				return err
			}
			return g.print(cmd, list, func(w io.Writer) error { return printSettings(w, list) })
		},
	}
}

// configArgs takes the role and our own options from a command line. Without a
// role somebody asks for help.
func (g *global) configArgs(args []string) (role string, options []string, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "-h" || a == "--help":
			return "", nil, nil
		case a == "--":
			options = append(options, args[i+1:]...)
			i = len(args)
		case (a == "-o" || a == "--output") && i+1 < len(args) && slices.Contains(outputs, args[i+1]):
			i++
			g.output = args[i]
		case outputOf(a) != "":
			g.output = outputOf(a)
		case role == "" && slices.Contains(daemon.Roles, a):
			role = a
		default:
			options = append(options, a)
		}
	}
	if role == "" {
		return "", nil, cli.Usagef("want a role: %s", strings.Join(daemon.Roles, ", "))
	}
	return role, options, nil
}

// outputOf is the output that -oNAME or --output=NAME asks for; -oNAME of other names
// is a file of a daemon's log.
func outputOf(arg string) string {
	for _, option := range []string{"-o", "--output="} {
		if name, ok := strings.CutPrefix(arg, option); ok && slices.Contains(outputs, name) {
			return name
		}
	}
	return ""
}

func printSettings(w io.Writer, list []cli.Setting) error {
	t := columns(w)
	fmt.Fprintln(t, "OPTION\tVALUE\tFROM")
	for _, s := range list {
		mark := ""
		if s.Reload {
			mark = "*"
		}
		fmt.Fprintf(t, "%s%s\t%s\t%s\n", s.Option, mark, s.Value, s)
	}
	return t.Flush()
}
