package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/daemon"
)

var codeSpan = regexp.MustCompile("`([^`]+)`")

// The texts that docs/troubleshooting.md goes by are in the sources, or in those of
// the library that says them.
func TestTroubleshooting(t *testing.T) {
	text, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	sources := sourceTexts(t)
	known := map[string]bool{
		"heartbeat timeout reached": true, // hashicorp/raft's
		"input/output error":        true, // the kernel's
	}
	texts := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for _, span := range codeSpan.FindAllStringSubmatch(cells[1], -1) {
			texts++
			for piece := range strings.SplitSeq(span[1], "…") {
				piece = strings.Trim(piece, ` "`)
				if len(piece) > 2 && !known[piece] && !strings.Contains(sources, piece) {
					t.Errorf("nothing says %q", piece)
				}
			}
		}
	}
	if texts < 30 {
		t.Errorf("only %d texts were found in the page", texts)
	}
}

// sourceTexts are the Go sources without tests, with strings as they come out.
func sourceTexts(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"../bus", "../subjects", "../kumoserver", "../kumomanager", "../kumogateway", "."} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			all.Write(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return strings.ReplaceAll(all.String(), `\"`, `"`)
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// The files that the pages for operators refer to are there.
func TestLinks(t *testing.T) {
	for _, page := range []string{"tutorial.md", "operations.md", "troubleshooting.md", "migration.md", "reference.md"} {
		text, err := os.ReadFile(filepath.Join("../docs", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join("../docs", l[1])); err != nil {
				t.Errorf("%s refers to %s: %v", page, l[1], err)
			}
		}
	}
}

var commented = regexp.MustCompile(`(?m)^#([a-z-]+ = )`)

// The packages' files are such as daemons take, with every line that is commented
// out as well.
func TestExampleFiles(t *testing.T) {
	for _, role := range daemon.Roles {
		text, err := os.ReadFile("../docs/deploy/etc/" + role + ".toml")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), role+".toml")
		if err := os.WriteFile(path, commented.ReplaceAll(text, []byte("$1")), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := daemon.Settings(role, []string{"--config", path})
		if err != nil {
			t.Errorf("%s: %v", role, err)
		}
		for _, s := range list {
			if s.From == cli.FromFile && s.Reload != strings.Contains(string(text), "[reload].\n#"+s.Option+" =") {
				t.Errorf("%s: the file says of %s something else than that its reload is %v", role, s.Option, s.Reload)
			}
		}
	}
}
