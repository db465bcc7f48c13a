package subjects

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/etolabo/kumofs/subjects/ring"
)

// DefaultCluster is the name of a cluster that was given none.
const DefaultCluster = "kumo"

// Cluster builds the subjects of the cluster of this name.
type Cluster string

// Check returns an error if the name cannot be a token of a subject.
func (c Cluster) Check() error {
	if c == "" || len(c) > 64 || strings.ContainsAny(string(c), ". \t\r\n*>") {
		return fmt.Errorf("cluster name %q: want 1 to 64 characters without dots, spaces, * and >", string(c))
	}
	return nil
}

// NodeName is the token of a node in subjects: its address with dashes.
func NodeName(addr string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '.', ':', ' ', '*', '>', '[', ']', '%', '/':
			return '-'
		}
		return r
	}, addr)
}

func (c Cluster) control() string { return "kumo." + string(c) + "." }
func (c Cluster) data() string    { return "kumodata." + string(c) + "." }

// Heartbeat is where a manager or a server says that it lives, and how it does.
// Node → all, every 150 ms; a Heartbeat in JSON. "*" as node listens to all.
func (c Cluster) Heartbeat(node string) string { return c.control() + "heartbeat." + node }

// GatewayHeartbeat is Heartbeat for gateways, which so cannot be taken for servers:
// what they may send is told by subjects.
func (c Cluster) GatewayHeartbeat(node string) string { return c.Heartbeat("gw." + node) }

// Ring is where the leader publishes each change of the table.
// Leader → all; a ring.Update in JSON. May be lost: the revision in the
// leader's heartbeat shows that something was missed.
func (c Cluster) Ring() string { return c.control() + "ring" }

// RingGet answers the newest table that the asked node knows.
// Any → any manager or server (one queue group); RingGet → ring.Update in JSON.
func (c Cluster) RingGet() string { return c.control() + "ring.get" }

// RingLatest answers the leader's own table, which no replica of it trails.
// Any → leader; RingGet → ring.Update in JSON.
func (c Cluster) RingLatest() string { return c.control() + "ring.latest" }

// RingChange is where primaries ask for new configurations of their partitions.
// Server → leader; ChangeRequest → ChangeReply in JSON. Safe to repeat: each
// change is a compare-and-set.
func (c Cluster) RingChange() string { return c.control() + "ring.change" }

// Event tells whoever watches what happened. Any → watchers; an Event in JSON.
// "*" as kind listens to all.
func (c Cluster) Event(kind string) string { return c.control() + "event." + kind }

// Admin is where the leader takes an operator's command.
// kumoctl → leader; JSON both ways, see control.go for each verb.
func (c Cluster) Admin(verb string) string { return c.control() + "admin." + verb }

// NodeAdmin is where one node takes an operator's command.
// kumoctl → node; JSON both ways.
func (c Cluster) NodeAdmin(node, verb string) string {
	return c.control() + "srv." + node + ".admin." + verb
}

// GatewayAdmin is NodeAdmin for gateways. kumoctl → gateway; JSON both ways.
func (c Cluster) GatewayAdmin(node, verb string) string {
	return c.control() + "gw." + node + ".admin." + verb
}

// The verbs on a partition's data subjects.
const (
	VerbRead    = "read"    // gateway → primary: Read → Reply. Changes nothing.
	VerbWrite   = "write"   // gateway → primary: Write → Reply. Repeated under the same OpID.
	VerbPrepare = "prepare" // primary → replica: Prepare → PrepareReply. Safe to repeat.
	VerbEpoch   = "epoch"   // primary → replica: EpochStart → EpochReply. Safe to repeat.
	VerbStream  = "stream"  // primary → learner: Range → RangeReply. Safe to repeat.
)

// Part is a partition's data subject at one node; see the verbs.
func (c Cluster) Part(node string, p ring.Partition, verb string) string {
	return c.data() + "srv." + node + ".part." + strconv.Itoa(int(p)) + "." + verb
}

// Parts is what a node subscribes to, once, for a verb on all partitions: a
// change of role needs no new subscription.
func (c Cluster) Parts(node, verb string) string {
	return c.data() + "srv." + node + ".part.*." + verb
}

// Lease is where a process is asked to grant leases for all partitions that it
// shares with the sender. Server → server; Lease → LeaseReply.
func (c Cluster) Lease(node string) string { return c.data() + "srv." + node + ".lease" }

// ServerReply is where a server takes the answers of other servers.
func (c Cluster) ServerReply(node string) string { return c.data() + "srv." + node + ".reply" }

// GatewayReply is the prefix under which a gateway takes answers, one subject
// for each of its connections.
func (c Cluster) GatewayReply(boot ring.BootID) string {
	return c.data() + "gw." + boot.String() + ".reply"
}

// GatewayReplies is all that gateways take answers on.
func (c Cluster) GatewayReplies() string { return c.data() + "gw.*.reply.*" }

// Gateways is how all subjects on which gateways take answers begin. Servers answer
// reads and writes nowhere else: nobody has them speak to others in their name.
func (c Cluster) Gateways() string { return c.data() + "gw." }

// Pieces is where a node gives records of a frozen copy out, for backups.
// kumoctl → server; PieceRequest → Piece, without a frame. Safe to repeat.
func (c Cluster) Pieces(node string) string { return c.data() + "srv." + node + ".pieces" }

// Feeds is where whoever wants to hear of changes says so, again and again: a server
// forgets it after FeedLasts. Watcher → all servers; a FeedRequest in JSON. Servers
// answer on Feed.
func (c Cluster) Feeds() string { return c.data() + "feeds" }

// Feed is where servers tell of changes of keys, those that begin with a prefix, of
// which hash is FeedRequest.Hash. Primaries → watchers; a FeedReport in JSON, at
// least once for each committed change, or its place shows that some were not told.
// It begins with kumodata, since it tells keys, as quickly as they are written:
// whoever may look at the control plane need not see them.
func (c Cluster) Feed(hash string) string { return c.data() + "feed." + hash }

// Raft is where a voter of the managers' log takes one kind of call.
// Voter → voter; the payload belongs to package quorum.
func (c Cluster) Raft(node, rpc string) string { return c.data() + "raft." + node + "." + rpc }
