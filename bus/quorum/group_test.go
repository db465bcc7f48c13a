package quorum

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is a machine that remembers what it was told, in order.
type journal struct {
	mu    sync.Mutex
	Lines []string
	pad   int // bytes that a snapshot is larger than need be
	last  uint64
	fault error
}

func (j *journal) Apply(index uint64, command []byte) any {
	j.mu.Lock()
	defer j.mu.Unlock()
	if index <= j.last {
		j.fault = fmt.Errorf("index %d after %d", index, j.last)
	}
	j.last = index
	j.Lines = append(j.Lines, string(command))
	return len(j.Lines)
}

func (j *journal) Snapshot() ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	head := binary.BigEndian.AppendUint64(nil, j.last)
	head = binary.BigEndian.AppendUint64(head, uint64(j.pad))
	head = append(head, make([]byte, j.pad)...)
	lines, err := json.Marshal(j.Lines)
	return append(head, lines...), err
}

func (j *journal) Restore(data []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(data) < 16 || uint64(len(data)-16) < binary.BigEndian.Uint64(data[8:]) {
		return errors.New("no journal")
	}
	last, pad := binary.BigEndian.Uint64(data), binary.BigEndian.Uint64(data[8:])
	if last < j.last {
		j.fault = fmt.Errorf("set back from %d to %d", j.last, last)
	}
	var lines []string
	if err := json.Unmarshal(data[16+pad:], &lines); err != nil {
		return err
	}
	j.last, j.Lines = last, lines
	return nil
}

func (j *journal) lines() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.Lines)
}

// group is a number of voters on a hub.
type group struct {
	t        testing.TB
	hub      *hub
	dir      string
	timeout  time.Duration // Heartbeat and Election
	names    []string
	nodes    map[string]*Quorum
	journals map[string]*journal
	conn     func(node string) Conn
}

func newGroup(t testing.TB, voters int) *group {
	g := &group{
		t: t, hub: newHub(t, 1), dir: t.TempDir(), timeout: 150 * time.Millisecond,
		nodes: make(map[string]*Quorum), journals: make(map[string]*journal),
	}
	g.conn = g.hub.conn
	for i := range voters {
		g.names = append(g.names, fmt.Sprintf("v%d", i+1))
	}
	t.Cleanup(func() {
		for name := range g.nodes {
			g.stop(name)
		}
	})
	return g
}

// started is a group of voters, all running.
func started(t testing.TB, voters int) *group { return newGroup(t, voters).run() }

// steady has a group keep its leader where the machine is busy for a while.
func (g *group) steady() *group {
	g.timeout = time.Second
	return g
}

func (g *group) run() *group {
	for _, name := range g.names {
		g.start(name, g.names...)
	}
	return g
}

func (g *group) options(name string, voters ...string) Options {
	return Options{
		ID: name, Dir: filepath.Join(g.dir, name), Group: "test", Conn: g.conn(name), Voters: voters,
		Subject: func(node, rpc string) string { return "raft." + node + "." + rpc },
		Machine: g.journals[name], Heartbeat: g.timeout, Election: g.timeout,
	}
}

func (g *group) start(name string, voters ...string) *Quorum {
	g.t.Helper()
	g.journals[name] = &journal{}
	q, err := Open(g.options(name, voters...))
	if err != nil {
		g.t.Fatal(err)
	}
	g.nodes[name] = q
	return q
}

func (g *group) stop(name string) {
	g.t.Helper()
	if err := g.nodes[name].Close(); err != nil {
		g.t.Error(err)
	}
	if err := g.journals[name].fault; err != nil {
		g.t.Errorf("%s: %v", name, err)
	}
	delete(g.nodes, name)
}

func (g *group) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	g.t.Cleanup(cancel)
	return ctx
}

// eventually waits for a fact.
func (g *group) eventually(what string, fact func() bool) {
	g.t.Helper()
	deadline := time.After(time.Minute)
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !fact() {
		select {
		case <-look.C:
		case <-deadline:
			for name, q := range g.nodes {
				leader, _ := q.Leader()
				g.t.Logf("%s: %v, follows %q, term %d, applied %d, voters %v, %+v",
					name, q.raft.State(), leader, q.Term(), q.Applied(), q.Voters(), q.Counters())
			}
			g.t.Fatalf("not so after a minute: %s", what)
		}
	}
}

// tap has f see all messages, and lose those for which it returns false; nil ends it.
func (g *group) tap(f func(from, subject string, data []byte) bool) {
	g.hub.mu.Lock()
	g.hub.tap = f
	g.hub.mu.Unlock()
}

// leader waits for a voter that leads and proves it.
func (g *group) leader() *Quorum {
	g.t.Helper()
	var leader *Quorum
	g.eventually("there is a leader", func() bool {
		for _, q := range g.nodes {
			if q.IsLeader() && q.Barrier(g.ctx()) == nil {
				leader = q
				return true
			}
		}
		return false
	})
	return leader
}

// propose has the group perform a command that it has not performed yet, through whoever leads. What is of unknown
// outcome is tried again if the next leader does not have it, once it has all that there will be of older terms.
func (g *group) propose(command string) {
	g.t.Helper()
	for {
		_, err := g.leader().Propose(g.ctx(), []byte(command))
		switch {
		case err == nil:
			return
		case errors.Is(err, ErrTimeout):
			if slices.Contains(g.journals[g.leader().opts.ID].lines(), command) {
				return
			}
		case !errors.Is(err, ErrNotLeader):
			g.t.Fatal(err)
		}
	}
}

// agree waits until all running voters have the same history as want, or as each other if that is nil.
func (g *group) agree(want []string) {
	g.t.Helper()
	if want == nil {
		leader := g.leader()
		want = g.journals[leader.opts.ID].lines()
	}
	for name := range g.nodes {
		g.eventually(name+" has applied all", func() bool { return len(g.journals[name].lines()) >= len(want) })
		if diff := cmp.Diff(want, g.journals[name].lines()); diff != "" {
			g.t.Errorf("%s: history (-want +got):\n%s", name, diff)
		}
	}
}
