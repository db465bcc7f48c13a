package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
)

// The server that alone was in sync is gone. The other has an older copy, which
// is made all that there is.
func TestRecover(t *testing.T) {
	c := newTestCluster(t, func(o *local.Options) { o.Servers, o.Gateways, o.Partitions = 2, 0, 4 })
	layout := c.Layout()
	command := func(code int, args string) (string, string) {
		t.Helper()
		return c.command(code, strings.Fields(args)...)
	}
	// A server that has just begun is in sync first, and leads a moment later.
	eventually(t, "recovery is refused where somebody leads", func() bool {
		_, errs := command(cli.ExitFailed, "recover 2 --accept-loss")
		return strings.Contains(errs, "leads it")
	})
	command(cli.ExitUsage, "recover many")
	if _, errs := command(cli.ExitFailed, "recover 4"); !strings.Contains(errs, "no partition 4") {
		t.Error(errs)
	}

	for _, step := range []func() error{
		func() error { return c.Stop("server1") }, func() error { return c.Stop("server2") }, func() error { return c.StartNode("server1") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	servers := layout.Addrs(subjects.RoleServer)
	server1, server2 := servers[0], servers[1]
	var st subjects.ClusterStatus
	eventually(t, "all partitions wait", func() bool {
		out, _ := command(cli.ExitDone, "status -o json")
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			t.Fatal(err)
		}
		// server1 may be listed as it was, down, when it has begun to listen already.
		return len(st.Stuck) == 4 && slices.ContainsFunc(st.Nodes, func(n subjects.NodeStatus) bool {
			return n.Role == subjects.RoleServer && n.Addr == server1 && n.State != "down"
		})
	})
	out, errs := command(cli.ExitFailed, "recover 2")
	if !strings.Contains(out, "would be lost: what") || !strings.Contains(out, "old") || !strings.Contains(errs, "--accept-loss") {
		t.Errorf("%s%s", out, errs)
	}
	if _, errs := command(cli.ExitFailed, "recover 2 --accept-loss --from "+server2); !strings.Contains(errs, "does not answer") {
		t.Error(errs)
	}
	out, _ = command(cli.ExitDone, "recover 2 --accept-loss -o json")
	var done subjects.AdminDone
	if err := json.Unmarshal([]byte(out), &done); err != nil || done.Recover == nil || !done.Recover.Done || len(done.Recover.Missing) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	eventually(t, "one partition serves, with possible loss", func() bool {
		out, _ := command(cli.ExitDone, "status -o json")
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			t.Fatal(err)
		}
		return st.Partitions.Down == 3 && st.Partitions.Loss == 1
	})
}
