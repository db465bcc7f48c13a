package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

func TestTranslate(t *testing.T) {
	tests := []struct{ in, want string }{
		{"-v -l localhost", "-v -l localhost"},
		{"-a -Rs 4", "-a --replace-delay 4"},
		{"-As -Ad -lc 64", "--async-replicate-set --async-replicate-delete --local-cache 64"},
		{"-Ys=3 -Yn 4", "--connect-timeout=3 --connect-retry-limit 4"},
		{"-gN 60 -gX 3600 -gS 2048", "--garbage-min-time 60 --garbage-max-time 3600 --garbage-mem-limit 2048"},
		{"x -- -As", "x -- -As"},
		{"-A -R -Rsx", "-A -R -Rsx"},
	}
	for _, tt := range tests {
		if got := strings.Join(cli.Translate(strings.Fields(tt.in)), " "); got != tt.want {
			t.Errorf("Translate(%s) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestHostPort(t *testing.T) {
	tests := []struct {
		in, want string
		ok       bool
	}{
		{"localhost", "localhost:19700", true},
		{"localhost:19801", "localhost:19801", true},
		{"127.0.0.1", "127.0.0.1:19700", true},
		{"::1", "[::1]:19700", true},
		{"[::1]", "[::1]:19700", true},
		{"[::1]:80", "[::1]:80", true},
		{"mgr1:", "", false},
		{"mgr1:x", "", false},
		{"mgr1:70000", "", false},
		{":80", "", false},
		{"", "", false},
		{"a b", "", false},
	}
	for _, tt := range tests {
		got, err := cli.HostPort(tt.in, 19700)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("HostPort(%q) = %q, %v", tt.in, got, err)
		}
	}
}

func TestListenAddr(t *testing.T) {
	for in, want := range map[string]string{
		"11211": ":11211", ":11211": ":11211", "127.0.0.1:11311": "127.0.0.1:11311", "127.0.0.1": "127.0.0.1:11211", "x:y": "", "99999": "", "": "",
		"unix:/run/kumo.sock": "unix:/run/kumo.sock", "/run/kumo.sock": "unix:/run/kumo.sock", "unix:": "",
	} {
		if got, err := cli.ListenAddr(in); got != want || (err == nil) != (want != "") {
			t.Errorf("ListenAddr(%q) = %q, %v", in, got, err)
		}
	}
}

func TestFlagValues(t *testing.T) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	cli.OldNames(fs)
	listen := "localhost:19700"
	var managers []string
	delay := 4 * time.Second
	fs.VarP(cli.Addr{To: &listen, Port: 19700}, "listen", "l", "")
	fs.VarP(cli.Addrs{To: &managers, Port: 19700}, "manager", "m", "")
	fs.VarP(cli.Addrs{To: &managers, Port: 19700}, "partner", "p", "")
	cli.SecondsVarP(fs, &delay, "replace-delay", "", "")
	cli.Ignore(fs, "garbage-min-time", "", "nothing to collect")
	cli.Ignore(fs, "set-retry", "S", "")
	args := strings.Fields("-l 127.0.0.2 -m a,b:1 --manager2 c -m a --replace-delay 0.5 -gN 60")
	if err := fs.Parse(cli.Translate(args)); err != nil {
		t.Fatal(err)
	}
	if listen != "127.0.0.2:19700" || delay != 500*time.Millisecond {
		t.Errorf("listen %s, delay %s", listen, delay)
	}
	if diff := cmp.Diff([]string{"a:19700", "b:1", "c:19700"}, managers); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]cli.Ignored{{Option: "--garbage-min-time", Why: "nothing to collect"}}, cli.IgnoredOf(fs)); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"--replace-delay=x", "--replace-delay=-1", "--replace-delay=NaN", "-l a:b", "-m a:b"} {
		if err := fs.Parse([]string{bad}); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		args string
		err  error
		want int
	}{
		{"run", nil, 0},
		{"run", errors.New("boom"), 1},
		{"run extra", nil, 2},
		{"run --unknown", nil, 2},
		{"unknown", nil, 2},
		{"run", cli.Usagef("no"), 2},
		{"run", fmt.Errorf("ask: %w", subjects.ErrUnavailable), 3},
		{"run", fmt.Errorf("ask: %w", subjects.ErrTimeout), 4},
		{"run", context.DeadlineExceeded, 4},
	}
	for _, tt := range tests {
		root := &cobra.Command{Use: "x"}
		root.AddCommand(&cobra.Command{Use: "run", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return tt.err }})
		var stderr bytes.Buffer
		if got := cli.Execute(t.Context(), root, strings.Fields(tt.args), &stderr); got != tt.want {
			t.Errorf("%s (%v): exit code %d, want %d: %s", tt.args, tt.err, got, tt.want, &stderr)
		}
		if (stderr.Len() > 0) != (tt.want > 0) {
			t.Errorf("%s (%v): says %q", tt.args, tt.err, &stderr)
		}
	}
}

// fake is a daemon that runs until it is told to stop.
type fake struct{ closed int }

func (f *fake) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (f *fake) Close() error                  { f.closed++; return nil }

func TestServe(t *testing.T) {
	dir := t.TempDir()
	pid, text, lines := filepath.Join(dir, "pid"), filepath.Join(dir, "log"), filepath.Join(dir, "json")
	ctx, cancel := context.WithCancel(t.Context())
	d := &fake{}
	var c cli.Common
	cmd := &cobra.Command{Use: "kumo-test", RunE: func(cmd *cobra.Command, _ []string) error {
		return c.Serve(cmd, cli.Service{Open: func(log *slog.Logger) (cli.Daemon, error) {
			if _, err := os.Stat(pid); err != nil {
				t.Error(err)
			}
			log.Debug("opened", "cluster", c.Cluster)
			cancel()
			return d, nil
		}})
	}}
	c.Flags(cmd.Flags())
	args := []string{"-v", "--pid-file", pid, "-o", text, "-g", lines, "-TW", "8", "--cluster", "blue"}
	if code := cli.Execute(ctx, cmd, args, os.Stderr); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if d.closed != 1 {
		t.Errorf("closed %d times", d.closed)
	}
	if _, err := os.Stat(pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pid file: %v", err)
	}
	if b, _ := os.ReadFile(text); !bytes.Contains(b, []byte("cluster=blue")) {
		t.Errorf("log says %s", b)
	}
	b, _ := os.ReadFile(lines)
	var first map[string]any
	if err := json.Unmarshal(bytes.SplitN(b, []byte("\n"), 2)[0], &first); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	if first["option"] != "--write-threads" || first["msg"] != "option accepted: nothing to set" {
		t.Errorf("first line: %v", first)
	}
}

func TestServeRefuses(t *testing.T) {
	for _, args := range [][]string{{"--cluster", "a.b"}, {"--log-format", "xml"}, {"-o", "/nonexistent/log"}, {"-g", "/nonexistent/log"}, {"--pid-file", "/nonexistent/pid"}} {
		var c cli.Common
		cmd := &cobra.Command{Use: "kumo-test", RunE: func(cmd *cobra.Command, _ []string) error {
			return c.Serve(cmd, cli.Service{Open: func(*slog.Logger) (cli.Daemon, error) {
				t.Error("opened")
				return nil, errors.New("opened")
			}})
		}}
		c.Flags(cmd.Flags())
		if code := cli.Execute(t.Context(), cmd, args, &bytes.Buffer{}); code == 0 {
			t.Errorf("%v: exit code 0", args)
		}
	}
}
