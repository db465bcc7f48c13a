package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/kumoctl/cli"
)

func TestConfigShow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.toml")
	if err := os.WriteFile(file, []byte("store = '/var/kumodb'\nmemory = 64\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUMO_MANAGERS", "mgr1,mgr2")
	out, _ := run(t, 0, "config", "show", "server", "--config", file, "-l", "svr1", "-Ys", "3")
	rows := map[string]bool{}
	for line := range strings.Lines(out) {
		rows[strings.Join(strings.Fields(line), " ")] = true
	}
	for _, want := range []string{
		"listen svr1:19800 flag --listen",
		"manager mgr1:19700,mgr2:19700 environment KUMO_MANAGERS",
		"partner default",
		"memory 64 file " + file + ":2",
		"scrub-every* 1h0m0s default",
		"connect-timeout 3 flag --connect-timeout",
	} {
		if !rows[want] {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "write-threads") {
		t.Errorf("an option that does nothing and is not given is shown")
	}
	for _, args := range []string{"config show server -o json", "-o json config show server", "config show -ojson server"} {
		out, _ = run(t, 0, append(strings.Fields(args), "--config", file, "-l", "svr1")...)
		var list []cli.Setting
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		found := false
		for _, s := range list {
			found = found || s == cli.Setting{Option: "memory", Value: "64", From: cli.FromFile, Where: file + ":2"}
		}
		if !found {
			t.Errorf("%s: %s", args, out)
		}
	}
	if out, _ := run(t, 0, "config", "show", "--help"); !strings.Contains(out, "asterisk") {
		t.Errorf("help: %s", out)
	}
}

func TestConfigShowRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"config":                                  "config show ROLE",
		"config show":                             "manager, server, gateway",
		"config show nonsense":                    "manager, server, gateway",
		"config show server -l a":                 "-m",
		"config show manager -l a --nonsense":     "--nonsense",
		"config show manager -l a b":              `"b" is no option`,
		"config show gateway --config /none.toml": "/none.toml",
		"config show manager -l a --replicas 0":   "--replicas",
	} {
		if out, errs := run(t, cli.ExitUsage, strings.Fields(args)...); out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: %s", args, errs)
		}
	}
}
