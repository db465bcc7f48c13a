package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// The scripts of testdata/scripts run every command against one cluster, one
// script after the other: a manager, three servers that are attached and one that
// is new. Each leaves the cluster as it found it.
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("one of its kind is enough for the race detector")
	}
	c := testenv.New(t, testenv.Partitions(16))
	c.AddServer()
	c.Eventually("the fourth server is seen", func() bool { return len(c.Status().Nodes) == 6 })
	files, err := filepath.Glob("testdata/scripts/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) { runScript(t, c, f) })
	}
}

// runScript gives a script the cluster's addresses as MANAGER, SERVER1 to SERVER4
// and GATEWAY, and some commands of its own.
func runScript(t *testing.T, c *testenv.Cluster, file string) {
	l := c.Layout()
	manager := l.Addrs(subjects.RoleManager)[0]
	testscript.Run(t, testscript.Params{
		Files: []string{file},
		Setup: func(e *testscript.Env) error {
			e.Setenv("KUMO_MANAGERS", manager)
			e.Setenv("MANAGER", manager)
			e.Setenv("GATEWAY", l.Addrs(subjects.RoleGateway)[0])
			for i, addr := range l.Addrs(subjects.RoleServer) {
				e.Setenv(fmt.Sprintf("SERVER%d", i+1), addr)
				e.Setenv(fmt.Sprintf("NODE%d", i+1), subjects.NodeName(addr))
			}
			e.Setenv("NODE", subjects.NodeName(manager))
			host, _, _ := net.SplitHostPort(manager)
			e.Setenv("HOST", host)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "until": until, "fill": fill, "say": tell,
			"halt":   func(ts *testscript.TestScript, _ bool, args []string) { c.Stop(args[0]) },
			"launch": func(ts *testscript.TestScript, _ bool, args []string) { c.Start(args[0]) },
		},
	})
}

// exits CODE PROGRAM ARG... runs a program that must end with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if err != nil || neg {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		if got = -1; exitCode(err) > 0 {
			got = exitCode(err)
		}
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func exitCode(err error) int {
	var e interface{ ExitCode() int }
	if x, ok := err.(interface{ ExitCode() int }); ok {
		e = x
	}
	if e == nil {
		return 0
	}
	return e.ExitCode()
}

// until REGEXP PROGRAM ARG... runs a program until its output matches.
func until(ts *testscript.TestScript, _ bool, args []string) {
	re, err := regexp.Compile("(?s)" + args[0])
	ts.Check(err)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		err := ts.Exec(args[1], args[2:]...)
		if out := ts.ReadFile("stdout"); re.MatchString(out) {
			return
		} else if time.Since(began) > testenv.Patience {
			ts.Fatalf("not in time: %s of %v (last: %v, %s)", args[0], args[1:], err, out)
		}
	}
}

// tell GATEWAY LINE... sends lines of memcached's protocols, @FILE those of a file,
// and then quit. What is answered is stdout.
func tell(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.DialTimeout("tcp", args[0], testenv.Patience)
	ts.Check(err)
	defer conn.Close()
	ts.Check(conn.SetDeadline(time.Now().Add(testenv.Patience)))
	var text strings.Builder
	for _, line := range append(args[1:], "quit") {
		if file, ok := strings.CutPrefix(line, "@"); ok {
			line = strings.TrimSuffix(ts.ReadFile(file), "\n")
			line = strings.ReplaceAll(line, "\n", "\r\n")
		}
		text.WriteString(line + "\r\n")
	}
	go io.WriteString(conn, text.String())
	answer, err := io.ReadAll(conn)
	ts.Check(err)
	_, err = ts.Stdout().Write(answer)
	ts.Check(err)
}

// fill GATEWAY COUNT BYTES sets keys.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	bytes, err := strconv.Atoi(args[2])
	ts.Check(err)
	conn, err := net.Dial("tcp", args[0])
	ts.Check(err)
	defer conn.Close()
	ts.Check(conn.SetDeadline(time.Now().Add(testenv.Patience)))
	value := strings.Repeat("x", bytes)
	go func() {
		w := bufio.NewWriter(conn)
		for i := range count {
			fmt.Fprintf(w, "set fill-%d 0 0 %d\r\n%s\r\n", i, bytes, value)
		}
		w.Flush()
	}()
	r := bufio.NewScanner(conn)
	for range count {
		if !r.Scan() || r.Text() != "STORED" {
			ts.Fatalf("the gateway says %q", r.Text())
		}
	}
}
