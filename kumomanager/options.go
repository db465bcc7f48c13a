package kumomanager

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// Ports: a manager's own, and what is added to it for routes and, by whoever
// opens it, for HTTP.
const (
	DefaultPort = 19700
	RouteOffset = 90
	HTTPOffset  = 99
)

// maxManagers bounds -l and -p together.
const maxManagers = 7

// Options are those of a manager. Defaults gives the values to begin with.
type Options struct {
	// Listen is the address as other nodes see it, host or host:port (-l).
	Listen string
	// Bind is the host on whose ports to listen, if that is not Listen's: where
	// ports are forwarded to this machine.
	Bind string
	// Partners are the other managers, host or host:port; comma lists work (-p).
	Partners []string
	// Join lets a manager with a new folder wait until the managers of a cluster,
	// its partners, give it a vote. An old folder knows.
	Join bool
	// Dir keeps the managers' log (-s); empty is ./kumo-manager-HOST-PORT.
	Dir     string
	Cluster subjects.Cluster
	// What a new cluster begins with; an existing one keeps what it has.
	Partitions  int
	Replicas    int
	AutoReplace bool // -a: place partitions without being told
	// ReplaceDelay is how long the servers must be the same before auto-replace
	// plans (-Rs); LostAfter is how long a server must be down before it plans
	// around it.
	ReplaceDelay time.Duration
	LostAfter    time.Duration
	// MoveRate is how many bytes of copies a second a server of a new cluster sends
	// at most; 0: as many as it can.
	MoveRate int64
	// FailAfter is the silence after which a server is taken for dead where
	// nothing proves it.
	FailAfter time.Duration
	// MaxMoves is how many copies may be under way to, and from, one server: more
	// take the disk and the processor from clients (docs/results/pauses.md), and
	// gain little.
	MaxMoves int
	// RoutePort; 0 is the port of Listen plus RouteOffset.
	RoutePort int
	// HTTP is where the manager's HTTP port is seen, which somebody else serves;
	// empty: there is none.
	HTTP string
	// Security has the credentials; nil: whoever reaches the ports may do everything.
	Security *bus.Security
	Version  string
	Log      *slog.Logger
}

// Defaults are the options where nothing else is said.
func Defaults() Options {
	return Options{
		Cluster:      subjects.DefaultCluster,
		Partitions:   ring.DefaultPartitions,
		Replicas:     ring.DefaultReplicas,
		ReplaceDelay: 4 * time.Second,
		LostAfter:    time.Minute,
		FailAfter:    1500 * time.Millisecond,
		MaxMoves:     6,
		Version:      "0.0.0",
	}
}

// Check says what of the options cannot work, as Open would.
func (o Options) Check() error {
	_, err := o.complete()
	return err
}

// complete fills in what follows from the rest, and says what cannot work.
func (o Options) complete() (Options, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Listen == "" {
		return o, fmt.Errorf("-l: the address of this manager is needed, as other nodes see it")
	}
	var err error
	if o.Listen, err = address(o.Listen); err != nil {
		return o, fmt.Errorf("-l: %w", err)
	}
	var partners []string
	for _, list := range o.Partners {
		for _, p := range strings.Split(list, ",") {
			addr, err := address(p)
			if err != nil {
				return o, fmt.Errorf("-p: %w", err)
			}
			if addr != o.Listen && !slices.Contains(partners, addr) {
				partners = append(partners, addr)
			}
		}
	}
	if o.Partners = partners; len(partners)+1 > maxManagers {
		return o, fmt.Errorf("-p: %d managers, at most %d", len(partners)+1, maxManagers)
	}
	if o.Join && len(o.Partners) == 0 {
		return o, fmt.Errorf("--join: -p must name the managers of the cluster")
	}
	if err := o.Cluster.Check(); err != nil {
		return o, err
	}
	host, port, _ := net.SplitHostPort(o.Listen)
	if o.Bind = strings.Trim(o.Bind, "[]"); o.Bind == "" {
		o.Bind = host
	}
	if o.Dir == "" {
		o.Dir = "kumo-manager-" + subjects.NodeName(host) + "-" + port
	}
	n, _ := strconv.Atoi(port)
	if o.RoutePort == 0 {
		o.RoutePort = n + RouteOffset
	}
	return o, o.check()
}

func (o Options) check() error {
	switch {
	case o.Partitions < 1 || o.Partitions > ring.MaxPartitions || o.Partitions&(o.Partitions-1) != 0:
		return fmt.Errorf("--partitions %d: want a power of two, at most %d", o.Partitions, ring.MaxPartitions)
	case o.Replicas < 1 || o.Replicas > ring.MaxReplicas:
		return fmt.Errorf("--replicas %d: want 1 to %d", o.Replicas, ring.MaxReplicas)
	case o.FailAfter < 3*heartbeat:
		return fmt.Errorf("--fail-after %s: heartbeats come every %s, want at least three of them", o.FailAfter, heartbeat)
	case o.MaxMoves < 1:
		return fmt.Errorf("--max-moves %d: want at least 1", o.MaxMoves)
	case o.MoveRate != ring.BoundMoveRate(o.MoveRate):
		return fmt.Errorf("--move-rate: want 0 or %g to %g MB/s", ring.MinMoveRate/1e6, ring.MaxMoveRate/1e6)
	case o.ReplaceDelay < 0 || o.LostAfter < 0:
		return fmt.Errorf("a delay below 0")
	}
	return nil
}

// address completes host or host:port.
func address(addr string) (string, error) {
	addr = strings.TrimSpace(addr)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port = strings.Trim(addr, "[]"), strconv.Itoa(DefaultPort)
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", fmt.Errorf("%q is no address (host or host:port)", addr)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return "", fmt.Errorf("%q is no address (host or host:port)", addr)
	}
	return net.JoinHostPort(host, port), nil
}

// withPort is the address with another port.
func withPort(addr string, add int) string {
	host, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return net.JoinHostPort(host, strconv.Itoa(n+add))
}
