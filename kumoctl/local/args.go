package local

import (
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/etolabo/kumofs/subjects"
)

// Settings are what all daemons of a local cluster share.
type Settings struct {
	Replicas       int           // copies; 0 for the default
	Partitions     int           // of a new cluster; 0 for the default
	Sync           string        // of the servers; "" for the default
	EnableFlushAll bool          // on the gateways
	FailAfter      time.Duration // until a silent node counts as down; 0 for the default
	Verbose        bool
	Credentials    string // folder of kumoctl auth init; "" for none
	// Args are further options of all daemons of a role, as on their command
	// lines.
	Args map[subjects.Role][]string
}

// command returns the command line that starts a node as a process: its role
// and its options. dir is the cluster's folder.
func (s Settings) command(l *Layout, n Node, dir string) []string {
	args := []string{string(n.Role), "--cluster", l.Cluster, "--log-format", "text"}
	if s.Verbose {
		args = append(args, "-v")
	}
	if s.Credentials != "" {
		args = append(args, "--credentials", filepath.Join(s.Credentials, string(n.Role)))
	}
	managers := strings.Join(l.Addrs(subjects.RoleManager), ",")
	folder := filepath.Join(dir, n.Name)
	switch n.Role {
	case subjects.RoleManager:
		args = append(args, "-l", n.Addr, "-s", folder)
		for _, m := range l.Of(subjects.RoleManager) {
			if m.Name != n.Name {
				args = append(args, "-p", m.Addr)
			}
		}
		args = appendInt(args, "--replicas", s.Replicas)
		args = appendInt(args, "--partitions", s.Partitions)
		if s.FailAfter > 0 {
			args = append(args, "--fail-after", s.FailAfter.String())
		}
	case subjects.RoleServer:
		args = append(args, "-l", n.Addr, "-m", managers, "-s", folder, "-L", strconv.Itoa(n.Port))
		if s.Sync != "" {
			args = append(args, "--sync", s.Sync)
		}
		if n.Zone != "" {
			args = append(args, "--zone", n.Zone)
		}
	case subjects.RoleGateway:
		// Servers too, so that it can start while the managers are down.
		args = append(args, "-m", managers, "-m", strings.Join(l.Addrs(subjects.RoleServer), ","), "-t", n.Addr)
		if s.EnableFlushAll {
			args = append(args, "--enable-flush-all")
		}
	}
	return append(args, s.Args[n.Role]...)
}

func appendInt(args []string, name string, n int) []string {
	if n == 0 {
		return args
	}
	return append(args, name, strconv.Itoa(n))
}
