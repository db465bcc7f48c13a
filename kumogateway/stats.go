package kumogateway

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/etolabo/kumofs/kumogateway/memcache"
)

// statText gathers lines of a stats answer.
type statText struct{ b []byte }

func (t *statText) add(name string, value any) {
	t.b = fmt.Appendf(t.b, "STAT %s %v\r\n", name, value)
}

func (t *statText) end() []byte { return append(t.b, "END\r\n"...) }

// statistics answers a stats command with what followed it.
func (g *Gateway) statistics(args string) ([]byte, memcache.Status) {
	var t statText
	words := strings.Fields(args)
	if len(words) == 0 {
		g.generalStats(&t)
		return t.end(), memcache.StatusOK
	}
	switch words[0] {
	case "reset":
		g.resetStats()
		return []byte("RESET\r\n"), memcache.StatusOK
	case "settings":
		g.settings(&t)
	case "conns":
		g.connStats(&t)
	case "items", "sizes":
		// Items live on the servers, in no classes.
	case "slabs":
		t.add("active_slabs", 0)
		t.add("total_malloced", 0)
	case "detail":
		if len(words) > 1 && (words[1] == "on" || words[1] == "off") {
			return []byte("OK\r\n"), memcache.StatusOK
		}
		if len(words) > 1 && words[1] == "dump" {
			return t.end(), memcache.StatusOK
		}
		return nil, memcache.StatusStatsDetail
	case "cachedump":
		return nil, memcache.StatusDumpDisabled
	default:
		return nil, memcache.StatusUnknownCommand
	}
	return t.end(), memcache.StatusOK
}

func (g *Gateway) generalStats(t *statText) {
	now := time.Now()
	s, open := g.count()
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.add("pid", os.Getpid())
	t.add("uptime", int64(now.Sub(g.started).Seconds()))
	t.add("time", now.Unix())
	t.add("version", protocolVersion)
	t.add("kumofs_version", g.o.Version)
	t.add("pointer_size", 32<<(^uint(0)>>63))
	t.add("rusage_user", fmt.Sprintf("%d.%06d", usage.Utime.Sec, usage.Utime.Usec))
	t.add("rusage_system", fmt.Sprintf("%d.%06d", usage.Stime.Sec, usage.Stime.Usec))
	t.add("max_connections", g.lim.conns.Load())
	t.add("curr_connections", open)
	t.add("total_connections", g.accepted.Load())
	t.add("rejected_connections", g.rejected.Load())
	t.add("connection_structures", open)
	for _, c := range []struct {
		name  string
		value uint64
	}{
		{"cmd_get", s.get}, {"cmd_set", s.set}, {"cmd_delete", s.delete}, {"cmd_flush", s.flush},
		{"cmd_touch", s.touch}, {"cmd_meta", s.meta}, {"meta_stale", s.metaStale}, {"meta_won", s.metaWon},
		{"get_hits", s.getHits}, {"get_misses", s.getMisses}, {"get_expired", 0}, {"get_flushed", 0},
		{"delete_misses", s.deleteMisses}, {"delete_hits", s.deleteHits},
		{"incr_misses", s.incrMisses}, {"incr_hits", s.incrHits},
		{"decr_misses", s.decrMisses}, {"decr_hits", s.decrHits},
		{"cas_misses", s.casMisses}, {"cas_hits", s.casHits}, {"cas_badval", s.casBadval},
		{"touch_hits", s.touchHits}, {"touch_misses", s.touchMisses},
		{"store_too_large", s.tooLarge}, {"store_no_memory", s.noMemory},
		{"timed_out", s.timedOut}, {"outcome_unknown", s.unsure},
		{"auth_cmds", s.auth}, {"auth_errors", s.authErrors}, {"not_allowed", s.denied}, {"idle_kicks", s.idleKicks},
		{"bytes_read", s.bytesRead}, {"bytes_written", s.bytesWritten},
	} {
		t.add(c.name, c.value)
	}
	if g.secure.files.on() {
		t.add("ssl_handshake_errors", g.secure.failed.Load())
		t.add("ssl_connections", g.secure.open.Load())
	}
	load := g.clusterLoad()
	t.add("limit_maxbytes", 0) // nothing is evicted: there is no such limit
	t.add("accepting_conns", 1)
	t.add("listen_disabled_num", 0)
	t.add("threads", runtime.GOMAXPROCS(0))
	t.add("conn_yields", 0)
	t.add("bytes", load.Bytes)
	t.add("curr_items", load.Items)
	t.add("total_items", s.set)
	t.add("evictions", 0)
	t.add("reclaimed", 0)
	t.add("expired_unfetched", 0)
	t.add("evicted_unfetched", 0)
	t.add("heap_bytes", mem.HeapAlloc)
	t.add("goroutines", runtime.NumGoroutine())
	revision, waiting := g.router.state()
	t.add("ring_revision", revision)
	t.add("waiting_for_ring", waiting)
	t.add("request_bytes_held", g.held.Load())
	t.add("request_bytes_read", g.reading.Load())
	t.add("answer_bytes_held", g.answers.Load())
}

func (g *Gateway) settings(t *statText) {
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return "no"
	}
	t.add("maxbytes", 0)
	t.add("maxconns", g.lim.conns.Load())
	t.add("tcpport", port(g.Addrs()))
	t.add("udpport", 0)
	t.add("inter", strings.Join(g.Addrs(), ","))
	t.add("verbosity", 0)
	t.add("evictions", "off")
	t.add("domain_socket", socket(g.Addrs()))
	t.add("shutdown_command", "no")
	t.add("num_threads", runtime.GOMAXPROCS(0))
	t.add("detail_enabled", "no")
	t.add("cas_enabled", "yes")
	t.add("binding_protocol", "auto-negotiate")
	t.add("auth_enabled_sasl", yes(g.users != nil))
	if g.users == nil {
		t.add("auth_enabled_ascii", "no")
	} else {
		t.add("auth_enabled_ascii", g.o.AuthFile)
	}
	g.tlsSettings(t)
	t.add("item_size_max", g.o.MaxItemSize)
	t.add("maxconns_fast", "yes")
	t.add("flush_enabled", yes(g.lim.flushAll.Load()))
	t.add("dump_enabled", "no")
	t.add("hash_algorithm", "xxh64")
	t.add("idle_timeout", int(g.lim.silence().Seconds()))
	t.add("cluster", g.o.Cluster)
	t.add("key_prefix", g.o.KeyPrefix)
	t.add("op_timeout", g.lim.operation())
	t.add("early_set", yes(g.o.EarlySet))
	t.add("early_delete", yes(g.o.EarlyDelete))
}

// tlsSettings are in memcached's words.
func (g *Gateway) tlsSettings(t *statText) {
	f := &g.secure.files
	if !f.on() {
		t.add("ssl_enabled", "no")
		return
	}
	t.add("ssl_enabled", "yes")
	t.add("ssl_chain_cert", f.Cert)
	t.add("ssl_key", f.Key)
	if f.ClientCA == "" {
		t.add("ssl_verify_mode", 0)
	} else {
		t.add("ssl_verify_mode", 2)
		t.add("ssl_ca_cert", f.ClientCA)
	}
	t.add("ssl_min_version", "tlsv1.2")
}

func (g *Gateway) connStats(t *statText) {
	g.mu.Lock()
	conns := make([]*conn, 0, len(g.conns))
	for c := range g.conns {
		conns = append(conns, c)
	}
	g.mu.Unlock()
	for i, c := range conns {
		c.mu.Lock()
		open, out := c.tail-c.head, len(c.out)+c.written+c.parked
		c.mu.Unlock()
		t.add(fmt.Sprintf("%d:addr", i), client(c.nc))
		t.add(fmt.Sprintf("%d:listen_addr", i), c.nc.LocalAddr().Network()+":"+c.nc.LocalAddr().String())
		t.add(fmt.Sprintf("%d:outstanding", i), open)
		t.add(fmt.Sprintf("%d:buffered_bytes", i), out)
	}
}

// client is the address of a connection's other end, as memcached prints it.
func client(nc net.Conn) string {
	a := nc.RemoteAddr()
	if a.Network() == "unix" {
		return "unix:" + nc.LocalAddr().String() // clients' own ends have no name
	}
	return a.Network() + ":" + a.String()
}

// count sums the counters and tells how many connections are open.
func (g *Gateway) count() (sum counters, open int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	sum = g.past
	for c := range g.conns {
		c.mu.Lock()
		sum.add(&c.stats)
		c.mu.Unlock()
	}
	return sum, len(g.conns)
}

func (g *Gateway) resetStats() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.past = counters{}
	g.rejected.Store(0)
	g.accepted.Store(uint64(len(g.conns)))
	for c := range g.conns {
		c.mu.Lock()
		c.stats = counters{}
		c.mu.Unlock()
	}
}
