package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/etolabo/kumofs/subjects"
)

// A manager listens for other managers and for HTTP at fixed distances from
// its port.
const (
	managerRouteOffset = 90
	managerHTTPOffset  = 99
	// serverRouteOffset is our own choice, after kumofs's example (19801, 19901).
	serverRouteOffset = 100

	firstManagerPort = 19700
	firstServerPort  = 19801

	// Between memcached's port and those of managers.
	firstFreePort = 11212
	lastFreePort  = 18999
)

// Node is one daemon of a local cluster.
type Node struct {
	Name string        `json:"name"` // manager1, server2, gateway1; its folder in the cluster's
	Role subjects.Role `json:"role"`
	Addr string        `json:"addr"`            // host:port; a gateway's is for memcached clients
	Port int           `json:"route,omitempty"` // for routes, where the daemon is told one
	Zone string        `json:"zone,omitempty"`
}

// Layout is the daemons of a cluster and where they listen. It is kept in the
// cluster's folder, so that a second start finds every node where it was.
type Layout struct {
	Cluster string `json:"cluster"`
	Nodes   []Node `json:"nodes"`
}

// Of lists the nodes of a role.
func (l *Layout) Of(role subjects.Role) []Node {
	var list []Node
	for _, n := range l.Nodes {
		if n.Role == role {
			list = append(list, n)
		}
	}
	return list
}

// Addrs lists the addresses of a role's nodes.
func (l *Layout) Addrs(role subjects.Role) []string {
	var list []string
	for _, n := range l.Of(role) {
		list = append(list, n.Addr)
	}
	return list
}

// node returns the node of this name.
func (l *Layout) node(name string) (Node, bool) {
	for _, n := range l.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// addManager adds the next manager. They stand ten ports apart downwards, so
// that what each has at an offset meets nobody else.
func (l *Layout) addManager(host string, shift int) Node {
	i := len(l.Of(subjects.RoleManager))
	n := Node{Name: fmt.Sprintf("manager%d", i+1), Role: subjects.RoleManager, Addr: join(host, firstManagerPort+shift-10*i)}
	l.Nodes = append(l.Nodes, n)
	return n
}

// addServer adds the next server.
func (l *Layout) addServer(host string, shift int) Node {
	i := len(l.Of(subjects.RoleServer))
	port := firstServerPort + shift + i
	n := Node{Name: fmt.Sprintf("server%d", i+1), Role: subjects.RoleServer, Addr: join(host, port), Port: port + serverRouteOffset}
	l.Nodes = append(l.Nodes, n)
	return n
}

// addGateway adds the next gateway; port 0 takes a free one.
func (l *Layout) addGateway(host string, port int) (Node, error) {
	if port == 0 {
		var err error
		if port, err = l.freePort(host); err != nil {
			return Node{}, err
		}
	}
	i := len(l.Of(subjects.RoleGateway))
	n := Node{Name: fmt.Sprintf("gateway%d", i+1), Role: subjects.RoleGateway, Addr: join(host, port)}
	l.Nodes = append(l.Nodes, n)
	return n, nil
}

// HTTP is where a manager shows the cluster, unless its options say otherwise; ""
// of other roles.
func (n Node) HTTP() string {
	host, text, err := net.SplitHostPort(n.Addr)
	if n.Role != subjects.RoleManager || err != nil {
		return ""
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return ""
	}
	return join(host, port+managerHTTPOffset)
}

// ports lists every address that a node listens on.
func (n Node) ports() []string {
	host, text, err := net.SplitHostPort(n.Addr)
	if err != nil {
		return nil
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil
	}
	list := []string{n.Addr}
	if n.Role == subjects.RoleManager {
		list = append(list, join(host, port+managerRouteOffset), n.HTTP())
	}
	if n.Port != 0 {
		list = append(list, join(host, n.Port))
	}
	return list
}

// A PortError is a port that somebody else has.
type PortError struct {
	Node Node
	Addr string // host:port
	Err  error
}

func (e *PortError) Error() string {
	return fmt.Sprintf("%s cannot listen on %s: %v", e.Node.Name, e.Addr, rootCause(e.Err))
}

// Unwrap gives the cause, such as syscall.EADDRINUSE.
func (e *PortError) Unwrap() error { return e.Err }

func rootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// checkPorts returns a *PortError if a node could not listen now.
func (n Node) checkPorts() error {
	for _, addr := range n.ports() {
		if err := tryListen(addr); err != nil {
			return &PortError{n, addr, err}
		}
	}
	return nil
}

// tryListen listens for a moment. A process that is
// forked meanwhile would keep the port until it runs its own program, hence
// the lock.
func tryListen(addr string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return l.Close()
}

func (l *Layout) checkPorts() error {
	for _, n := range l.Nodes {
		if err := n.checkPorts(); err != nil {
			return err
		}
	}
	return nil
}

// freePort draws a port that nobody has and no node of the layout is to have.
// It lies below those that systems give to whoever asks for any, since one of
// them may be given away before the gateway listens.
func (l *Layout) freePort(host string) (int, error) {
	var err error
	for range 100 {
		port := firstFreePort + rand.IntN(lastFreePort-firstFreePort+1)
		addr := join(host, port)
		if slices.ContainsFunc(l.Nodes, func(n Node) bool { return slices.Contains(n.ports(), addr) }) {
			continue
		}
		if err = tryListen(addr); err == nil {
			return port, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

const layoutFile = "cluster.json"

// loadLayout reads the folder's layout; nil where there is none.
func loadLayout(dir string) (*Layout, error) {
	data, err := os.ReadFile(filepath.Join(dir, layoutFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's layout: %w", err)
	}
	var l Layout
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", filepath.Join(dir, layoutFile), err)
	}
	return &l, nil
}

// save writes the layout into the folder, whole or not at all.
func (l *Layout) save(dir string) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the cluster's layout: %w", err)
	}
	path := filepath.Join(dir, layoutFile)
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the cluster's layout: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the cluster's layout: %w", err)
	}
	return nil
}
