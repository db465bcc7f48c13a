package kumoserver

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// The ports of servers, and how a manager's route port follows from its port.
const (
	DefaultPort        = 19800
	DefaultRoutePort   = 19900
	DefaultManagerPort = 19700
	managerRouteOffset = 90
)

// Options are those of a server. The zero value of each but Listen, Managers
// and Dir means its default.
type Options struct {
	// Listen is the address as other nodes see it, host or host:port (-l).
	Listen string
	// Bind is the host on whose ports to listen, if that is not Listen's: where
	// ports are forwarded to this machine.
	Bind string
	// RoutePort is where the mesh's routes connect (-L). A taken port is a
	// warning and a free one is used.
	RoutePort int
	// Managers are host or host:port of the managers (-m, -p).
	Managers []string
	// Dir is the store's folder (-s).
	Dir     string
	Cluster subjects.Cluster
	Zone    string
	Hub     *bus.Hub // shared with servers and gateways in this process; nil: none
	// Security has the credentials; nil: whoever reaches the ports may do everything.
	Security *bus.Security
	HTTP     string // where an HTTP port is seen that somebody else serves, for heartbeats; "": none
	MaxItem  int    // bytes, the largest value; the bus's limit follows
	// Sync, SyncEvery, Log and memory bounds of the store.
	Sync          store.SyncMode
	SyncEvery     time.Duration
	MemtableBytes int64
	CacheBytes    int64
	RetainBytes   int64 // of log for copies that lag; 0: 256 MiB; the log's files follow
	// ScrubRate is how many bytes a second are read to find damage that nobody
	// meets, -1 for none; ScrubEvery is how long after a pass the next begins.
	ScrubRate  int64
	ScrubEvery time.Duration
	// ReadRate is how many bytes a second are read for backups, exports and
	// comparisons of copies together (DefaultReadRate).
	ReadRate int64
	// Replica are the times and bounds of replication.
	Replica replica.Options
	// Lease is how long a primary may read without asking again (1 s). It is as
	// long as the shorter one's where servers are set differently.
	Lease time.Duration
	// Failover says what ends the grants to a primary that failed.
	Failover Failover
	// Read says what lets a primary answer a read.
	Read Read
	// HeartbeatEvery is how often the server says that it lives (150 ms).
	HeartbeatEvery time.Duration
	// StopWithin bounds the hand-over of a graceful stop (5 s).
	StopWithin time.Duration
	// Version is what status shows.
	Version string
	// Witness starts a vote in the managers' log on the server's own bus, with
	// its state in the folder; nil for none. Its Close is called before the
	// bus's. Without an error and without a Closer the server has a vote that it
	// must not use: it works, and tells the managers so.
	Witness func(w Witness) (Closer, error)
	Log     *slog.Logger
}

// Failover says what ends the grants to a primary that failed.
type Failover uint8

const (
	FailoverProof Failover = iota // their time, or proof that its process is gone
	FailoverLease                 // their time alone
)

// Read says what lets a primary answer a read.
type Read uint8

const (
	ReadLease   Read = iota // leases, which trust clocks to run alike within 1%
	ReadConfirm             // a round to the in-sync replicas for each, which trusts no clock
)

// The bounds of Options.Lease: shorter ones end while a busy machine looks the
// other way, longer ones make a fail-over a long pause.
const (
	MinLease = 200 * time.Millisecond
	MaxLease = 30 * time.Second
)

// Witness is what a witness is given: the server's bus, its identity there, and
// a folder.
type Witness struct {
	Bus     *bus.Bus
	Cluster subjects.Cluster
	Node    string // name in subjects
	ID      ring.NodeID
	Boot    ring.BootID
	Dir     string
	Log     *slog.Logger
}

// Closer ends what Witness began.
type Closer interface{ Close() error }

// Check says what of the options cannot work, as Open would.
func (o Options) Check() error {
	_, err := o.withDefaults()
	return err
}

// withDefaults fills in what was left out, and says what cannot work.
func (o Options) withDefaults() (Options, error) {
	if o.Listen == "" {
		return o, fmt.Errorf("-l: the address of this server is needed, as other nodes see it")
	}
	host, port, err := splitAddr(o.Listen, DefaultPort)
	if err != nil {
		return o, fmt.Errorf("-l: %w", err)
	}
	o.Listen = net.JoinHostPort(host, strconv.Itoa(port))
	o.Bind = orDefault(strings.Trim(o.Bind, "[]"), host)
	if len(o.Managers) == 0 {
		return o, fmt.Errorf("-m: the address of a manager is needed")
	}
	managers := make([]string, 0, len(o.Managers))
	for _, list := range o.Managers {
		for _, m := range strings.Split(list, ",") {
			h, p, err := splitAddr(m, DefaultManagerPort)
			if err != nil {
				return o, fmt.Errorf("-m: %w", err)
			}
			managers = append(managers, net.JoinHostPort(h, strconv.Itoa(p)))
		}
	}
	o.Managers = managers
	if o.RoutePort > math.MaxUint16 {
		return o, fmt.Errorf("-L: %d is no port", o.RoutePort)
	}
	if o.Dir == "" {
		return o, fmt.Errorf("-s: a folder for the data is needed")
	}
	if o.Cluster == "" {
		o.Cluster = subjects.DefaultCluster
	}
	if err := o.Cluster.Check(); err != nil {
		return o, err
	}
	o.MaxItem = orDefault(o.MaxItem, subjects.DefaultMaxItem)
	if o.MaxItem > subjects.MaxValue {
		return o, fmt.Errorf("--max-item-size: %d is over the limit of %d bytes", o.MaxItem, subjects.MaxValue)
	}
	if o.Replica == (replica.Options{}) {
		o.Replica = replica.Defaults()
	}
	o.Lease = orDefault(o.Lease, time.Duration(o.Replica.Lease))
	if o.Lease < MinLease || o.Lease > MaxLease {
		return o, fmt.Errorf("--lease: %s is not between %s and %s", o.Lease, MinLease, MaxLease)
	}
	if int64(o.Lease) != o.Replica.Lease {
		o.Replica = o.Replica.WithLease(int64(o.Lease))
	}
	o.Replica.Confirm = o.Read == ReadConfirm
	if o.ReadRate = orDefault(o.ReadRate, DefaultReadRate); o.ReadRate < minReadRate {
		return o, fmt.Errorf("--read-rate: %d bytes a second, want at least %d", o.ReadRate, minReadRate)
	}
	o.HeartbeatEvery = orDefault(o.HeartbeatEvery, 150*time.Millisecond)
	o.StopWithin = orDefault(o.StopWithin, 5*time.Second)
	o.Version = orDefault(o.Version, "dev")
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// segmentBytes is how large a file of the log is: a quarter of what is retained, so
// that what goes, a file at a time, is little beside it. 0 is the store's default.
func segmentBytes(retain int64) int64 {
	if retain <= 0 {
		return 0
	}
	return max(1<<20, min(retain/4, 64<<20))
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// splitAddr reads host or host:port.
func splitAddr(addr string, port int) (string, int, error) {
	addr = strings.TrimSpace(addr)
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		host = strings.Trim(addr, "[]")
		if host == "" || strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", 0, fmt.Errorf("%q is no address (host or host:port)", addr)
		}
		return host, port, nil
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%q is no address (host or host:port)", addr)
	}
	return host, int(n), nil
}

// managerRoutes are the managers' route addresses.
func managerRoutes(managers []string) ([]string, error) {
	routes := make([]string, len(managers))
	for i, m := range managers {
		h, p, err := splitAddr(m, DefaultManagerPort)
		if err != nil {
			return nil, err
		}
		routes[i] = net.JoinHostPort(h, strconv.Itoa(p+managerRouteOffset))
	}
	return routes, nil
}

// newBootID draws the identity of this run.
func newBootID() (ring.BootID, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("draw a boot ID: %w", err)
	}
	return ring.BootID(binary.BigEndian.Uint64(b[:]) | 1), nil
}

// osBoot is the identity of the machine's run, empty where the system has none.
var osBoot = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
})
