package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A daemon's process begins anew with another GODEBUG, as what it was in all else,
// and what it starts does not inherit that.
func TestKeepMonitor(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const kept = `GODEBUG=%sschedtrace=2147483647`
	for _, tt := range []struct {
		name, set string
		want      string // GODEBUG as the runtime got it
		old       bool   // the machine has been up for longer than a trace's period
	}{
		{"no GODEBUG", "", fmt.Sprintf(kept, ""), false},
		{"another GODEBUG", "GODEBUG=madvdontneed=1", fmt.Sprintf(kept, "madvdontneed=1,"), false},
		{"switched off", "GODEBUG=schedtrace=0", "GODEBUG=schedtrace=0", false},
		{"a machine up for a month", "", fmt.Sprintf(kept, ""), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line := []string{self}
			if tt.old {
				line = []string{"unshare", "--time", "--monotonic", "3000000", self}
				if exec.Command(line[0], append(line[1:len(line)-1:len(line)-1], "true")...).Run() != nil {
					t.Skip("needs a time namespace")
				}
			}
			var out, errs bytes.Buffer
			cmd := exec.Command(line[0], line[1:]...)
			cmd.Env = []string{"CLI_TEST_MONITOR=1"}
			if tt.set != "" {
				cmd.Env = append(cmd.Env, tt.set)
			}
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, &errs)
			}
			_, was, _ := strings.Cut(tt.set, "=")
			if !strings.HasPrefix(out.String(), fmt.Sprintf("%d %q ", cmd.Process.Pid, was)) && !tt.old {
				t.Errorf("process %d with %q went on as %s", cmd.Process.Pid, was, &out)
			}
			if !strings.Contains(out.String(), fmt.Sprintf("%q", tt.want)) {
				t.Errorf("the runtime got %s, want %q", &out, tt.want)
			}
			if errs.String() != "standard error" {
				t.Errorf("on standard error came %q", &errs)
			}
		})
	}
}

// Where a program cannot be started anew it goes on as it was, with as many open
// files as Go has it have.
func TestKeepMonitorInVain(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	if out, err := exec.Command("cp", self, gone).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command("sh", "-c", `ulimit -Sn 64; exec "$0"`, gone)
	cmd.Env = []string{"CLI_TEST_MONITOR=gone", "GODEBUG=madvdontneed=1"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(gone); err == nil || !strings.HasPrefix(string(out), fmt.Sprintf("%d %q ", cmd.Process.Pid, "madvdontneed=1")) {
		t.Errorf("process %d went on as %s", cmd.Process.Pid, out)
	}
	if strings.Contains(string(out), " 64 files") {
		t.Errorf("few files may be open: %s", out)
	}
}

// What is not of KeepMonitor is left alone.
func TestKeepMonitorWithoutSense(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{"", "nonsense", "1:", "-1:x", ":asynctimerchan=0"} {
		cmd := exec.Command(self)
		cmd.Env = []string{"CLI_TEST_MONITOR=1", "GODEBUG=madvdontneed=1", "KUMOFS_MONITOR=" + mark}
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil || errs.String() != "standard error" || !strings.HasPrefix(out.String(), fmt.Sprintf("%d %q ", cmd.Process.Pid, "madvdontneed=1")) {
			t.Errorf("%q: %v, %s, %s", mark, err, &out, &errs)
		}
	}
}
