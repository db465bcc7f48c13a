package testenv_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/etolabo/kumofs"

// goPackage is what `go list -json` tells of a package.
type goPackage struct {
	ImportPath  string
	Imports     []string // of the package itself
	TestImports []string // of its own _test files
}

// rel is the package's folder in the module.
func (p goPackage) rel() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// The rules of the house, as docs/architecture.md tells them. The go command
// caches a test's result without seeing that other packages changed: run this
// with -count=1.
func TestImportRules(t *testing.T) {
	for _, p := range list(t) {
		for _, imported := range p.Imports {
			for _, rule := range rules {
				if why := rule(p.rel(), imported); why != "" {
					t.Errorf("%s imports %s: %s", p.rel(), imported, why)
				}
			}
		}
		for _, imported := range p.TestImports {
			if imported == module+"/testenv" && !within(p.rel(), "testenv") {
				t.Errorf("%s imports testenv from its own package: only external tests (package x_test) may", p.rel())
			}
		}
	}
}

// rules each say why the package in folder `from` must not import `to`, or "".
var rules = []func(from, to string) string{
	daemonsApart, busKnowsNoWords, natsInBus, bboltInStores, pureStaysPure, testenvForTests,
}

func TestRulesForbid(t *testing.T) {
	tests := []struct{ from, to string }{
		{"kumoserver", module + "/kumomanager"},
		{"kumoserver/store", module + "/kumogateway"},
		{"kumogateway", module + "/kumoctl/local"},
		{"bus", module + "/subjects"},
		{"subjects/ring", module + "/bus"},
		{"kumoserver", "github.com/nats-io/nats.go"},
		{"kumomanager", "go.etcd.io/bbolt"},
		{"kumoserver/replica", "time"},
		{"kumogateway/memcache", "math/rand/v2"},
		{"kumoserver", module + "/testenv"},
		{"bus", "github.com/hashicorp/raft"},
	}
	for _, tt := range tests {
		if !slices.ContainsFunc(rules, func(r func(from, to string) string) bool { return r(tt.from, tt.to) != "" }) {
			t.Errorf("no rule forbids %s to import %s", tt.from, tt.to)
		}
	}
}

var daemons = []string{"kumoserver", "kumomanager", "kumogateway"}

// composes reports whether the package puts daemons together: the mains, and
// what starts clusters.
func composes(from string) bool {
	return path.Base(path.Dir(from)) == "cmd" || within(from, "kumoctl") || within(from, "testenv")
}

func daemonsApart(from, to string) string {
	if composes(from) {
		return ""
	}
	for _, d := range append(daemons, "kumoctl") {
		if within(to, module+"/"+d) && !within(from, d) {
			return "daemons know each other by messages only"
		}
	}
	return ""
}

func busKnowsNoWords(from, to string) string {
	switch {
	case within(from, "bus") && within(to, module+"/subjects"):
		return "the bus knows no kumo word"
	case within(from, "subjects") && within(to, module+"/bus"):
		return "messages do not depend on how they travel"
	}
	return ""
}

func natsInBus(from, to string) string {
	if strings.HasPrefix(to, "github.com/nats-io/") && !within(from, "bus") && !within(from, "kumoctl") {
		return "only bus and kumoctl import NATS"
	}
	return ""
}

func bboltInStores(from, to string) string {
	if within(from, "bus/quorum") {
		return ""
	}
	if within(to, "go.etcd.io/bbolt") && !within(from, "kumoserver/store") {
		return "only kumoserver/store and bus/quorum import bbolt"
	}
	if strings.HasPrefix(to, "github.com/hashicorp/raft") {
		return "only bus/quorum imports raft"
	}
	return ""
}

func pureStaysPure(from, to string) string {
	pure := []string{"subjects/ring", "kumoserver/replica", "kumomanager/members", "kumomanager/rebalance", "kumogateway/memcache", "kumogateway/repeat"}
	impure := []string{"time", "net", "os", "context", "sync", "math/rand", "log/slog"}
	for _, p := range pure {
		if !within(from, p) {
			continue
		}
		for _, i := range impure {
			if within(to, i) {
				return "the package is pure: time, randomness and concurrency come in as data"
			}
		}
	}
	return ""
}

func testenvForTests(from, to string) string {
	if within(to, module+"/testenv") && !within(from, "testenv") {
		return "only tests import testenv"
	}
	return ""
}

// within reports whether a package is root or below it.
func within(pkg, root string) bool {
	return pkg == root || strings.HasPrefix(pkg, root+"/")
}

func list(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		t.Fatal("go list names no package")
	}
	return packages
}
