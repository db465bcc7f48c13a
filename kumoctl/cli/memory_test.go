package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// The limit of a control group is found in both versions, its own and that of the
// groups above it.
func TestMemoryOfGroup(t *testing.T) {
	const none = "9223372036854771712\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  Memory
	}{
		"nothing to be seen": {},
		"no limit": {map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n",
		}, Memory{}},
		"version 2": {map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "300000000\n", "sys/fs/cgroup/a/memory.max": "max\n",
		}, Memory{300_000_000, "/sys/fs/cgroup/a/b/memory.max"}},
		"the group above": {map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "300000000\n", "sys/fs/cgroup/a/memory.max": "200000000\n",
		}, Memory{200_000_000, "/sys/fs/cgroup/a/memory.max"}},
		"a container": {map[string]string{
			"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/memory.max": "100000000\n",
		}, Memory{100_000_000, "/sys/fs/cgroup/memory.max"}},
		"version 1": {map[string]string{
			"proc/self/cgroup": "9:name=systemd:/\n4:memory:/a\n0::/\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "500000000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": none,
		}, Memory{500_000_000, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes"}},
		"version 1 without": {map[string]string{
			"proc/self/cgroup": "4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": none,
		}, Memory{}},
	} {
		root := t.TempDir()
		for path, text := range c.files {
			path = filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := memoryOfGroup(root); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// Processes below one limit are told of their shares of it; what GOMEMLIMIT says it
// says to each process.
func TestShares(t *testing.T) {
	for _, c := range []struct {
		all     Memory
		daemons int
		share   int64
		environ string
	}{
		{Memory{}, 5, 0, "[]"},
		{Memory{1000, "/sys/fs/cgroup/memory.max"}, 5, 200, "[GOMEMLIMIT=180]"},
		{Memory{1000, "/sys/fs/cgroup/memory.max"}, 0, 1000, "[GOMEMLIMIT=900]"},
		{Memory{1000, "GOMEMLIMIT"}, 5, 200, "[]"},
	} {
		got := c.all.Share(c.daemons)
		if environ := fmt.Sprint(got.Environ()); got.Bytes != c.share || got.From != c.all.From || environ != c.environ {
			t.Errorf("%+v for %d: %+v and %s, want %d bytes and %s", c.all, c.daemons, got, environ, c.share, c.environ)
		}
	}
}
