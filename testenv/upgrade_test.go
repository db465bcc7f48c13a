package testenv_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/testenv"
)

// baseline is the oldest commit from which a cluster can be upgraded to this one, and to
// which it can go back, without a pause (docs/operations.md).
const baseline = "efde6db"

var upgradeFrom = flag.String("upgrade-from", baseline, "commit whose daemons TestRollingUpgrade runs beside these")

const upgradeKeys = 200

// versions starts each node in one of two versions.
type versions struct {
	t   *testing.T
	dir string // of marks: a file with a node's name has it start in the old version
	bin string // of the old version
}

// oldVersion builds the daemons of a commit, or skips the test where its history is
// not there.
func oldVersion(t *testing.T, commit string) *versions {
	t.Helper()
	v := &versions{t: t, dir: t.TempDir(), bin: filepath.Join(t.TempDir(), "bin")}
	git := func(words ...string) *exec.Cmd {
		cmd := exec.Command("git", words...)
		cmd.Dir = ".."
		return cmd
	}
	if out, err := git("cat-file", "-e", commit+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("commit %s is not in this copy of the repository; git fetch --unshallow gets it: %s", commit, bytes.TrimSpace(out))
	}
	source := t.TempDir()
	archive, err := git("archive", commit).Output()
	if err != nil {
		t.Fatal(err)
	}
	tar := exec.Command("tar", "-x", "-C", source)
	tar.Stdin = bytes.NewReader(archive)
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	// What it needs of other modules has been built for this version, mostly.
	build := exec.Command("go", "build", "-buildvcs=false", "-o", v.bin+"/",
		"./kumomanager/cmd/kumo-manager", "./kumoserver/cmd/kumo-server", "./kumogateway/cmd/kumo-gateway")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v: %s", commit, err, out)
	}
	return v
}

// option has the cluster start its processes so.
func (v *versions) option() testenv.Option {
	// The prefix comes before the program: this test's binary, "daemon", the role and
	// its options.
	script := fmt.Sprintf(`name=$1; shift
if test ! -e '%s'/"$name"; then exec "$@"; fi
role=$3; shift 3
for word in "$@"; do # without what the oldest do not know: --log-format text
	shift
	case $word in --log-format|text) ;; *) set -- "$@" "$word" ;; esac
done
exec '%s'/kumo-"$role" "$@"`, v.dir, v.bin)
	return func(o *local.Options) {
		o.Prefix = func(n local.Node) []string { return []string{"/bin/sh", "-c", script, "version", n.Name} }
	}
}

// old has nodes start in the old version from now on, new in this one.
func (v *versions) old(names ...string) {
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(v.dir, name), nil, 0o600); err != nil {
			v.t.Fatal(err)
		}
	}
}

func (v *versions) new(names ...string) {
	for _, name := range names {
		if err := os.Remove(filepath.Join(v.dir, name)); err != nil {
			v.t.Fatal(err)
		}
	}
}

// check expects that a node runs in the version that it should.
func (v *versions) check(c *testenv.Cluster, name string) {
	v.t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	_, err := os.Stat(filepath.Join(v.dir, name))
	var exe string
	// Until the shell has become the daemon.
	c.Eventually(name+" is of the right version", func() bool {
		exe, _ = os.Readlink(fmt.Sprintf("/proc/%d/exe", c.PID(name)))
		return exe != "" && strings.HasPrefix(exe, v.bin) == (err == nil) && !strings.HasSuffix(exe, "sh")
	})
}

// A cluster of an older version is upgraded a node at a time under load, servers
// first, and then goes back to the older version in the same order, so that each
// version's managers meet the other's servers. Clients notice nothing but the restart
// of their gateway.
func TestRollingUpgrade(t *testing.T) {
	variation(t)
	t.Parallel()
	v := oldVersion(t, *upgradeFrom)
	managers := []string{"manager1", "manager2", "manager3"}
	v.old(managers...)
	v.old(servers...)
	v.old("gateway1", "gateway2")
	c := testenv.New(t, testenv.Processes(), testenv.Managers(3), testenv.Gateways(2), testenv.Partitions(8), v.option())
	for _, name := range append(append([]string{"gateway1"}, managers...), servers...) {
		v.check(c, name)
	}
	for i := range upgradeKeys {
		c.Set(fmt.Sprint("u", i), fmt.Sprint("value", i))
	}
	c.EventuallyWhole()
	verify := func() {
		t.Helper()
		for g := range 2 {
			m := c.Client(g)
			for i := range upgradeKeys {
				if v, err := m.Get(fmt.Sprint("u", i)); err != nil || v != fmt.Sprint("value", i) {
					t.Fatalf("gateway %d: u%d is %q, %v", g+1, i, v, err)
				}
			}
		}
	}
	roll := func(set func(...string), names ...string) {
		t.Helper()
		for _, name := range names {
			c.Stop(name)
			set(name)
			c.Start(name)
			v.check(c, name)
			if !strings.HasPrefix(name, "gateway") {
				c.EventuallyState(name, "up")
				c.EventuallyWhole()
			}
		}
	}
	// The gateways are of different versions while the others change.
	roll(v.new, "gateway2")
	load := c.Load()
	load.GoesOn()
	roll(v.new, servers...)
	roll(v.new, managers...)
	load.GoesOn()
	load.Stop()
	load.NoErrors()
	load.Verify()
	roll(v.new, "gateway1")
	verify()

	roll(v.old, "gateway2")
	load = c.Load()
	load.GoesOn()
	roll(v.old, servers...)
	roll(v.old, managers...)
	load.GoesOn()
	load.Stop()
	load.NoErrors()
	load.Verify()
	roll(v.old, "gateway1")
	verify()
}
