package quorum

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

// proposers have the group perform commands, as fast as it does, until stop is closed. They return what was acknowledged.
func (g *group) proposers(n int, nodes []*Quorum, stop chan struct{}) (acknowledged func() []string) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var done []string
	for p := range n {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				command := fmt.Sprintf("%d.%d", p, i)
				led := false
				for _, q := range nodes { // a command is tried again only where nothing was done
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					_, err := q.Propose(ctx, []byte(command))
					cancel()
					if err == nil {
						mu.Lock()
						done = append(done, command)
						mu.Unlock()
					}
					if !errors.Is(err, ErrNotLeader) {
						led = true
						break
					}
				}
				if !led { // while nobody leads, the voters need the processors
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
				}
			}
		})
	}
	return func() []string {
		wg.Wait()
		return done
	}
}

// Commands are proposed at all voters while links are cut and messages are lost, doubled and reordered. Afterwards all
// have the same history, with every acknowledged command in it once.
func TestHistoryUnderFaults(t *testing.T) {
	for _, voters := range []int{3, 5} {
		t.Run(fmt.Sprint(voters), func(t *testing.T) {
			g := started(t, voters)
			rng := rand.New(rand.NewPCG(uint64(voters), 2))
			g.leader()
			var nodes []*Quorum
			for _, name := range g.names {
				nodes = append(nodes, g.nodes[name])
			}
			stop := make(chan struct{})
			acknowledged := g.proposers(8, nodes, stop)
			g.hub.faults(0.02, 0.1, 0.1)
			for range 8 {
				names := slices.Clone(g.names)
				rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
				n := 1 + rng.IntN(voters-1)
				g.hub.split(names[:n], names[n:])
				pause(time.Duration(100+rng.IntN(500)) * time.Millisecond)
				g.hub.split()
				pause(time.Duration(rng.IntN(400)) * time.Millisecond)
			}
			g.hub.faults(0, 0, 0)
			close(stop)
			done := acknowledged()
			g.propose("end")
			g.agree(nil)
			count := make(map[string]int)
			for _, line := range g.journals[g.names[0]].lines() {
				count[line]++
			}
			for line, n := range count {
				if n != 1 {
					t.Errorf("%q was applied %d times", line, n)
				}
			}
			for _, command := range done {
				if count[command] != 1 {
					t.Errorf("%q was acknowledged and is not in the history", command)
				}
			}
			t.Logf("%d acknowledged, %d applied, term %d", len(done), len(count), g.leader().Term())
			if len(done) == 0 {
				t.Error("nothing was acknowledged")
			}
		})
	}
}

// pause lets time pass where that is the point.
func pause(d time.Duration) { <-time.After(d) }

// Voters are stopped and started while commands are proposed.
func TestHistoryUnderRestarts(t *testing.T) {
	g := started(t, 3)
	var acknowledged []string
	for i := range 12 {
		if i%3 == 2 {
			name := g.names[i/3%3]
			g.stop(name)
			g.propose(fmt.Sprint("without ", name, " ", i))
			acknowledged = append(acknowledged, fmt.Sprint("without ", name, " ", i))
			g.start(name)
		}
		g.propose(fmt.Sprint(i))
		acknowledged = append(acknowledged, fmt.Sprint(i))
	}
	g.agree(acknowledged)
}

// behind has a voter stop, and the others cut from their logs, with snapshots of so many bytes at least, what it lacks.
func (g *group) behind(pad int) (away string) {
	g.t.Helper()
	leader := g.leader()
	away = g.names[0]
	if leader.opts.ID == away {
		away = g.names[1]
	}
	g.propose("first")
	g.stop(away)
	stop := make(chan struct{})
	acknowledged := g.proposers(200, []*Quorum{g.leader()}, stop)
	g.eventually("the log is long", func() bool { return leader.Applied() > trailingLogs+500 })
	close(stop)
	acknowledged()
	g.propose("last before the snapshot")
	for name, q := range g.nodes {
		j := g.journals[name]
		j.mu.Lock()
		j.pad = pad
		j.mu.Unlock()
		if err := q.raft.Snapshot().Error(); err != nil {
			g.t.Fatal(err)
		}
	}
	if first, err := leader.store.FirstIndex(); err != nil || first < 10 {
		g.t.Fatalf("log begins at %d, %v: nothing was cut", first, err)
	}
	return away
}

// A voter that was away gets a snapshot, in parts over a bad line, and the rest from the log.
func TestSnapshotToOneFarBehind(t *testing.T) {
	for _, tt := range []struct {
		name               string
		pad                int
		drop, double, late float64
	}{
		{"small", 0, 0, 0, 0},
		{"two parts", chunkSize, 0, 0, 0},
		{"many parts on a bad line", 5 << 20, 0.1, 0.2, 0.2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := started(t, 3)
			away := g.behind(tt.pad)
			g.propose("first after the snapshot")
			g.hub.faults(tt.drop, tt.double, tt.late)
			q := g.start(away)
			g.eventually("it has the snapshot", func() bool {
				files, err := filepath.Glob(filepath.Join(q.opts.Dir, "snapshots", "*", "state.bin"))
				return len(g.journals[away].lines()) > trailingLogs && err == nil && len(files) == 1
			})
			g.hub.faults(0, 0, 0)
			g.agree(nil)
			if q.Applied() < trailingLogs {
				t.Errorf("applied %d", q.Applied())
			}
			// And it keeps it.
			g.stop(away)
			q = g.start(away)
			if q.Applied() == 0 {
				t.Error("the snapshot was forgotten")
			}
			g.propose("last")
			g.agree(nil)
		})
	}
}

// A snapshot that ends before what is applied is answered and not installed.
func TestOldSnapshotIsNotInstalled(t *testing.T) {
	g := started(t, 2)
	g.propose("one")
	leader := g.leader()
	if err := leader.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	g.propose("two")
	follower := g.names[0]
	if leader.opts.ID == follower {
		follower = g.names[1]
	}
	g.agree([]string{"one", "two"})
	g.eventually("follower has applied all", func() bool { return g.nodes[follower].raft.AppliedIndex() >= leader.raft.AppliedIndex() })
	files := mustList(t, leader)
	meta := files[0]
	send := func(term, index uint64) (raft.InstallSnapshotResponse, error) {
		var resp raft.InstallSnapshotResponse
		data := strings.NewReader("not what a machine can read")
		err := leader.trans.InstallSnapshot("", raft.ServerAddress(follower), &raft.InstallSnapshotRequest{
			SnapshotVersion: 1, Term: term, LastLogIndex: index, LastLogTerm: meta.Term,
			Configuration: raft.EncodeConfiguration(meta.Configuration), ConfigurationIndex: meta.ConfigurationIndex, Size: data.Size(),
		}, &resp, data)
		return resp, err
	}
	got, err := send(leader.Term(), meta.Index)
	if err != nil || !got.Success {
		t.Errorf("old snapshot: %+v, %v; want success", got, err)
	}
	if got, err = send(leader.Term()-1, meta.Index+1000); err != nil || got.Success || got.Term != leader.Term() {
		t.Errorf("snapshot of an old leader: %+v, %v; want refusal by term", got, err)
	}
	g.agree([]string{"one", "two"})
}

func mustList(t *testing.T, q *Quorum) []*raft.SnapshotMeta {
	t.Helper()
	s, err := raft.NewFileSnapshotStoreWithLogger(q.opts.Dir, keptSnapshots, newRaftLogger(q.log))
	if err != nil {
		t.Fatal(err)
	}
	files, err := s.List()
	if err != nil || len(files) == 0 {
		t.Fatalf("snapshots: %v, %v", files, err)
	}
	return files
}

// All requests and answers come twice, and an answer that comes after its time counts for nothing.
func TestEverythingTwice(t *testing.T) {
	g := newGroup(t, 3)
	g.hub.faults(0, 1, 0.5)
	answers := make(map[wireHeader][2]int) // how often each wish for another leader was taken and refused
	g.hub.tap = func(_, _ string, data []byte) bool {
		h, body, err := decodeHeader(data)
		var w wireTimeoutReply
		if err != nil || !h.Reply || kind(h.Kind) != kindTimeout || decodeBody(body, &w) != nil {
			return true
		}
		n := answers[h]
		if w.Taken {
			n[0]++
		} else {
			n[1]++
		}
		answers[h] = n
		return true
	}
	for _, name := range g.names {
		g.start(name, g.names...)
	}
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprint(i))
		g.propose(want[i])
	}
	old := g.leader().opts.ID
	g.eventually("another leads", func() bool {
		if leader := g.leader(); leader.opts.ID == old {
			if err := leader.TransferLeadership(g.ctx(), ""); err != nil {
				t.Log(err) // its answer may come too late, as may a vote
			}
		}
		return g.leader().opts.ID != old
	})
	g.propose("end")
	g.agree(append(want, "end"))
	if g.leader().Counters().Late == 0 {
		t.Error("no late answers were seen")
	}
	g.hub.mu.Lock()
	defer g.hub.mu.Unlock()
	for h, n := range answers {
		if n[0] > 0 && n[1] > 0 {
			t.Errorf("the wish %d was taken, and its repeat refused", h.ID)
		}
	}
}

// Commands too large for one message together are sent as several.
func TestLargeCommands(t *testing.T) {
	g := newGroup(t, 3).steady().run()
	var mu sync.Mutex
	largest := 0
	g.hub.mu.Lock()
	g.hub.tap = func(_, _ string, data []byte) bool {
		mu.Lock()
		largest = max(largest, len(data))
		mu.Unlock()
		return true
	}
	g.hub.mu.Unlock()
	leader := g.leader()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if _, err := leader.Propose(g.ctx(), []byte(strings.Repeat(fmt.Sprint(i%10), 100<<10))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := leader.Propose(g.ctx(), make([]byte, MaxCommand)); err != nil {
		t.Error(err)
	}
	g.agree(nil)
	mu.Lock()
	defer mu.Unlock()
	if largest > MaxCommand+1024 {
		t.Errorf("a message was %d bytes", largest)
	}
}

// A leader whose log cannot be written says so and gives the lead away.
func TestWriteFault(t *testing.T) {
	g := started(t, 3)
	g.propose("one")
	leader := g.leader()
	faults := make(chan error, 2)
	leader.opts.Fault = func(err error) { faults <- err }
	broken := errors.New("disk is broken")
	if err := leader.store.write("test", func() error { return broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if err := <-faults; !errors.Is(err, broken) {
		t.Errorf("fault: %v", err)
	}
	if _, err := leader.Propose(g.ctx(), []byte("two")); err == nil {
		t.Error("a leader with a broken disk took a command")
	}
	g.eventually("it steps down", func() bool { return !leader.IsLeader() })
	g.eventually("another leads", func() bool {
		for _, q := range g.nodes {
			if q != leader && q.IsLeader() {
				_, err := q.Propose(g.ctx(), []byte("three"))
				return err == nil
			}
		}
		return false
	})
	name := leader.opts.ID
	g.stop(name)
	g.start(name)
	for name := range g.nodes {
		// Three came twice if it was not known what had become of it.
		g.eventually(name+" has it", func() bool {
			return cmp.Equal(slices.Compact(g.journals[name].lines()), []string{"one", "three"})
		})
	}
}
