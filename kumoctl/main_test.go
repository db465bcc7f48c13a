package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

func TestHostFirst(t *testing.T) {
	tests := []struct{ in, want string }{
		{"status", "status"},
		{"mgr1 status", "--manager mgr1 status"},
		{"mgr1:19701 attach-noreplace svr1", "--manager mgr1:19701 attach-noreplace svr1"},
		{"mgr1 replace", "--manager mgr1 replace"},
		{"mgr1 -o json status", "--manager mgr1 -o json status"},
		{"hash status", "hash status"},
		{"help status", "help status"},
		{"-m mgr1 status", "-m mgr1 status"},
		{"mgr1", "mgr1"},
		{"mgr1 nonsense", "mgr1 nonsense"},
		{"mgr1:19701 nonsense", "--manager mgr1:19701 nonsense"},
		{"", ""},
		{"--cluster c mgr1 status", "--cluster c --manager mgr1 status"},
		{"--cluster=c -o json mgr1 attach a", "--cluster=c -o json --manager mgr1 attach a"},
		{"-ojson mgr1 status", "-ojson --manager mgr1 status"},
		{"-o json status mgr1", "-o json status mgr1"},
		{"mgr1 statsu", "--manager mgr1 statsu"},
		{"statsu mgr1", "statsu mgr1"},
		{"mgr1 frobnicate", "mgr1 frobnicate"},
		{"--nonsense mgr1 status", "--nonsense mgr1 status"},
		{"--cluster", "--cluster"},
	}
	for _, tt := range tests {
		if got := strings.Join(hostFirst(newRoot(), strings.Fields(tt.in)), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, got, tt.want)
		}
	}
}

// run executes a command line and returns what it printed.
func run(t *testing.T, wantCode int, args ...string) (stdout, stderr string) {
	t.Helper()
	root := newRoot()
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	if code := cli.Execute(t.Context(), root, hostFirst(root, args), &errs); code != wantCode {
		t.Fatalf("kumoctl %s: exit code %d, want %d: %s", strings.Join(args, " "), code, wantCode, &errs)
	}
	return out.String(), errs.String()
}

// What is wrong is told in words of the command line.
func TestUsageIsPlain(t *testing.T) {
	for args, want := range map[string]string{
		"mgr1 statsu":                        `unknown command "statsu"`,
		"log -n x f":                         `"x" for "-n, --lines" flag: want a whole number`,
		"bench --zipf x":                     "want a number",
		"bench --tls=perhaps":                "want true or false",
		"completion tcsh":                    "there is bash, fish, powershell, zsh",
		"watch --count 99999999999999999999": "out of range",
	} {
		if _, errs := run(t, cli.ExitUsage, strings.Fields(args)...); !strings.Contains(errs, want) || strings.Contains(errs, "strconv") {
			t.Errorf("%s: %s", args, errs)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range []string{"nonsense", "mgr1 nonsense", "status extra", "status -o xml", "status --timeout 0", "hash", "status --cluster a.b", "-m a:b status",
		"manager", "manager frobnicate mgr1", "manager replace mgr1 mgr1", "manager replace mgr1 mgr1:19700", "up --port 70000", "up --port -1", "up --servers 0"} {
		if out, errs := run(t, cli.ExitUsage, strings.Fields(args)...); out != "" || errs == "" {
			t.Errorf("%s: stdout %q, stderr %q", args, out, errs)
		}
	}
}

func TestEveryCommandHasExamples(t *testing.T) {
	for _, c := range newRoot().Commands() {
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s has no example, or no line that says what it does", c.Name())
		}
	}
}

func TestUnreachable(t *testing.T) {
	if out, errs := run(t, cli.ExitUnreachable, "127.0.0.1:1", "status", "--timeout", "0.2"); out != "" || !strings.Contains(errs, "127.0.0.1:1") {
		t.Errorf("stdout %q, stderr %q", out, errs)
	}
}

func TestHash(t *testing.T) {
	if out, _ := run(t, 0, "hash", "a", "abc"); out != "d24ec4f1a98c6e5b  a\n44bc2cf5ad770999  abc\n" {
		t.Errorf("hash prints %q", out)
	}
	out, _ := run(t, 0, "hash", "a", "-o", "json")
	var got []map[string]string
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]map[string]string{{"key": "a", "hash": "d24ec4f1a98c6e5b"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestPrintStatus(t *testing.T) {
	st := &subjects.ClusterStatus{
		Cluster: "kumo", ClusterID: 0xabc, Revision: 7, Leader: "127-0-0-1-19700", Voters: []string{"127-0-0-1-19700"},
		Replicas: 3, Health: "degraded", Alarms: []string{"128 partitions have a lone copy"},
		Partitions: subjects.PartitionCount{Total: 256, Full: 128, Lone: 128},
		Moves:      subjects.Moves{Pending: 256, Active: 8},
		Nodes: []subjects.NodeStatus{
			{Name: "gw", Role: subjects.RoleGateway, State: "up", Listen: []string{"127.0.0.1:11211"}, PID: 3},
			{Name: "s2", Role: subjects.RoleServer, Addr: "127.0.0.1:19802", State: "down", Seen: 61000},
			{Name: "s1", Role: subjects.RoleServer, Addr: "127.0.0.1:19801", State: "up", Primary: 256, Replica: 256, Learner: 1, PID: 2,
				Uptime: 200000, Load: subjects.Load{Items: 5, Bytes: 3 << 20}},
			{Name: "s3", Role: subjects.RoleServer, Addr: "127.0.0.1:19803", State: "up", PID: 4, Uptime: 60, Disk: subjects.Disk{Full: true}},
			{Name: "m", Role: subjects.RoleManager, Addr: "127.0.0.1:19700", State: "up", Leader: true, PID: 1, Uptime: 9},
		},
	}
	var out bytes.Buffer
	if err := printStatus(&out, st); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/status.txt"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Error(diff)
	}
}
