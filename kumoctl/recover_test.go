package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
)

// The server that alone was in sync is gone. The other has an older copy, which
// is made all that there is.
func TestRecover(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs many loopback addresses")
	}
	o := local.Defaults()
	o.Dir, o.Servers, o.Gateways, o.Partitions = t.TempDir(), 2, 0, 4
	o.Host = fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(253), rand.IntN(256), 1+rand.IntN(254))
	c, err := local.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	layout := c.Layout()
	to := "-m " + layout.Addrs(subjects.RoleManager)[0] + " "
	command := func(code int, args string) (string, string) {
		t.Helper()
		return run(t, code, strings.Fields(to+args)...)
	}
	// A server that has just begun is in sync first, and leads a moment later.
	poll(t, "recovery is refused where somebody leads", func() bool {
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
	var st subjects.ClusterStatus
	poll(t, "all partitions wait", func() bool {
		out, _ := command(cli.ExitDone, "status -o json")
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			t.Fatal(err)
		}
		return len(st.Stuck) == 4
	})
	out, errs := command(cli.ExitFailed, "recover 2")
	if !strings.Contains(out, "would be lost: what") || !strings.Contains(out, "old") || !strings.Contains(errs, "--accept-loss") {
		t.Errorf("%s%s", out, errs)
	}
	server2 := layout.Addrs(subjects.RoleServer)[1]
	if _, errs := command(cli.ExitFailed, "recover 2 --accept-loss --from "+server2); !strings.Contains(errs, "does not answer") {
		t.Error(errs)
	}
	out, _ = command(cli.ExitDone, "recover 2 --accept-loss -o json")
	var done subjects.AdminDone
	if err := json.Unmarshal([]byte(out), &done); err != nil || done.Recover == nil || !done.Recover.Done || len(done.Recover.Missing) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	poll(t, "one partition serves, with possible loss", func() bool {
		out, _ := command(cli.ExitDone, "status -o json")
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			t.Fatal(err)
		}
		return st.Partitions.Down == 3 && st.Partitions.Loss == 1
	})
}

func poll(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for !is() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not in time: %s", what)
		}
	}
}
