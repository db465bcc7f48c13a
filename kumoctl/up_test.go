package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

// startUp runs "kumoctl up" until stop is called, which returns its exit code.
// talk is what it said until it was up.
func startUp(t *testing.T, args ...string) (talk string, stop func() int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs many loopback addresses")
	}
	root := newRoot()
	r, w := io.Pipe()
	root.SetErr(w)
	ctx, cancel := context.WithCancel(t.Context())
	exit := make(chan int, 1)
	go func() {
		exit <- cli.Execute(ctx, root, append([]string{"up"}, args...), w)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		talk += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "nats -s") {
			break
		}
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		io.Copy(io.Discard, r)
	}()
	code := -1
	stop = func() int {
		cancel()
		<-drained
		if code < 0 {
			code = <-exit
		}
		return code
	}
	t.Cleanup(func() { stop() })
	return talk, stop
}

// say sends lines to a gateway and returns what it answers until it hangs up.
func say(t *testing.T, addr string, lines ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, strings.Join(append(lines, "quit"), "\r\n")+"\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// eventually waits until what is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !is(); <-tick.C {
		if time.Since(began) > time.Minute {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestUp(t *testing.T) {
	dir, host := t.TempDir(), fmt.Sprintf("127.%d.%d.1", 1+rand.IntN(253), rand.IntN(256))
	args := []string{"--dir", dir, "--host", host, "--partitions", "16"}
	talk, stop := startUp(t, args...)
	for _, want := range []string{"manager1", "http://" + host + ":19799/", "server3", host + ":11211", "nc " + host + " 11211", dir, "status", "sub 'kumo.>'"} {
		if !strings.Contains(talk, want) {
			t.Errorf("up does not mention %q:\n%s", want, talk)
		}
	}
	gateway := host + ":11211"
	if got := say(t, gateway, "set k 7 0 5", "hello", "get k", "flush_all"); !strings.HasPrefix(got, "STORED\r\nVALUE k 7 5\r\nhello\r\nEND\r\nCLIENT_ERROR") {
		t.Errorf("the gateway says %q", got)
	}
	t.Run("commands", func(t *testing.T) { commands(t, host) })
	t.Run("second", func(t *testing.T) {
		var errs bytes.Buffer
		root := newRoot()
		root.SetErr(&errs)
		if code := cli.Execute(t.Context(), root, append([]string{"up"}, args...), &errs); code != cli.ExitFailed || !strings.Contains(errs.String(), dir) {
			t.Errorf("a second one on the same folder: %d, %s", code, &errs)
		}
		errs.Reset()
		if code := cli.Execute(t.Context(), newRoot(), []string{"up", "--dir", t.TempDir(), "--host", host}, &errs); code != cli.ExitFailed ||
			!strings.Contains(errs.String(), "11211") || !strings.Contains(errs.String(), "--port") {
			t.Errorf("a second one on the same port: %d, %s", code, &errs)
		}
	})
	t.Run("elsewhere", func(t *testing.T) {
		// An address that is not ours is no port that is taken.
		_, errs := run(t, cli.ExitFailed, "up", "--dir", t.TempDir(), "--host", "192.0.2.1")
		if strings.Contains(errs, "taken") || !strings.Contains(errs, "192.0.2.1") {
			t.Error(errs)
		}
	})
	if code := stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	_, stop = startUp(t, append(args, "--enable-flush-all")...)
	if got := say(t, gateway, "get k", "flush_all", "get k"); got != "VALUE k 7 5\r\nhello\r\nEND\r\nOK\r\nEND\r\n" {
		t.Errorf("after a restart the gateway says %q", got)
	}
	if code := stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// commands asks a cluster of three servers.
func commands(t *testing.T, host string) {
	eventually(t, "status shows five healthy nodes", func() bool {
		out, _ := run(t, 0, host, "status", "-o", "json")
		var st subjects.ClusterStatus
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			t.Fatal(err)
		}
		return st.Health == "ok" && st.Partitions.Total == 16 && len(st.Nodes) == 5
	})
	out, _ := run(t, 0, host, "status")
	if strings.Count(out, "server") != 3 || !strings.Contains(out, "16 with 3 copies: 16 full") {
		t.Errorf("status:\n%s", out)
	}
	out, _ = run(t, 0, host, "dump")
	if n := strings.Count(out, "\n"); n != 17 {
		t.Errorf("dump prints %d lines:\n%s", n, out)
	}
	out, _ = run(t, 0, host, "assign", "k")
	for _, port := range []string{"19801", "19802", "19803"} {
		if !strings.Contains(out, host+":"+port) {
			t.Errorf("assign k without %s:\n%s", port, out)
		}
	}
	eventually(t, "a server counts one item", func() bool { // once it is in the database
		out, _ := run(t, 0, host, "stat", host+":19801", "items")
		return out == "1\n"
	})
	out, _ = run(t, 0, host, "stat", "pid")
	if strings.Count(out, "\n") != 3 {
		t.Errorf("stat pid: %q", out)
	}
	out, _ = run(t, 0, host, "attach")
	if out == "" {
		t.Error("attach says nothing")
	}
	run(t, 0, host, "replace")
	run(t, cli.ExitFailed, host, "detach", "nonsense")
	run(t, cli.ExitUsage, host, "stat", host+":19801", "nonsense")
}
