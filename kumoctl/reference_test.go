package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/daemon"
)

var update = flag.Bool("update", false, "write docs/reference.md")

const referenceFile = "../docs/reference.md"

// docs/reference.md says what the commands say of themselves.
func TestReference(t *testing.T) {
	want := reference(t)
	if *update {
		if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("the commands and docs/reference.md differ: go test ./kumoctl -run TestReference -update\n%s", diff)
	}
}

// reference makes the text of docs/reference.md.
func reference(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# Reference

Every command and option, made of what the commands say of themselves by
` + "`go test ./kumoctl -run TestReference -update`" + `; CI compares. Where to begin is [tutorial.md](tutorial.md).

- [kumo-manager](#kumo-manager), [kumo-server](#kumo-server), [kumo-gateway](#kumo-gateway): the daemons
- [kumoctl](#kumoctl): the command
- [Subjects](#subjects) of the bus

## How a daemon is told

Each option of a daemon can be given as a flag, as an environment variable, and in the TOML file that ` + "`--config`" + ` or
` + "`KUMO_CONFIG`" + ` names, under its long name. Flags go before the environment, and the environment before the file. An
empty variable counts as none. Times are seconds (` + "`2`, `0.5`" + `) or have a unit (` + "`500ms`" + `); addresses are
` + "`addr[:port]`" + `; options that can be repeated take lists with commas, or TOML's lists. An unknown key in the file is
an error that names the line and what exists; a ` + "`KUMO_`" + ` variable that sets nothing is a warning.

` + "`kumoctl config show ROLE [OPTION...]`" + ` prints what would be in force, and where each value comes from.

| signal | does |
|---|---|
| SIGTERM, SIGINT | stops in good order; a second one ends the process |
| SIGHUP | reads the file again and takes over the options marked "reload"; what else changed is logged as waiting for a restart; a file that is wrong changes nothing. The end of the daemon's terminal stops it |
| SIGUSR1 | opens the files of ` + "`-o` and `-g`" + ` again, after they were moved away |

Exit codes of all commands: 0 done, 1 failed, 2 wrong usage, 3 unreachable, 4 timed out.

The log is text on a terminal and in the file of ` + "`-o`" + `, JSON lines otherwise, unless ` + "`--log-format`" + ` says so.
` + "`NO_COLOR`" + ` takes the colours from it. Daemons started by systemd (` + "`NOTIFY_SOCKET`, `WATCHDOG_USEC`" + `) tell it when
they can serve, what they do, and that their loops go on.
`)
	for _, role := range daemon.Roles {
		referDaemon(t, &b, role)
	}
	b.WriteString("\n## kumoctl\n\n")
	root := newRoot()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd("x")
	fmt.Fprintf(&b, "%s\n\n    %s\n\n", prose(root.Long), root.UseLine())
	b.WriteString("Options of all commands:\n\n")
	referFlags(&b, root.PersistentFlags())
	referCommands(&b, root)
	referSubjects(t, &b)
	return b.String()
}

// referDaemon writes a daemon's chapter.
func referDaemon(t *testing.T, b *strings.Builder, role string) {
	t.Helper()
	cmd, err := daemon.Command(role, "kumo-"+role)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(b, "\n## kumo-%s\n\n%s.\n\n| option | default | | meaning |\n|---|---|---|---|\n", role, cmd.Short)
	var nothing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if why, yes := cli.DoesNothing(f); yes {
			nothing = append(nothing, fmt.Sprintf("| %s | %s |", spellings(f), why))
			return
		}
		mark, usage := "", f.Usage
		if cli.IsReloadable(f) {
			mark, usage = "reload", strings.TrimSuffix(usage, " [reload]")
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", spellings(f), standard(f), mark, cell(usage))
	})
	fmt.Fprintf(b, "\nOptions of the original, and of versions before, that are accepted and do nothing; each is told once in the log:\n\n| option | why |\n|---|---|\n%s\n", strings.Join(nothing, "\n"))
}

// spellings are all ways to write a flag.
func spellings(f *pflag.Flag) string {
	var all []string
	if f.Shorthand != "" {
		all = append(all, "-"+f.Shorthand)
	}
	var long []string
	for _, old := range cli.OldNamesOf(f.Name) {
		if strings.HasPrefix(old, "--") {
			long = append(long, old)
		} else {
			all = append(all, old)
		}
	}
	all = append(append(all, "--"+f.Name), long...)
	return "`" + strings.Join(all, "`, `") + "`"
}

// standard is a flag's default.
func standard(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "[]":
		return ""
	}
	return "`" + f.DefValue + "`"
}

func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), "|", `\|`)
}

// prose is a help text with its examples, which are indented, as Markdown.
func prose(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "  ") {
			lines[i] = "  " + l
		}
	}
	return strings.Join(lines, "\n")
}

// referFlags writes a table of kumoctl's flags, if there are any.
func referFlags(b *strings.Builder, fs *pflag.FlagSet) {
	rows := 0
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if rows++; rows == 1 {
			b.WriteString("| option | default | meaning |\n|---|---|---|\n")
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", spellings(f), standard(f), cell(f.Usage))
	})
	if rows > 0 {
		b.WriteString("\n")
	}
}

// referCommands writes a section for each command below one.
func referCommands(b *strings.Builder, parent *cobra.Command) {
	for _, c := range parent.Commands() {
		if !c.IsAvailableCommand() && c.Name() != "help" || parent.Name() == "completion" {
			continue
		}
		fmt.Fprintf(b, "### %s\n\n    %s\n\n", c.CommandPath(), c.UseLine())
		if len(c.Aliases) > 0 {
			fmt.Fprintf(b, "Also `%s`.\n\n", strings.Join(c.Aliases, "`, `"))
		}
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		fmt.Fprintf(b, "%s\n\n", prose(text))
		if c.Example != "" {
			fmt.Fprintf(b, "```sh\n%s\n```\n\n", unindent(c.Example))
		}
		referFlags(b, c.LocalNonPersistentFlags())
		referCommands(b, c)
	}
}

func unindent(text string) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}
