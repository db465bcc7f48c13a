package testenv

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/etolabo/kumofs/kumoctl/daemon"
	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
)

// Patience is how long a fact may take to come true: far more than it takes,
// since test machines are slow and shared.
const Patience = 60 * time.Second

// Main runs the tests of a package, or a daemon if the binary was started as
// one.
func Main(m *testing.M) int {
	if len(os.Args) > 2 && os.Args[1] == "daemon" {
		return daemon.Main(os.Args[2], os.Args[0]+" daemon "+os.Args[2], os.Args[3:])
	}
	return m.Run()
}

// Cluster is a running cluster. Its methods fail the test rather than return
// errors.
type Cluster struct {
	*local.Cluster
	t       testing.TB
	log     *os.File
	clients []*Client // that are open; the first is that of Set and Get
	loads   int       // that were started
}

// Option changes what New starts.
type Option func(*local.Options)

// Managers sets how many managers there are; 1 by default.
func Managers(n int) Option { return func(o *local.Options) { o.Managers = n } }

// Servers sets how many servers there are; 3 by default.
func Servers(n int) Option { return func(o *local.Options) { o.Servers = n } }

// Gateways sets how many gateways there are; 1 by default.
func Gateways(n int) Option { return func(o *local.Options) { o.Gateways = n } }

// Replicas sets how many copies there are; 3 by default.
func Replicas(n int) Option { return func(o *local.Options) { o.Replicas = n } }

// Partitions sets how many partitions there are; 32 by default, which makes
// tests quicker than the product's default does.
func Partitions(n int) Option { return func(o *local.Options) { o.Partitions = n } }

// Sync sets when servers flush to disk.
func Sync(mode string) Option { return func(o *local.Options) { o.Sync = mode } }

// Args adds options to the command lines of all daemons of a role.
func Args(role subjects.Role, args ...string) Option {
	return func(o *local.Options) {
		if o.Args == nil {
			o.Args = map[subjects.Role][]string{}
		}
		o.Args[role] = append(o.Args[role], args...)
	}
}

// Credentials gives the cluster those of a folder that kumoctl auth init made.
func Credentials(dir string) Option { return func(o *local.Options) { o.Credentials = dir } }

// Folder keeps the cluster in a folder that outlives the test.
func Folder(dir string) Option { return func(o *local.Options) { o.Dir = dir } }

// Namespaces puts each node's process behind a prefix of its own, such as ip
// netns exec NAME, at the addresses of a layout that names all nodes.
func Namespaces(l *local.Layout, prefix func(local.Node) []string) Option {
	return func(o *local.Options) {
		o.Layout, o.Prefix = l, prefix
		o.Managers, o.Servers, o.Gateways = 0, 0, 0
	}
}

// Processes makes each daemon a process; see Main.
func Processes() Option {
	return func(o *local.Options) { o.Program = []string{os.Args[0], "daemon"} }
}

// New starts a cluster, attaches its servers and waits until it serves.
func New(t testing.TB, options ...Option) *Cluster {
	t.Helper()
	c := Open(t, options...)
	if err := c.Cluster.Start(); err != nil {
		t.Fatal(err)
	}
	c.Ready()
	return c
}

// Open prepares a cluster and starts nothing.
func Open(t testing.TB, options ...Option) *Cluster {
	t.Helper()
	o := local.Defaults()
	o.Dir, o.Host, o.MemcachedPort = t.TempDir(), loopback(), 0
	o.Partitions, o.Verbose = 32, true
	for _, option := range options {
		option(&o)
	}
	if o.Program != nil {
		self, err := os.Executable()
		if err != nil {
			t.Fatalf("find the test's binary: %v", err)
		}
		o.Program[0] = self
	}
	c := &Cluster{t: t}
	var err error
	if c.log, err = os.Create(filepath.Join(o.Dir, "cluster.log")); err != nil {
		t.Fatal(err)
	}
	o.Log = slog.New(slog.NewTextHandler(c.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if c.Cluster, err = local.Open(o); err != nil {
		c.log.Close()
		t.Fatal(err)
	}
	t.Cleanup(c.end)
	return c
}

// loopback draws an address for one cluster, so that clusters do not meet and
// all can use the usual ports. Elsewhere than on Linux only 127.0.0.1 is there.
func loopback() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(253), rand.IntN(256), 1+rand.IntN(254))
}

// end shows what there is to see of a failure, and stops everything.
func (c *Cluster) end() {
	for _, m := range c.clients {
		m.Close()
	}
	if c.t.Failed() {
		c.dump()
	}
	if err := c.Cluster.Close(); err != nil {
		c.t.Errorf("stop the cluster: %v", err)
		if !c.t.Failed() {
			c.dump()
		}
	}
	c.log.Close()
	c.checkLogs()
}

// context is one for a question that should be answered soon.
func (c *Cluster) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), Patience)
}

// Ready attaches new servers and waits until all partitions have a primary and
// the gateways answer.
func (c *Cluster) Ready() {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	if err := c.Cluster.Ready(ctx); err != nil {
		c.t.Fatal(err)
	}
}

// Start starts nodes that do not run.
func (c *Cluster) Start(names ...string) {
	c.t.Helper()
	for _, n := range names {
		c.must(c.Cluster.StartNode(n))
	}
}

// Stop ends nodes in good order.
func (c *Cluster) Stop(names ...string) {
	c.t.Helper()
	for _, n := range names {
		c.must(c.Cluster.Stop(n))
	}
}

// Kill ends processes with SIGKILL, all before it waits for the first.
func (c *Cluster) Kill(names ...string) {
	c.t.Helper()
	c.must(c.Cluster.Kill(names...))
}

// Pause stops processes with SIGSTOP.
func (c *Cluster) Pause(names ...string) {
	c.t.Helper()
	for _, n := range names {
		c.must(c.Cluster.Pause(n))
	}
}

// Resume lets paused processes go on.
func (c *Cluster) Resume(names ...string) {
	c.t.Helper()
	for _, n := range names {
		c.must(c.Cluster.Resume(n))
	}
}

// AddServer starts one more server and returns its name. It is seen, and waits
// to be attached.
func (c *Cluster) AddServer() string {
	c.t.Helper()
	n, err := c.Cluster.AddServer()
	c.must(err)
	c.Start(n.Name)
	return n.Name
}

// Attach gives all new servers their share.
func (c *Cluster) Attach() {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	done, err := c.Admin().Attach(ctx)
	c.must(err)
	c.t.Logf("attach: %s", done.Text)
}

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// Names lists the nodes of a role.
func (c *Cluster) Names(role subjects.Role) []string {
	var names []string
	l := c.Layout()
	for _, n := range l.Of(role) {
		names = append(names, n.Name)
	}
	return names
}
