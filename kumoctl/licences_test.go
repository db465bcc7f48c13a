package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const licencesFile = "../docs/licences.md"

// docs/licences.md lists what the programs are linked with.
func TestLicences(t *testing.T) {
	want := licences(t)
	if *update {
		if err := os.WriteFile(licencesFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(licencesFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("docs/licences.md does not list what is linked: go test ./kumoctl -run TestLicences -update\n%s", diff)
	}
}

// licences makes the text of docs/licences.md, of the modules that have a package
// in one of the programs, and of the files in their folders.
func licences(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}{{end}}{{end}}",
		"./kumoctl", "./kumomanager/cmd/kumo-manager", "./kumoserver/cmd/kumo-server", "./kumogateway/cmd/kumo-gateway")
	cmd.Dir, cmd.Stderr = "..", os.Stderr
	// What is released for: others may link more, as for Windows.
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(modules)
	var b strings.Builder
	b.WriteString(`# Licences

The modules that are linked into the four programs on Linux, made by ` + "`go test ./kumoctl -run TestLicences -update`" + `;
CI compares. kumofs itself is under the [Apache License 2.0](../LICENSE). What only tests need is not listed.

| module | licence | with a notice |
|---|---|---|
`)
	for _, line := range slices.Compact(modules) {
		path, dir, ok := strings.Cut(line, "\t")
		if !ok {
			continue
		}
		name, notice := licenceIn(t, path, dir)
		fmt.Fprintf(&b, "| %s | %s | %s |\n", path, name, notice)
	}
	return b.String()
}

// licenceIn tells a module's licence, and whether it has a notice that must go with
// it.
func licenceIn(t *testing.T, path, dir string) (name, notice string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		switch upper := strings.ToUpper(f.Name()); {
		case strings.HasPrefix(upper, "NOTICE"):
			notice = "yes"
		case strings.HasPrefix(upper, "LICEN"), strings.HasPrefix(upper, "COPYING"):
			text, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if n := licenceOf(string(text)); n != "" && !strings.Contains(name, n) {
				name = strings.TrimPrefix(name+", "+n, ", ")
			}
		}
	}
	if name == "" {
		t.Errorf("%s has no licence that is known here: read it, and add how it is recognized", path)
	}
	return name, notice
}

// licenceOf recognizes a licence by its words.
func licenceOf(text string) string {
	words := strings.Join(strings.Fields(text), " ")
	has := func(s string) bool { return strings.Contains(words, s) }
	switch {
	case has("Apache License") && has("Version 2.0"):
		return "Apache-2.0"
	case has("Mozilla Public License") && has("2.0"):
		return "MPL-2.0"
	case has("Permission is hereby granted, free of charge"):
		return "MIT"
	case has("Redistribution and use in source and binary forms") && (has("Neither the name") || has("names of its contributors") || has("name of the author may not")):
		return "BSD-3-Clause"
	case has("Redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	case has("Permission to use, copy, modify, and/or distribute") || has("Permission to use, copy, modify, and distribute"):
		return "ISC"
	}
	return ""
}
