package local

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/credentials"
	"github.com/etolabo/kumofs/subjects"
)

// Options say what cluster to run. Start from Defaults.
type Options struct {
	Dir      string // made if it is not there; its layout wins over the counts below
	Cluster  string
	Host     string // on which all daemons listen
	Managers int
	Servers  int // more than the folder has are added, and attached
	Gateways int // 0 or 1 more than the layout's: gateways keep nothing
	// MemcachedPort is the first gateway's; 0 takes a free one.
	MemcachedPort int
	// Layout replaces counts and ports, for clusters with addresses of their own.
	Layout *Layout
	// Program starts daemons as processes: it is followed by a role and the
	// role's options. Without it they run in this process.
	Program []string
	// Prefix is put before a process's command line, such as that of a network
	// namespace: ip netns exec NAME. Whether ports are free is then not tried:
	// they are not where this process is.
	Prefix func(n Node) []string
	Settings
	Log *slog.Logger
	// Output is where processes write; by default NAME.log in Dir.
	Output func(n Node) (*os.File, error)
}

// Defaults are a manager, three servers and a gateway in one process.
func Defaults() Options {
	return Options{
		Dir: "kumo-data", Cluster: subjects.DefaultCluster, Host: "127.0.0.1",
		Managers: 1, Servers: 3, Gateways: 1, MemcachedPort: 11211,
	}
}

// stopWithin is how long a daemon may take to stop before it is killed.
const stopWithin = 15 * time.Second

// Cluster is a cluster on this machine. Its methods may be called from any
// goroutine.
type Cluster struct {
	o      Options
	lock   *os.File
	hub    *bus.Hub // of daemons in this process
	admin  *admin.Client
	mu     sync.Mutex
	layout *Layout            // guarded by mu
	nodes  map[string]running // guarded by mu; those that were started and not waited for
	closed bool               // guarded by mu
}

// ErrInUse says that another process runs the cluster of a folder.
var ErrInUse = errors.New("the folder is in use")

// Open takes the folder and settles where everybody listens. It starts no
// daemon. The error for a taken port is a *PortError.
func Open(o Options) (_ *Cluster, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	security, err := o.adminSecurity()
	if err != nil {
		return nil, err
	}
	c := &Cluster{o: o, hub: bus.NewHub(), nodes: make(map[string]running)}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	if c.lock, err = lockFolder(o.Dir); err != nil {
		return nil, err
	}
	if c.layout, err = o.settle(); err != nil {
		return nil, err
	}
	if err := c.layout.save(o.Dir); err != nil {
		return nil, err
	}
	c.admin, err = admin.Dial(admin.Options{Cluster: o.Cluster, Managers: c.layout.Addrs(subjects.RoleManager), Security: security})
	return c, err
}

// adminSecurity is what the cluster's own commands come with; nil without credentials.
func (o *Options) adminSecurity() (*bus.Security, error) {
	if o.Credentials == "" {
		return nil, nil
	}
	var err error
	if o.Credentials, err = filepath.Abs(o.Credentials); err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	f, err := credentials.Load(o.Credentials, subjects.RoleAdmin)
	if err != nil {
		return nil, err
	}
	return bus.NewSecurity(f.Credentials())
}

// Layout returns the nodes as they are now.
func (c *Cluster) Layout() Layout {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Layout{Cluster: c.layout.Cluster, Nodes: slices.Clone(c.layout.Nodes)}
}

// Admin is the operator's connection.
func (c *Cluster) Admin() *admin.Client { return c.admin }

// Dir is the cluster's folder, as an absolute path.
func (c *Cluster) Dir() string { return c.o.Dir }

// AddServer puts another server into the layout. It does not start it.
func (c *Cluster) AddServer() (Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.layout.addServer(c.o.Host, c.layout.shift())
	if c.o.Prefix == nil {
		if err := n.checkPorts(); err != nil {
			return Node{}, err
		}
	}
	return n, c.layout.save(c.o.Dir)
}

// Start starts all daemons, in the layout's order.
func (c *Cluster) Start() error {
	for _, n := range c.Layout().Nodes {
		if err := c.StartNode(n.Name); err != nil {
			return err
		}
	}
	return nil
}

// StartNode starts a node that does not run.
func (c *Cluster) StartNode(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("start %s: the cluster is closed", name)
	}
	n, ok := c.layout.node(name)
	if !ok {
		return fmt.Errorf("start %s: no such node", name)
	}
	if r := c.nodes[name]; r != nil {
		select {
		case <-r.ended():
		default:
			return fmt.Errorf("start %s: it runs", name)
		}
	}
	r, err := c.start(n)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	c.nodes[name] = r
	return nil
}

func (c *Cluster) start(n Node) (running, error) {
	args := c.o.Settings.command(c.layout, n, c.o.Dir)
	memory := cli.MemoryLimit().Share(len(c.layout.Nodes))
	if len(c.o.Program) == 0 {
		return startInProcess(args, c.o.Log.With("node", n.Name), c.hub, memory)
	}
	open := c.o.Output
	if open == nil {
		open = func(n Node) (*os.File, error) {
			return os.OpenFile(filepath.Join(c.o.Dir, n.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		}
	}
	out, err := open(n)
	if err != nil {
		return nil, fmt.Errorf("open its log: %w", err)
	}
	defer out.Close() // the process has its own handle
	program := c.o.Program
	if c.o.Prefix != nil {
		program = append(c.o.Prefix(n), program...)
	}
	return startProcess(program, args, memory.Environ(), out)
}

// SetArgs gives the daemons of a role that are started from now on other further
// options.
func (c *Cluster) SetArgs(role subjects.Role, args ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := maps.Clone(c.o.Args)
	if all == nil {
		all = map[subjects.Role][]string{}
	}
	all[role] = args
	c.o.Args = all
}

// running returns a node that was started.
func (c *Cluster) running(name string) (running, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.nodes[name]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("%s does not run: %w", name, fs.ErrNotExist)
}

// PID is the process that a node is or lives in; 0 if it was never started.
func (c *Cluster) PID(name string) int {
	r, err := c.running(name)
	if err != nil {
		return 0
	}
	return r.pid()
}

// Ended is closed when a node's daemon has ended; then Err tells why.
func (c *Cluster) Ended(name string) <-chan struct{} {
	r, err := c.running(name)
	if err != nil {
		none := make(chan struct{})
		close(none)
		return none
	}
	return r.ended()
}

// Err waits for a node's end and tells why it ended; nil if it was told to.
func (c *Cluster) Err(name string) error {
	r, err := c.running(name)
	if err != nil {
		return err
	}
	return r.err()
}

// Forget drops a node that has ended, so that its end is told by Failed and Close
// no more. It can be started again.
func (c *Cluster) Forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.nodes[name]; r != nil {
		select {
		case <-r.ended():
			delete(c.nodes, name)
		default:
		}
	}
}

// Stop ends a node in good order and waits for it. A process that does not
// obey is killed.
func (c *Cluster) Stop(name string) error {
	r, err := c.running(name)
	if err != nil {
		return err
	}
	r.stop()
	t := time.NewTimer(stopWithin)
	defer t.Stop()
	select {
	case <-r.ended():
		return r.err()
	case <-t.C:
	}
	if err := r.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("%s does not stop: %w", name, err)
	}
	<-r.ended()
	return fmt.Errorf("%s did not stop within %s and was killed", name, stopWithin)
}

// Kill ends processes with SIGKILL, all at once, and waits until they are gone.
func (c *Cluster) Kill(names ...string) error {
	var killed []running
	for _, name := range names {
		r, err := c.running(name)
		if err != nil {
			return err
		}
		if err := r.signal(syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill %s: %w", name, err)
		}
		killed = append(killed, r)
	}
	for _, r := range killed {
		<-r.ended()
	}
	return nil
}

// Pause stops a process with SIGSTOP; Resume lets it go on.
func (c *Cluster) Pause(name string) error { return c.signal(name, syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (c *Cluster) Resume(name string) error { return c.signal(name, syscall.SIGCONT) }

func (c *Cluster) signal(name string, s syscall.Signal) error {
	r, err := c.running(name)
	if err != nil {
		return err
	}
	return r.signal(s)
}

// Close stops all daemons, gateways first and managers last, and gives the
// folder back. It may be called twice.
func (c *Cluster) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	if c.layout != nil {
		for _, role := range []subjects.Role{subjects.RoleGateway, subjects.RoleServer, subjects.RoleManager} {
			errs = append(errs, c.stopAll(c.layout.Of(role)))
		}
	}
	if c.admin != nil {
		errs = append(errs, c.admin.Close())
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Close())
	}
	return errors.Join(errs...)
}

// stopAll stops nodes at the same time.
func (c *Cluster) stopAll(nodes []Node) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		if c.PID(n.Name) == 0 {
			continue
		}
		wg.Go(func() { errs[i] = c.Stop(n.Name) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
