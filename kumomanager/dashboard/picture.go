package dashboard

import (
	"cmp"
	"net"
	"slices"
	"strconv"

	"github.com/etolabo/kumofs/subjects/ring"
)

// Picture is where the copies of all partitions are.
type Picture struct {
	Revision uint64   `json:"revision"`
	Servers  []Server `json:"servers"` // by zone and address
	// Parts are the copies of each partition, each as 4·s+k: s is the server's
	// place in Servers, k what it has, see the kinds.
	Parts [][]int `json:"parts"`
	// Health has a digit for each partition, see the constants.
	Health string `json:"health"`
}

// Server is a server of a Picture.
type Server struct {
	Addr     string `json:"addr"`
	Zone     string `json:"zone,omitempty"`
	Up       bool   `json:"up"`
	Attached bool   `json:"attached"`
}

// The kinds of copies.
const (
	inSync  = 0
	primary = 1 // its process is alive
	joining = 2
	wanted  = 3 // it is not there
)

// The health of partitions.
const (
	whole    = '0'
	degraded = '1' // it lacks copies
	lone     = '2' // it has a single one
	headless = '3' // it has no live primary
)

// draw makes the picture of a table, nil for none.
func draw(t *ring.Table) *Picture {
	if t == nil {
		return nil
	}
	nodes := slices.Clone(t.Nodes)
	slices.SortFunc(nodes, func(a, b ring.Node) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), compareAddr(a.Addr, b.Addr), cmp.Compare(a.ID, b.ID))
	})
	p := &Picture{Revision: t.Revision, Servers: []Server{}, Parts: make([][]int, t.Size())}
	place := map[ring.NodeID]int{}
	for _, n := range nodes {
		place[n.ID] = len(p.Servers)
		p.Servers = append(p.Servers, Server{Addr: clip(n.Addr), Zone: clip(n.Zone), Up: n.Up, Attached: n.Attached})
	}
	health := make([]byte, t.Size())
	for i := range t.Partitions {
		c := &t.Partitions[i]
		p.Parts[i], health[i] = copies(t, c, place), healthOf(t, c)
	}
	p.Health = string(health)
	return p
}

// healthOf judges as the leader's status does.
func healthOf(t *ring.Table, c *ring.Config) byte {
	up := 0
	for _, id := range c.ISR {
		if n, _ := t.Node(id); n.Up {
			up++
		}
	}
	switch {
	case !t.Alive(c.Primary):
		return headless
	case up == 1 && t.Replicas > 1:
		return lone
	case up < len(c.Target):
		return degraded
	}
	return whole
}

func copies(t *ring.Table, c *ring.Config, place map[ring.NodeID]int) []int {
	out := make([]int, 0, len(c.Target)+1)
	add := func(id ring.NodeID, kind int) {
		if s, ok := place[id]; ok {
			out = append(out, 4*s+kind)
		}
	}
	for _, id := range c.ISR {
		kind := inSync
		if id == c.Primary.Store && t.Alive(c.Primary) {
			kind = primary
		}
		add(id, kind)
	}
	for _, id := range c.Learners {
		add(id, joining)
	}
	for _, id := range c.Target {
		if !c.Holds(id) {
			add(id, wanted)
		}
	}
	return out
}

// compareAddr has ports in the order of their numbers.
func compareAddr(a, b string) int {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	x, _ := strconv.Atoi(portA)
	y, _ := strconv.Atoi(portB)
	return cmp.Or(cmp.Compare(hostA, hostB), cmp.Compare(x, y), cmp.Compare(a, b))
}
