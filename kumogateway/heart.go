package kumogateway

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/bus"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const (
	beatPeriod  = 150 * time.Millisecond
	trimEvery   = 66 // beats, about 10 s, after which idle connections give back memory
	sumEvery    = 7  // beats, about 1 s, for which the sum over all connections is told again
	loadPeriod  = time.Second
	loadTimeout = 250 * time.Millisecond
)

// heart tells the cluster that this gateway lives.
type heart struct {
	g    *Gateway
	stop chan struct{}
	done chan struct{}
	at   atomic.Int64 // Unix nanoseconds of the last beat
}

func startHeart(g *Gateway) *heart {
	h := &heart{g: g, stop: make(chan struct{}), done: make(chan struct{})}
	h.at.Store(time.Now().UnixNano())
	go h.run()
	return h
}

func (h *heart) run() {
	defer close(h.done)
	tick := time.NewTicker(beatPeriod)
	defer tick.Stop()
	node := h.g.Node()
	stopping := false
	var load subjects.Load
	var before times
	for n := 0; !stopping; n++ {
		if n%sumEvery == 0 {
			s, _ := h.g.count()
			took := h.g.tookAll()
			load = subjects.Load{
				Get: s.get, Set: s.set, Delete: s.delete, At: time.Now().UnixMilli(), Took: took.since(&before),
			}
			before = took
			h.g.each((*conn).endStalled)
			h.g.hot.turn(time.Now())
		}
		if n%trimEvery == 0 {
			h.g.each((*conn).trim)
		}
		select {
		case <-h.stop:
			stopping = true
		case <-tick.C:
		}
		data, err := json.Marshal(h.g.heartbeat(node, stopping, load))
		if err != nil {
			h.g.o.Log.Error("heartbeat does not encode", "err", err)
			return
		}
		h.at.Store(time.Now().UnixNano())
		// Nobody hears it while the bus is down, and the bus says so itself.
		_ = h.g.bus.Publish(h.g.o.Cluster.GatewayHeartbeat(node), data)
	}
}

func (h *heart) close() {
	close(h.stop)
	<-h.done
}

// answerStat answers what the node counts.
func (g *Gateway) answerStat(m *bus.Msg) { g.reply(m, g.Status(), nil) }

// Status is what the node counts, in kumostat's names.
func (g *Gateway) Status() map[string]any {
	s, open := g.count()
	revision, waiting := g.router.state()
	return map[string]any{
		"pid": os.Getpid(), "uptime": int64(time.Since(g.started).Seconds()), "time": time.Now().Unix(),
		"version": g.o.Version, "cmd_get": s.get, "cmd_set": s.set, "cmd_delete": s.delete,
		"get_hits": s.getHits, "get_misses": s.getMisses, "curr_connections": open,
		"timed_out": s.timedOut, "outcome_unknown": s.unsure,
		"ring_revision": revision, "waiting_for_ring": waiting,
		"bytes_read": s.bytesRead, "bytes_written": s.bytesWritten, "slow": g.slow.count(),
	}
}

// reply answers an operator's question.
func (g *Gateway) reply(m *bus.Msg, answer any, err error) {
	rep := subjects.AdminReply{Error: subjects.ToWire(err)}
	if err == nil {
		rep.Data, err = json.Marshal(answer)
		rep.Error = subjects.ToWire(err)
	}
	data, err := json.Marshal(rep)
	if err == nil && m.Reply != "" {
		err = g.bus.Publish(m.Reply, data)
	}
	if err != nil {
		g.o.Log.Warn("an operator's question was not answered", "subject", m.Subject, "err", err)
	}
}

// Node is the gateway's name in subjects: its host and first port.
func (g *Gateway) Node() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "gateway"
	}
	return subjects.NodeName(net.JoinHostPort(host, port(g.Addrs())))
}

func (g *Gateway) heartbeat(node string, stopping bool, load subjects.Load) subjects.Heartbeat {
	revision, _ := g.router.state()
	return subjects.Heartbeat{
		Cluster: string(g.o.Cluster), ClusterID: ring.ClusterID(g.router.meshID.Load()),
		Node: node, ID: ring.NodeID(g.boot), Boot: g.boot, Role: subjects.RoleGateway,
		Version: g.o.Version, PID: os.Getpid(), Listen: g.Addrs(), HTTP: g.o.HTTP, Revision: revision,
		Stopping: stopping, Time: time.Now().UnixMilli(), Uptime: int64(time.Since(g.started).Seconds()),
		Load: load, Expires: g.o.Security.Expires(),
	}
}

// loadCache is what the cluster held when it was last asked.
type loadCache struct {
	at   time.Time
	load subjects.Load
}

// clusterLoad sums what the partitions' primaries hold. The leader is asked at
// most once a second, and not waited for longer than a moment; what was known
// before is the answer if it is silent.
func (g *Gateway) clusterLoad() subjects.Load {
	g.mu.Lock()
	cached := g.load
	fresh := time.Since(cached.at) < loadPeriod
	if !fresh {
		g.load.at = time.Now() // others need not ask too
	}
	g.mu.Unlock()
	if fresh {
		return cached.load
	}
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	m, err := g.bus.Request(ctx, g.o.Cluster.Admin(subjects.AdminStatus), nil)
	if err != nil {
		return cached.load
	}
	var rep subjects.AdminReply
	var status subjects.ClusterStatus
	if json.Unmarshal(m.Data, &rep) != nil || rep.Error != nil || json.Unmarshal(rep.Data, &status) != nil {
		return cached.load
	}
	load := sumLoad(&status)
	g.mu.Lock()
	g.load.load = load
	g.mu.Unlock()
	return load
}

// sumLoad adds up the servers' items and bytes, each counted once although
// there are copies: as many as there are in sync on average.
func sumLoad(status *subjects.ClusterStatus) (sum subjects.Load) {
	var primaries, copies uint64
	for i := range status.Nodes {
		n := &status.Nodes[i]
		if n.Role != subjects.RoleServer {
			continue
		}
		sum.Items += n.Load.Items
		sum.Bytes += n.Load.Bytes
		primaries += uint64(n.Primary)
		copies += uint64(n.Replica)
	}
	if copies > primaries {
		sum.Items = sum.Items * primaries / copies
		sum.Bytes = sum.Bytes * primaries / copies
	}
	return sum
}
