package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/credentials"
	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
)

// Every command that asks the cluster shows --credentials, and who may not is told so.
func TestCommandsShowCredentials(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "credentials")
	if err := credentials.Init(dir, subjects.DefaultCluster, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	c := newTestCluster(t, func(o *local.Options) { o.Servers, o.Replicas, o.Partitions, o.Credentials = 1, 1, 4, dir })
	if err := c.m.Set(&memcache.Item{Key: "w:a", Value: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	l := c.Layout()
	manager := l.Addrs(subjects.RoleManager)[0]
	ask := func(code int, role, command string) string {
		t.Helper()
		args := append([]string{manager, "--timeout", "20", "--credentials", filepath.Join(dir, role)}, strings.Fields(command)...)
		_, errs := run(t, code, args...)
		return errs
	}
	for _, command := range []string{
		"status", "check", "events", "stat", "top --once", "slowlog", "hotkeys", "dump", "assign k", "keys w:", "size", "export", "repair --check",
		"watch w: --for 0.1", "move-rate", "pause", "resume", "attach", "rebalance", "backup " + filepath.Join(t.TempDir(), "b"),
	} {
		ask(cli.ExitDone, "admin", command)
	}
	for _, command := range []string{"status", "move-rate"} {
		ask(cli.ExitDone, "readonly", command)
	}
	for _, command := range []string{"watch w: --for 0.1", "keys", "pause", "move-rate 1"} {
		if errs := ask(cli.ExitFailed, "readonly", command); !strings.Contains(errs, "the credentials do not allow that") {
			t.Errorf("%s: %s", command, errs)
		}
	}
}
