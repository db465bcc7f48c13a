package testenv_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// The example of kumofs's documents for several hosts, as it is written there;
// addresses stand for the host names.
const severalHosts = `
[on mgr1]$ kumo-manager -v -l mgr1 -p mgr2
[on mgr2]$ kumo-manager -v -l mgr2 -p mgr1
[on svr1]$ kumo-server -v -l svr1 -m mgr1 -p mgr2 -s ./kumodb-svr1.tch
[on svr2]$ kumo-server -v -l svr2 -m mgr1 -p mgr2 -s ./kumodb-svr2.tch
[on svr3]$ kumo-server -v -l svr3 -m mgr1 -p mgr2 -s ./kumodb-svr3.tch
[      ]$ kumoctl mgr1 attach
[on cli1]$ kumo-gateway -v -m mgr1 -p mgr2 -t cli1:11211
`

// The one for a single host, with a stream port that is given twice.
const oneHost = `
[localhost]$ kumo-manager -v -l localhost
[localhost]$ kumo-server -v -m localhost -l localhost:19801 -L 19901 -s ./kumodb1.tch
[localhost]$ kumo-server -v -m localhost -l localhost:19802 -L 19902 -s ./kumodb2.tch
[localhost]$ kumo-server -v -m localhost -l localhost:19803 -L 19902 -s ./kumodb3.tch
[localhost]$ kumoctl localhost attach
[localhost]$ kumo-gateway -v -m localhost -t localhost:11211
`

func TestExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binaries")
	}
	if runtime.GOOS != "linux" {
		t.Skip("needs many loopback addresses")
	}
	bin := build(t)
	t.Run("several hosts", func(t *testing.T) {
		net := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(253), rand.IntN(256))
		runListing(t, bin, severalHosts, "mgr1", "cli1", strings.NewReplacer("mgr1", net+"1", "mgr2", net+"2",
			" svr1", " "+net+"3", " svr2", " "+net+"4", " svr3", " "+net+"5", "cli1", net+"6"))
	})
	t.Run("one host", func(t *testing.T) {
		host := fmt.Sprintf("127.%d.%d.1", 1+rand.IntN(253), rand.IntN(256))
		runListing(t, bin, oneHost, "localhost", "localhost", strings.NewReplacer("localhost", host))
	})
}

// runListing starts the daemons line by line, each a process, runs kumoctl when
// three servers wait for it, and stores something.
func runListing(t *testing.T, bin, listing, manager, client string, hosts *strings.Replacer) {
	dir := t.TempDir()
	manager, client = hosts.Replace(manager), hosts.Replace(client)
	for line := range strings.SplitSeq(strings.TrimSpace(listing), "\n") {
		_, line, _ = strings.Cut(line, "$ ")
		words := strings.Fields(hosts.Replace(line))
		if words[0] == "kumoctl" {
			eventually(t, "three servers are seen", func() bool { return newServers(bin, dir, manager) == 3 })
			out, err := command(bin, dir, words...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
			t.Logf("%s: %s", line, bytes.TrimSpace(out))
			continue
		}
		start(t, command(bin, dir, words...))
	}
	var m *testenv.Client
	eventually(t, "the gateway listens", func() (ok bool) {
		var err error
		m, err = testenv.DialMemcached(client + ":11211")
		return err == nil
	})
	defer m.Close()
	if err := m.Set("k", "v"); err != nil {
		t.Fatal(err)
	}
	if v, err := m.Get("k"); v != "v" || err != nil {
		t.Fatalf("get k: %q, %v", v, err)
	}
	if out, err := command(bin, dir, "kumoctl", manager, "status").CombinedOutput(); err != nil {
		t.Errorf("status: %v\n%s", err, out)
	} else {
		t.Logf("status:\n%s", out)
	}
}

// newServers counts the servers that wait to be attached.
func newServers(bin, dir, manager string) (n int) {
	out, err := command(bin, dir, "kumoctl", manager, "status", "-o", "json").Output()
	var st subjects.ClusterStatus
	if err != nil || json.Unmarshal(out, &st) != nil {
		return 0
	}
	for _, node := range st.Nodes {
		if node.Role == subjects.RoleServer && node.State == "new" {
			n++
		}
	}
	return n
}

// build returns a folder with the binaries: that of $KUMO_BIN, whoever has built them
// there, as .ci/run has, or one of the test's own.
func build(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("KUMO_BIN"); bin != "" {
		return bin
	}
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin+string(filepath.Separator), module+"/kumoctl",
		module+"/kumomanager/cmd/kumo-manager", module+"/kumoserver/cmd/kumo-server", module+"/kumogateway/cmd/kumo-gateway").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

func command(bin, dir string, words ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, words[0]), words[1:]...)
	cmd.Dir = dir
	return cmd
}

// start starts a daemon that is stopped when the test ends, and shows its
// output if the test fails.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		defer out.Close()
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s: %v", cmd, err)
			}
		case <-time.After(testenv.Patience):
			t.Errorf("%s does not stop", cmd)
			cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			text, _ := os.ReadFile(out.Name())
			t.Logf("%s:\n%s", cmd, text)
		}
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !is(); <-tick.C {
		if time.Since(began) > testenv.Patience {
			t.Fatalf("not within %s: %s", testenv.Patience, what)
		}
	}
}
