package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// What is tested elsewhere, or has no other form.
var (
	// noScript are commands without a script.
	noScript = map[string]string{"up": "TestUp and others"}
	// noJSON are commands that have one form.
	noJSON = map[string]string{
		"man":  "it writes pages",
		"help": "it writes prose", "completion": "it writes a shell's language",
	}
)

var scripted = regexp.MustCompile(`(?:^|[ '])kumoctl ([^>|&']*)`)

// Every command runs in a script, for people and for programs.
func TestEveryCommandHasAScript(t *testing.T) {
	files, err := filepath.Glob("testdata/scripts/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd("x")
	table, json := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		script, _, _ := strings.Cut(string(text), "\n-- ")
		for line := range strings.Lines(script) {
			for _, m := range scripted.FindAllStringSubmatch(strings.TrimSpace(line), -1) {
				words := strings.Fields(m[1])
				name, form := commandOf(root, words)
				if form == "table" {
					table[name] = true
				} else {
					json[name] = true
				}
			}
		}
	}
	for _, c := range root.Commands() {
		name := c.Name()
		if noScript[name] != "" {
			continue
		}
		if !table[name] {
			t.Errorf("no script runs kumoctl %s as people do", name)
		}
		if !json[name] && noJSON[name] == "" {
			t.Errorf("no script runs kumoctl %s with -o json or ndjson", name)
		}
	}
}

// commandOf finds the command and the form of its output in the words of a line.
func commandOf(root *cobra.Command, words []string) (name, form string) {
	form = "table"
	for i, w := range words {
		if (w == "-o" || w == "--output") && i+1 < len(words) && slices.Contains(outputs, words[i+1]) {
			form = words[i+1]
		}
		if name == "" && isCommand(root, w) {
			name = w
			if c, _, err := root.Find([]string{w}); err == nil && c != root {
				name = c.Name()
			}
		}
	}
	return name, form
}
