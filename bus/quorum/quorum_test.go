package quorum

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGroups(t *testing.T) {
	for _, voters := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprint(voters), func(t *testing.T) {
			g := newGroup(t, voters).steady().run()
			var want []string
			for i := range 20 {
				want = append(want, fmt.Sprint("command ", i))
				got, err := g.leader().Propose(g.ctx(), []byte(want[i]))
				if err != nil {
					t.Fatal(err)
				}
				if got != i+1 {
					t.Fatalf("result %v, want %d", got, i+1)
				}
			}
			g.agree(want)
			leader := g.leader()
			if err := leader.Verify(g.ctx()); err != nil {
				t.Error(err)
			}
			for name, q := range g.nodes {
				if diff := cmp.Diff(g.names, q.Voters()); diff != "" {
					t.Errorf("%s: voters (-want +got):\n%s", name, diff)
				}
				if got, ok := q.Leader(); !ok || got != leader.opts.ID {
					t.Errorf("%s follows %q, want %q", name, got, leader.opts.ID)
				}
				if !q.Started() || q.Term() == 0 || q.Applied() == 0 {
					t.Errorf("%s: started %v, term %d, applied %d", name, q.Started(), q.Term(), q.Applied())
				}
				if q == leader {
					continue
				}
				if _, err := q.Propose(g.ctx(), nil); !errors.Is(err, ErrNotLeader) {
					t.Errorf("%s: propose at a follower: %v, want ErrNotLeader", name, err)
				}
				if err := q.Barrier(g.ctx()); !errors.Is(err, ErrNotLeader) {
					t.Errorf("%s: barrier at a follower: %v, want ErrNotLeader", name, err)
				}
			}
		})
	}
}

func TestLeaderStops(t *testing.T) {
	for _, voters := range []int{3, 5} {
		t.Run(fmt.Sprint(voters), func(t *testing.T) {
			g := started(t, voters)
			g.propose("before")
			first := g.leader()
			term := first.Term()
			follower := ""
			for name := range g.nodes {
				if name != first.opts.ID {
					follower = name
				}
			}
			select { // the elections so far
			case <-g.nodes[follower].LeaderChanges():
			default:
			}
			g.stop(first.opts.ID)
			g.propose("after")
			g.agree([]string{"before", "after"})
			if got := g.leader().Term(); got <= term {
				t.Errorf("term %d after %d", got, term)
			}
			select {
			case <-g.nodes[follower].LeaderChanges():
			default:
				t.Errorf("%s was told of no change", follower)
			}
			g.start(first.opts.ID)
			g.agree([]string{"before", "after"})
		})
	}
}

func TestRestartKeepsAll(t *testing.T) {
	for _, voters := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(voters), func(t *testing.T) {
			g := started(t, voters)
			g.propose("one")
			g.propose("two")
			for _, name := range g.names {
				g.stop(name)
			}
			for _, name := range g.names {
				if q := g.start(name, g.names...); !q.Started() {
					t.Errorf("%s begins anew", name)
				}
			}
			g.propose("three")
			g.agree([]string{"one", "two", "three"})
		})
	}
}

func TestVotersComeAndGo(t *testing.T) {
	g := newGroup(t, 1).steady()
	g.start("v1", "v1")
	g.propose("one")
	if q := g.start("v2"); q.Started() {
		t.Error("v2 has a state before it was added")
	}
	if err := g.leader().AddVoter(g.ctx(), "v2"); err != nil {
		t.Fatal(err)
	}
	g.start("v3")
	if err := g.leader().AddVoter(g.ctx(), "v3"); err != nil {
		t.Fatal(err)
	}
	if err := g.leader().AddVoter(g.ctx(), "v3"); err != nil { // nothing to do
		t.Fatal(err)
	}
	g.propose("two")
	g.agree([]string{"one", "two"})
	for _, q := range g.nodes {
		g.eventually("all know three voters", func() bool { return slices.Equal(q.Voters(), []string{"v1", "v2", "v3"}) })
	}

	// The leader removes itself; the others go on.
	leader := g.leader()
	if err := leader.RemoveVoter(g.ctx(), leader.opts.ID); err != nil {
		t.Fatal(err)
	}
	gone := leader.opts.ID
	g.eventually("it steps down", func() bool { return !leader.IsLeader() })
	g.propose("three")
	if g.leader() == leader {
		t.Fatal("one that was removed leads")
	}
	// It starts again with its old folder, and does not disturb.
	term := g.leader().Term()
	g.stop(gone)
	g.start(gone)
	before := g.nodes[gone].Counters().Received
	g.propose("four")
	waited := time.NewTimer(5 * g.timeout)
	<-waited.C
	if got := g.leader().Term(); got != term {
		t.Errorf("term went from %d to %d", term, got)
	}
	if got := g.nodes[gone].Counters().Received; got > before+3 {
		t.Errorf("one that was removed still receives: %d requests", got-before)
	}
	// It is added again.
	if err := g.leader().AddVoter(g.ctx(), gone); err != nil {
		t.Fatal(err)
	}
	g.agree([]string{"one", "two", "three", "four"})
}

func TestAddVoterThatIsNotThere(t *testing.T) {
	g := started(t, 1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := g.leader().AddVoter(ctx, "v2"); !errors.Is(err, ErrBehind) {
		t.Fatalf("got %v, want ErrBehind", err)
	}
	g.propose("goes on")
	if diff := cmp.Diff([]string{"v2"}, g.leader().Learners()); diff != "" {
		t.Errorf("learners (-want +got):\n%s", diff)
	}
	g.start("v2")
	if err := g.leader().AddVoter(g.ctx(), "v2"); err != nil {
		t.Fatal(err)
	}
	g.agree([]string{"goes on"})
}

func TestTransferLeadership(t *testing.T) {
	g := started(t, 3)
	g.propose("one")
	for _, to := range []string{"v1", "v2", "v3", "v1"} {
		leader := g.leader()
		if leader.opts.ID == to {
			continue
		}
		g.eventually("it leads", func() bool {
			if leader := g.leader(); leader.opts.ID != to {
				if err := leader.TransferLeadership(g.ctx(), to); err != nil {
					t.Log(err)
				}
			}
			return g.leader().opts.ID == to
		})
	}
	if err := g.leader().TransferLeadership(g.ctx(), "nobody"); err == nil {
		t.Error("leadership went to nobody")
	}
	g.propose("two")
	g.agree([]string{"one", "two"})
}

func TestMinorityProposesNothing(t *testing.T) {
	g := started(t, 3)
	g.propose("one")
	old := g.leader()
	rest := slices.DeleteFunc(slices.Clone(g.names), func(n string) bool { return n == old.opts.ID })
	g.hub.split([]string{old.opts.ID}, rest)
	_, err := old.Propose(g.ctx(), []byte("lost"))
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("propose when cut off: %v, want ErrTimeout", err)
	}
	g.eventually("it steps down", func() bool { return !old.IsLeader() })
	g.propose("two")
	g.hub.split()
	g.propose("three")
	g.agree([]string{"one", "two", "three"})
}

func TestCloseUnderLoad(t *testing.T) {
	g := started(t, 3)
	leader := g.leader()
	done := make(chan error, 64)
	for i := range cap(done) {
		go func() {
			_, err := leader.Propose(g.ctx(), []byte(fmt.Sprint(i)))
			done <- err
		}()
	}
	if err := leader.Close(); err != nil {
		t.Error(err)
	}
	if err := leader.Close(); err != nil {
		t.Error(err)
	}
	for range cap(done) {
		if err := <-done; err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrNotLeader) {
			t.Error(err)
		}
	}
	if _, err := leader.Propose(g.ctx(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("propose after close: %v, want ErrClosed", err)
	}
}

func TestProposeDeadline(t *testing.T) {
	g := started(t, 2)
	leader := g.leader()
	for name := range g.nodes {
		if name != leader.opts.ID {
			g.stop(name)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := leader.Propose(ctx, []byte("x")); !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrTimeout and DeadlineExceeded", err)
	}
	if _, err := leader.Propose(ctx, make([]byte, MaxCommand+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	g := newGroup(t, 1)
	g.start("v1", "v1")
	g.propose("one")
	tests := []struct {
		name   string
		change func(*Options)
		want   error
	}{
		{"dotted name", func(o *Options) { o.ID = "a.b" }, nil},
		{"no name", func(o *Options) { o.ID = "" }, nil},
		{"no machine", func(o *Options) { o.Machine = nil }, nil},
		{"no bus", func(o *Options) { o.Conn = nil }, nil},
		{"voters without itself", func(o *Options) { o.Voters = []string{"v2"} }, nil},
		{"a voter twice", func(o *Options) { o.Voters = []string{"v1", "v1"} }, nil},
		{"folder in use", func(*Options) {}, ErrInUse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := g.options("v1", "v1")
			o.Machine = &journal{}
			tt.change(&o)
			q, err := Open(o)
			if err == nil {
				q.Close()
				t.Fatal("no error")
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestOpenDamaged(t *testing.T) {
	g := started(t, 1)
	for i := range 50 {
		g.propose(fmt.Sprint("a command that can be found again ", i))
	}
	g.stop("v1")
	path := filepath.Join(g.dir, "v1", raftFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		damage func([]byte) []byte
	}{
		{"flipped bits", func(b []byte) []byte { // in every copy of the record
			for i := range len(b) - 8 {
				if string(b[i:i+8]) == "found ag" {
					b[i] ^= 1
				}
			}
			return b
		}},
		{"half gone", func(b []byte) []byte { return b[:len(b)/2/4096*4096] }},
		{"rubbish", func(b []byte) []byte {
			for i := range b {
				b[i] = byte(i * 7)
			}
			return b
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, tt.damage(slices.Clone(whole)), 0o600); err != nil {
				t.Fatal(err)
			}
			q, err := Open(g.options("v1", "v1"))
			if err == nil {
				q.Close()
				t.Fatal("no error")
			}
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v, want ErrDamaged", err)
			}
		})
	}
}

func TestBootstrapIsFinished(t *testing.T) {
	g := newGroup(t, 1)
	if err := os.MkdirAll(filepath.Join(g.dir, "v1"), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := openStore(filepath.Join(g.dir, "v1", raftFile), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetUint64([]byte("CurrentTerm"), 1); err != nil { // and then killed
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	g.start("v1", "v1")
	g.propose("one")
	g.agree([]string{"one"})
}
