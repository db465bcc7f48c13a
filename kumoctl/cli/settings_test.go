package cli_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/kumoctl/cli"
)

// sample is a set of flags with one of each kind.
type sample struct {
	cli.Common
	fs       *pflag.FlagSet
	listen   string
	managers []string
	ports    []string
	delay    time.Duration
	memory   int
	all      bool
}

func newSample() *sample {
	s := &sample{fs: pflag.NewFlagSet("", pflag.ContinueOnError), listen: "localhost:1", delay: 4 * time.Second, memory: 64}
	s.Flags(s.fs)
	s.fs.VarP(cli.Addr{To: &s.listen, Port: 19700}, "listen", "l", "")
	s.fs.VarP(cli.Addrs{To: &s.managers, Port: 19700}, "manager", "m", "")
	s.fs.StringSliceVarP(&s.ports, "memcached", "t", nil, "")
	cli.SecondsVarP(s.fs, &s.delay, "replace-delay", "", "")
	s.fs.IntVar(&s.memory, "memory", s.memory, "")
	s.fs.BoolVar(&s.all, "all", false, "")
	cli.Reloadable(s.fs, "replace-delay")
	cli.Ignore(s.fs, "garbage-min-time", "", "nothing to collect")
	return s
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kumo.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

// Flags go before the environment, that before the file, that before defaults.
func TestPrecedence(t *testing.T) {
	path := write(t, `# of a server
memory = 1        # a flag says otherwise
all = true        # a variable says otherwise
manager = ["a", "b:7"]
memcached = [11211, "127.0.0.1:11311"]
garbage-min-time = 60
replace-delay = 0.5
`)
	s := newSample()
	if err := s.fs.Parse([]string{"--memory", "3", "--config", path}); err != nil {
		t.Fatal(err)
	}
	from, err := cli.Load(s.fs, environment(map[string]string{
		"KUMO_MEMORY": "2", "KUMO_ALL": "false", "KUMO_LISTEN": "mgr1", "KUMO_CLUSTER": "", "KUMO_CONFIG": "/nonexistent",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if s.memory != 3 || s.all || s.listen != "mgr1:19700" || s.delay != 500*time.Millisecond {
		t.Errorf("memory %d, all %v, listen %s, delay %s", s.memory, s.all, s.listen, s.delay)
	}
	got := map[string]string{}
	for _, st := range from.Settings(s.fs) {
		if st.From != cli.FromDefault {
			got[st.Option] = st.Value + " " + strings.ReplaceAll(st.String(), path, "F")
		}
		if st.Reload != slices.Contains([]string{"replace-delay", "verbose", "credentials"}, st.Option) {
			t.Errorf("%s: reload is %v", st.Option, st.Reload)
		}
	}
	want := map[string]string{
		"memory": "3 flag --memory", "all": "false environment KUMO_ALL", "listen": "mgr1:19700 environment KUMO_LISTEN",
		"manager": "a:19700,b:7 file F:4", "memcached": "11211,127.0.0.1:11311 file F:5",
		"garbage-min-time": "60 file F:6", "replace-delay": "500ms file F:7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := cli.IgnoredOf(s.fs); len(n) != 1 || n[0].Option != "--garbage-min-time" {
		t.Errorf("what does nothing: %v", n)
	}
}

// The name of the file may come from the environment, a manager's by kumoctl's name.
func TestEnvironmentAlone(t *testing.T) {
	s := newSample()
	vars := map[string]string{"KUMO_CONFIG": write(t, "verbose = true"), "KUMO_MANAGERS": "a,b", "KUMO_MEMCACHED": "1,2"}
	if _, err := cli.Load(s.fs, environment(vars)); err != nil {
		t.Fatal(err)
	}
	if !s.Verbose || strings.Join(s.managers, " ") != "a:19700 b:19700" || strings.Join(s.ports, " ") != "1 2" {
		t.Errorf("verbose %v, managers %v, ports %v", s.Verbose, s.managers, s.ports)
	}
}

// A file that is wrong is refused with its line, and what exists.
func TestWrongFiles(t *testing.T) {
	tests := []struct{ text, says string }{
		{"\nmemroy = 3\n", `F:2: unknown key "memroy", did you mean memory?; there are all, cluster, credentials, daemon, http, json-log, listen, log, log-format, manager, memcached, memory, pid-file, pprof, replace-delay, verbose`},
		{"fail_after = 3", `F:1: unknown key "fail_after"; there are `},
		{"replace_delay = 3", `F:1: unknown key "replace_delay", did you mean replace-delay?`},
		{"config = 'x'", `F:1: unknown key "config"`},
		{"help = true", `F:1: unknown key "help"`},
		{"memory = 3\n\n[server]\nmemory = 4", `F:3: unknown key "server"`},
		{"verbose = true\n[memory]\nx = 1", "F:2: memory: takes a value, not a table"},
		{"memory.x = 1", "F:1: memory: takes a value, not a table"},
		{"all = 1\nmemory = 'many'", "F:2: memory: "},
		{"memory = 1.5", "F:1: memory: "},
		{"memory = [1]", "F:1: memory: takes one value, not a list"},
		{"memcached = [[1]]", "F:1: memcached: takes a list of values, not of lists"},
		{"replace-delay = 1979-05-27", "F:1: replace-delay: takes text, a number, true or false"},
		{"replace-delay = '1 year'", `F:1: replace-delay: "1 year" is no number of seconds`},
		{"listen = 'a:b'", "F:1: listen: "},
		{"all = true\nmemory = ", "F:2:9: expected value"},
		{"all = true\nall = true", "F:2:1: key all is already defined"},
		{"manager = 'a'\nmanager1 = 'b'", "F:2: manager1: this is --manager, which F:1 sets too"},
		{"x = \"" + strings.Repeat("x", 1<<20) + "\"", "larger than"},
	}
	for _, tt := range tests {
		path := write(t, tt.text)
		s := newSample()
		if err := s.fs.Set("config", path); err != nil {
			t.Fatal(err)
		}
		_, err := cli.Load(s.fs, environment(nil))
		var usage *cli.UsageError
		if !errors.As(err, &usage) || !strings.Contains(strings.ReplaceAll(err.Error(), path, "F"), tt.says) {
			t.Errorf("%.40q: %v, want %s", tt.text, err, tt.says)
		}
	}
	s := newSample()
	if _, err := cli.Load(s.fs, environment(map[string]string{"KUMO_MEMORY": "x"})); err == nil || !strings.Contains(err.Error(), "KUMO_MEMORY") {
		t.Errorf("a wrong variable: %v", err)
	}
	if _, err := cli.Load(s.fs, environment(map[string]string{"KUMO_CONFIG": "/nonexistent/f"})); err == nil || !strings.Contains(err.Error(), "/nonexistent/f") {
		t.Errorf("no such file: %v", err)
	}
}

// A pipe would be waited for, for ever perhaps; standard input is read once.
func TestConfigIsAFile(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(path string) error {
		s := newSample()
		if err := s.fs.Set("config", path); err != nil {
			t.Fatal(err)
		}
		_, err := cli.Load(s.fs, environment(nil))
		return err
	}
	if err := load(fifo); err == nil || !strings.Contains(err.Error(), fifo+" is no regular file") || !strings.Contains(err.Error(), "/dev/stdin") {
		t.Errorf("a pipe: %v", err)
	}
	if err := load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is no regular file") {
		t.Errorf("a folder: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"memory = 3\n": "3 <nil>", "": "brings nothing"} {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "CLI_TEST_STDIN=1")
		cmd.Stdin = strings.NewReader(text)
		if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), want) {
			t.Errorf("%q on standard input: %s, want %s", text, out, want)
		}
	}
}

// TestMain lets the test's binary say what it reads from standard input, and what
// became of it when it was started anew.
func TestMain(m *testing.M) {
	if how := os.Getenv("CLI_TEST_MONITOR"); how != "" {
		if self, err := os.Executable(); err == nil && how == "gone" {
			os.Remove(self)
		}
		cli.KeepMonitor()
		began, _ := os.ReadFile("/proc/self/environ")
		var files syscall.Rlimit
		syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)
		fmt.Printf("%d %q %q %d files", os.Getpid(), os.Getenv("GODEBUG"), strings.Split(string(began), "\x00"), files.Cur)
		fmt.Fprint(os.Stderr, "standard error")
		os.Exit(0)
	}
	if os.Getenv("CLI_TEST_STDIN") != "" {
		s := newSample()
		s.fs.Set("config", "/dev/stdin")
		_, err := cli.Load(s.fs, environment(nil))
		fmt.Println(s.memory, err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestStrangeEnv(t *testing.T) {
	environ := []string{"HOME=/", "KUMO_MEMROY=1", "KUMO_MEMORY=2", "KUMO_CONFIG=x", "KUMO_MANAGERS=a", "KUMO_A=b"}
	if diff := cmp.Diff([]string{"KUMO_A", "KUMO_MEMROY"}, cli.StrangeEnv(environ, cli.EnvNames(newSample().fs))); diff != "" {
		t.Error(diff)
	}
}

func TestChanged(t *testing.T) {
	was := []cli.Setting{{Option: "a", Value: "1"}, {Option: "b", Value: "2"}, {Option: "old", Value: "3"}}
	now := []cli.Setting{{Option: "a", Value: "1", From: cli.FromEnv}, {Option: "b", Value: "3"}, {Option: "new", Value: "4"}}
	var got []string
	for _, s := range cli.Changed(was, now) {
		got = append(got, s.Option+"="+s.Value)
	}
	if diff := cmp.Diff([]string{"b=3", "new=4", "old="}, got); diff != "" {
		t.Error(diff)
	}
}
