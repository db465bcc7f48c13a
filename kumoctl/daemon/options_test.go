package daemon_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/credentials"
	"github.com/etolabo/kumofs/kumoctl/daemon"
	"github.com/etolabo/kumofs/testenv/certs"
)

// Every option, the original's too, as people write it; HOST, DIR and the
// files of certificates are filled in.
// Those that are not here are given their defaults.
var everyOption = map[string]string{
	"manager": `-v -l HOST -p HOST -s DIR/m -a -Rs 0.1 --lost-after 60 --fail-after 2 --max-moves 8 --partitions 16 --replicas 2
		-k 2 -Ys 3 -Yn 4 -Ci 8 -TW 8 -TR 4 -rn 4 -o DIR/m.log -g DIR/m.json --pid-file DIR/m.pid --cluster every --bind HOST --http 19750 --pprof
		--credentials DIR/credentials/manager`,
	"server": `-v -l HOST:19801 -L 19901 -m HOST -p HOST -s DIR/s -f DIR/tmp -t notls:HOST:11311 -t HOST:11312 --zone z --bind HOST
		--retain-log 8M -k 2 -Ys 3 -Yn 4 -S 20 -D 20 -M 64 -gN 60 -gX 3600 -gS 2048 -Ci 8 -TW 8 -TR 4 -rn 4
		-o DIR/s.log -g DIR/s.json --pid-file DIR/s.pid --cluster every --key-prefix x: --auth-file DIR/passwords --tls-cert CERT --tls-key KEY --client-memory 64
		--http 19880 --pprof --slowlog-threshold 0.2 --slowlog-size 64 --credentials DIR/credentials/server`,
	"gateway": `-v -m HOST,HOST:19801 -p HOST -t HOST:11211 -b notls:HOST:11212 -F -E -As -Ad -G 20 -S 20 -D 20 --key-prefix x: -lc 64M --local-cache-ttl 0.5
		-k 2 -Ys 3 -Yn 4 -Ci 8 -TW 8 -TR 4 -rn 4 -o DIR/g.log -g DIR/g.json --pid-file DIR/g.pid --cluster every --enable-flush-all
		--http HOST:11280 --pprof --slowlog-threshold 0.2 --slowlog-size 64 --tls-cert CERT --tls-key KEY --tls-client-ca CA --client-memory 64
		--credentials DIR/credentials`,
}

// given are a command line's options by their long names, all of the daemon's.
func given(t *testing.T, role string, args []string) map[string]string {
	t.Helper()
	cmd, err := daemon.Command(role, "kumo-"+role)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(cli.Translate(args)); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if v := cli.ValueOf(f); cli.IsSetting(f) && v != "" {
			all[f.Name] = v
		}
	})
	return all
}

// Daemons start with every option of theirs: by flags, by environment, and by file.
func TestEveryOption(t *testing.T) {
	for _, way := range []string{"flags", "environment", "file"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			host, dir := newHost(t), t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "passwords"), []byte("u:p\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			authority := certs.New(t)
			cert, key := authority.Issue("all", host)
			if err := credentials.Init(filepath.Join(dir, "credentials"), "every", nil, time.Now()); err != nil {
				t.Fatal(err)
			}
			var all []*process
			for _, role := range daemon.Roles {
				line := strings.NewReplacer("HOST", host, "DIR", dir, "CERT", cert, "KEY", key, "CA", authority.Path).Replace(everyOption[role])
				p := startEvery(t, role, way, dir, strings.Fields(line))
				p.tells("READY=1", 0)
				all = append(all, p)
			}
			if got := ask(t, host+":11212", "set k 0 0 5\r\nhello\r\n"); got != "STORED" {
				t.Errorf("the gateway says %q", got)
			}
			if got := ask(t, host+":11311", "get k\r\n"); got != "CLIENT_ERROR unauthenticated" {
				t.Errorf("the server says %q to a stranger", got)
			}
			askSecurely(t, host+":11211", authority.Client(cert, key), "get k\r\n", "VALUE k 0 5\r\n")
			askSecurely(t, host+":11312", authority.Client("", ""), "get k\r\n", "CLIENT_ERROR unauthenticated\r\n")
			for i, file := range []string{"m", "s", "g"} {
				all[i].signal(syscall.SIGHUP)
				again := []string{"read the configuration again"}
				if file != "m" {
					again = append(again, "read the TLS files again")
				}
				for _, says := range again {
					eventually(t, file+" says "+says, func() bool { return strings.Contains(read(t, filepath.Join(dir, file+".log")), says) })
				}
			}
			for i := len(all) - 1; i >= 0; i-- {
				stopsWell(t, all[i], filepath.Join(dir, daemon.Roles[i][:1]))
			}
		})
	}
}

// askSecurely asks a port that speaks TLS.
func askSecurely(t *testing.T, addr string, config *tls.Config, send, want string) {
	t.Helper()
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		t.Errorf("%s: %v", addr, err)
		return
	}
	defer c.Close()
	fmt.Fprint(c, send)
	if got, err := bufio.NewReader(c).ReadString('\n'); got != want {
		t.Errorf("%s says %q, %v; want %q", addr, got, err, want)
	}
}

// startEvery starts a daemon with options, and all others at their defaults.
func startEvery(t *testing.T, role, way, dir string, args []string) *process {
	t.Helper()
	options := given(t, role, args)
	switch way {
	case "flags":
		for name, value := range given(t, role, nil) {
			args = append([]string{"--" + name + "=" + value}, args...)
		}
		return startProcess(t, role, args)
	case "environment":
		var env []string
		for name, value := range options {
			env = append(env, cli.EnvName(name)+"="+value)
		}
		return startProcess(t, role, nil, append(env, "KUMO_MEMROY=1")...)
	}
	var text strings.Builder
	for name, value := range options {
		if _, err := strconv.ParseBool(value); err == nil {
			fmt.Fprintf(&text, "%s = %s\n", name, value)
		} else {
			fmt.Fprintf(&text, "%s = %q\n", name, value)
		}
	}
	path := filepath.Join(dir, role+".toml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return startProcess(t, role, []string{"--config", path})
}

// stopsWell looks at what a daemon left in its files, and stops it. file is their
// name without the ending.
func stopsWell(t *testing.T, p *process, file string) {
	t.Helper()
	if got := read(t, file+".pid"); got != fmt.Sprintln(p.cmd.Process.Pid) {
		t.Errorf("%s.pid says %q", file, got)
	}
	p.signal(syscall.SIGTERM)
	if code := p.ends(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.tells("STOPPING=1", 0)
	if read(t, file+".pid") != "" {
		t.Errorf("%s.pid is still there", file)
	}
	text := read(t, file+".log")
	for _, option := range []string{"--clock-interval", "--write-threads", "--read-threads", "--renew-threshold", "--keepalive-interval", "--connect-timeout"} {
		if n := strings.Count(text, "option="+option+"\n"); n != 1 {
			t.Errorf("%s.log says %d times that %s does nothing", file, n, option)
		}
	}
	for line := range strings.Lines(read(t, file+".json")) {
		if !json.Valid([]byte(line)) {
			t.Errorf("%s.json has %q", file, line)
		}
	}
	if strange := strings.Contains(text, "environment variable KUMO_MEMROY sets no option, did you mean KUMO_MEMORY?"); strange != strings.Contains(strings.Join(p.cmd.Env, " "), "KUMO_MEMROY") {
		t.Errorf("%s.log says %v of a mistyped variable", file, strange)
	}
}
