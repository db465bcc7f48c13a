package daemon_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/daemon"
)

// Daemons that were not told where to listen are reached from this machine alone.
func TestListenByDefault(t *testing.T) {
	for line, want := range map[string]string{"manager": "127.0.0.1:19700", "server -m localhost -s d": "127.0.0.1:19800"} {
		words := strings.Fields(line)
		list, err := daemon.Settings(words[0], words[1:])
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(s cli.Setting) bool { return s.Option == "listen" })
		if i < 0 || list[i].Value != want {
			t.Errorf("%s: %+v", line, list[i])
		}
	}
}

// A command line that cannot work is told apart from one that failed, and
// leaves nothing behind.
func TestWrongUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, line := range []string{
		"manager --credentials nowhere", "manager -p mgr2", "manager --nonsense", "manager -Z", "manager word",
		"manager -l a:b", "manager -l localhost:0", "server -l localhost:0 -m localhost -s d",
		"manager -l 0.0.0.0", "server -l 0.0.0.0:19801 -m localhost -s d", "server -l [::] -m localhost -s d",
		"server -l localhost -m localhost -s d --lease 0", "server -l localhost -m localhost -s d --sync-every 0", "server -l localhost -m localhost -s d --scrub-every 0", "manager -l localhost --partitions 100", "manager -l localhost --replicas 0",
		"manager -l localhost --cluster a.b", "manager -l localhost -p a,b,c,d,e,f,g", "manager -l localhost --fail-after 0.1",
		"server --nonsense", "server -Z", "server word", "server -m localhost -s d --credentials nowhere", "server", "server -m mgr1 -s d", "server -l localhost -s d",
		"server -l localhost -m localhost", "server -l localhost -m localhost -s d -L 70000",
		"server -l localhost -m localhost -s d --sync sometimes", "server -l localhost -m localhost -s d --memory 8",
		"server -l localhost -m localhost -s d --retain-log 1000", "server -l localhost -m localhost -s d --retain-log much",
		"server -l localhost -m localhost -s d --max-item-size 99999999", "server -l localhost -m localhost -s d --lease 0.01",
		"gateway", "gateway --nonsense", "gateway -Z", "gateway word", "gateway -m localhost -t x:y", "gateway -m localhost -t 99999",
		"gateway -m localhost --slowlog-size 5000", "gateway -m localhost --slowlog-threshold -1",
		"gateway -m localhost --http word", "gateway -m localhost --http a:b:c", "gateway -m localhost --http 70000", "gateway -m localhost --pprof",
		"manager -l localhost --http none --pprof", "manager -l localhost --http a:b", "server -l localhost -m localhost -s d --http x:y",
		"gateway -m localhost --max-item-size 0", "gateway -m localhost --tls-cert x", "gateway -m localhost --client-memory 1", "gateway -m localhost --key-prefix a\tb", "gateway -m localhost --op-timeout -1",
	} {
		words := strings.Split(line, " ")
		cmd, err := daemon.Command(words[0], "kumo-"+words[0])
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		if code := cli.Execute(t.Context(), cmd, words[1:], &errs); code != cli.ExitUsage || errs.Len() == 0 {
			t.Errorf("%s: exit code %d, %s", line, code, &errs)
		}
	}
	if _, err := daemon.Command("nonsense", "x"); err == nil {
		t.Error("there is a daemon called nonsense")
	}
}
