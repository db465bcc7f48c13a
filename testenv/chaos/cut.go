package chaos

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"

	"github.com/etolabo/kumofs/kumoctl/local"
	"github.com/etolabo/kumofs/subjects"
)

// Network is a bridge and, behind it, a network namespace for each node. It
// needs iproute2 alone: a way is cut by telling the sender a hardware address
// that nobody has, so that what it sends is lost and nobody is told.
type Network struct {
	layout local.Layout
	hosts  map[string]host // by node

	mu     sync.Mutex
	cut    map[Pair]bool
	downed map[string]bool
}

type host struct{ ip, mac string }

// The addresses: the run itself is the bridge's first, and can reach all.
const (
	subnet   = "10.77.0."
	ownIP    = subnet + "1"
	noMAC    = "02:00:00:00:ff:ff"
	ethernet = "eth0"
)

// OpenNetwork makes the namespaces and joins them. It must run in namespaces of
// the run's own (see Inside), with which all of it ends.
func OpenNetwork(shape Shape) (*Network, error) {
	n := &Network{hosts: map[string]host{}, cut: map[Pair]bool{}, downed: map[string]bool{}}
	n.layout.Cluster = subjects.DefaultCluster
	for _, group := range []struct {
		role  subjects.Role
		names []string
		first int
	}{
		{subjects.RoleManager, shape.managers(), 11},
		{subjects.RoleServer, shape.servers(), 31},
		{subjects.RoleGateway, shape.gateways(), 51},
	} {
		for i, name := range group.names {
			at := group.first + i
			h := host{ip: fmt.Sprint(subnet, at), mac: fmt.Sprintf("02:00:00:00:00:%02x", at)}
			n.hosts[name] = h
			node := local.Node{Name: name, Role: group.role}
			switch group.role {
			case subjects.RoleManager:
				node.Addr = h.ip + ":19700"
			case subjects.RoleServer:
				node.Addr, node.Port = h.ip+":19800", 19900
			case subjects.RoleGateway:
				// Gateways go by the machine's name and their port.
				node.Addr = fmt.Sprintf("%s:%d", h.ip, 11211+i)
			}
			n.layout.Nodes = append(n.layout.Nodes, node)
		}
	}
	own := fmt.Sprintf("link add br0 type bridge\naddr add %s/24 dev br0\nlink set br0 up\n", ownIP)
	for i, node := range n.layout.Nodes {
		own += fmt.Sprintf("netns add %s\nlink add veth%d type veth peer name %s netns %s\nlink set veth%d master br0 up\n",
			node.Name, i, ethernet, node.Name, i)
	}
	if err := ip(own); err != nil {
		return nil, err
	}
	for name, h := range n.hosts {
		lines := fmt.Sprintf("link set lo up\nlink set %s address %s\naddr add %s/24 dev %s\nlink set %s up\n", ethernet, h.mac, h.ip, ethernet, ethernet)
		if err := ip(lines+n.neighbours(name), "-n", name); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// ip runs iproute2 over some lines.
func ip(lines string, args ...string) error {
	cmd := exec.Command("ip", append(args, "-batch", "-")...)
	cmd.Stdin = strings.NewReader(lines)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// neighbours is where a node is told that the others are, as lines for ip.
// Called with mu held, or before anybody else knows n.
func (n *Network) neighbours(from string) string {
	b := &strings.Builder{}
	for to, h := range n.hosts {
		mac := h.mac
		if n.cut[Pair{from, to}] {
			mac = noMAC
		}
		if to != from {
			fmt.Fprintf(b, "neigh replace %s lladdr %s dev %s nud permanent\n", h.ip, mac, ethernet)
		}
	}
	return b.String()
}

// Prefix puts a node's process into its namespace.
func (n *Network) Prefix(node local.Node) []string {
	return []string{"ip", "netns", "exec", node.Name}
}

// Cut loses what is sent on these ways, and on no others: nil heals all.
func (n *Network) Cut(ways []Pair) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	changed := map[string]bool{}
	for way := range n.cut {
		changed[way.From] = true
	}
	clear(n.cut)
	for _, way := range ways {
		n.cut[way] = true
		changed[way.From] = true
	}
	errs := make(chan error, len(changed))
	for from := range changed {
		lines := n.neighbours(from)
		if n.downed[from] {
			lines = "" // it gets them when it is back
		}
		go func() { errs <- ip(lines, "-n", from) }()
	}
	var failed error
	for range changed {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return failed
}

// Unplug takes a node's interface down.
func (n *Network) Unplug(node string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.downed[node] = true
	return ip("link set "+ethernet+" down\n", "-n", node)
}

// Plug takes it up again.
func (n *Network) Plug(node string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.downed, node)
	return ip("link set "+ethernet+" up\n"+n.neighbours(node), "-n", node)
}
