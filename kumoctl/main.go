// Kumoctl administers a cluster, and starts one on this machine:
//
//	go run ./kumoctl up
//
// There is a file for each command.
package main

import (
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "daemon" {
		os.Exit(runDaemon(args[1:]))
	}
	root := newRoot()
	os.Exit(cli.Main(root, hostFirst(root, args)))
}

// global are the options of all commands.
type global struct {
	managers []string
	cluster  string
	// clusterGiven: it was named, and is not that of the credentials.
	clusterGiven bool
	credentials  string // folder; "" for none
	output       string // table, json or ndjson
	timeout      time.Duration
}

func newRoot() *cobra.Command {
	g := &global{cluster: subjects.DefaultCluster, output: "table", timeout: 5 * time.Second}
	root := &cobra.Command{
		Use:   "kumoctl [HOST[:PORT]] COMMAND",
		Short: "Administer a kumofs cluster, or start one on this machine",
		Long: `Administer a kumofs cluster, or start one on this machine (kumoctl up).

HOST is a manager, or several with commas, by default localhost:19700.
Data goes to standard output, talk to standard error. Exit codes: 0 done,
1 failed, 2 wrong usage, 3 unreachable, 4 timed out.`,
		Version: cli.Version(),
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			g.clusterGiven = cmd.Flags().Changed("cluster")
			return g.check()
		},
	}
	root.SetVersionTemplate("kumofs {{.Version}}\n")
	pf := root.PersistentFlags()
	pf.VarP(cli.Addrs{To: &g.managers, Port: cli.ManagerPort}, "manager", "m", "managers of the cluster (environment: KUMO_MANAGERS; default localhost)")
	pf.StringVar(&g.cluster, "cluster", g.cluster, "name of the cluster")
	pf.StringVar(&g.credentials, "credentials", "", "folder of what to show to a cluster that has credentials, see kumoctl auth (environment: KUMO_CREDENTIALS)")
	pf.StringVarP(&g.output, "output", "o", g.output, "table; json or ndjson (a line for each) for programs")
	cli.SecondsVarP(pf, &g.timeout, "timeout", "", "how long to wait for an answer")
	root.AddCommand(settingsCommands(g)...)
	root.AddCommand(
		newUp(g), newStatus(g), newAttach(g, false), newAttach(g, true), newDetach(g, false), newDetach(g, true),
		newDrain(g), newReplace(g), newManager(g), newAuth(g), newRecover(g), newStat(g), newSlowLog(g), newHotKeys(g), newHash(g), newAssign(g), newDump(g), newBench(g), newConfig(g), newVersion(g),
		newTop(g), newEvents(g), newWatch(g), newCheck(g), newLog(g), newNATSContext(g), newMan(),
		newBackup(g), newBackupVerify(g), newMerge(g), newRestore(g),
		newExport(g), newImport(g), newKeys(g), newSize(g), newRepair(g),
	)
	nameShells(root)
	return root
}

// outputs are what -o takes.
var outputs = []string{"table", "json", "ndjson"}

func (g *global) check() error {
	if !slices.Contains(outputs, g.output) {
		return cli.Usagef("-o %s: want table, json or ndjson", g.output)
	}
	if g.timeout <= 0 {
		return cli.Usagef("--timeout 0: want more")
	}
	if err := subjects.Cluster(g.cluster).Check(); err != nil {
		return &cli.UsageError{Err: err}
	}
	if g.credentials == "" {
		g.credentials = os.Getenv("KUMO_CREDENTIALS")
	}
	if len(g.managers) == 0 {
		to := cli.Addrs{To: &g.managers, Port: cli.ManagerPort}
		if err := to.Set(os.Getenv("KUMO_MANAGERS")); err != nil {
			return cli.Usagef("KUMO_MANAGERS: %w", err)
		}
	}
	if len(g.managers) == 0 {
		g.managers = []string{"localhost:19700"}
	}
	return nil
}

// hostFirst turns kumofs's order, kumoctl HOST COMMAND, into ours. A first
// word that is no command, nor like one, is the host when a command follows it, be it
// misspelt, or when it can only be an address. Options may stand before it.
func hostFirst(root *cobra.Command, args []string) []string {
	at := firstWord(root, args)
	if at >= len(args) || isCommand(root, args[at]) {
		return args
	}
	// An address is none of a command that was misspelt.
	address := strings.ContainsAny(args[at], ".:,")
	misspelt := at+1 < len(args) && !isLike(root, args[at]) && isLike(root, args[at+1])
	if !address && !misspelt && !slices.ContainsFunc(args[at+1:], func(a string) bool { return isCommand(root, a) }) {
		return args
	}
	return slices.Concat(args[:at], []string{"--manager", args[at]}, args[at+1:])
}

// firstWord is the index of the first argument that is neither an option of all
// commands nor its value; len(args) if there is none, or an option that is not
// known comes before.
func firstWord(root *cobra.Command, args []string) int {
	for i := 0; i < len(args); i++ {
		name, isOption := strings.CutPrefix(args[i], "-")
		if !isOption {
			return i
		}
		name, long := strings.CutPrefix(name, "-")
		flag, _, hasValue := strings.Cut(name, "=")
		f := root.PersistentFlags().Lookup(flag)
		if !long {
			if name == "" {
				return len(args)
			}
			f = root.PersistentFlags().ShorthandLookup(name[:1])
			hasValue = len(name) > 1
		}
		if f == nil {
			return len(args)
		}
		if !hasValue && f.NoOptDefVal == "" {
			i++
		}
	}
	return len(args)
}

// isLike tells of a word whether it may be a command that was misspelt.
func isLike(root *cobra.Command, word string) bool {
	root.SuggestionsMinimumDistance = 2
	return len(root.SuggestionsFor(word)) > 0
}

func isCommand(root *cobra.Command, word string) bool {
	if word == "help" || word == "completion" || strings.HasPrefix(word, cobra.ShellCompRequestCmd) {
		return true
	}
	return slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool {
		return c.Name() == word || c.HasAlias(word)
	})
}
