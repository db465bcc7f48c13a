package quorum

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
)

// A leader that does not hear that what follows a snapshot was appended asks again, and is answered, though nothing in that
// voter's log comes before it.
func TestAnswerLostAfterSnapshot(t *testing.T) {
	for _, tt := range []struct {
		name         string
		own, restart bool
	}{{name: "at once"}, {name: "restarted", restart: true}, {name: "restarted with a snapshot of its own", own: true, restart: true}} {
		t.Run(tt.name, func(t *testing.T) {
			g := started(t, 3)
			away := g.behind(0)
			g.propose("after the snapshot")
			g.tap(func(from, _ string, data []byte) bool {
				h, _, err := decodeHeader(data)
				return err != nil || from != away || !h.Reply || kind(h.Kind) != kindAppend
			})
			q := g.start(away)
			g.eventually("it has what follows", func() bool {
				lines := g.journals[away].lines()
				return len(lines) > 0 && lines[len(lines)-1] == "after the snapshot"
			})
			if b := q.store.begun.Load(); b == nil || !absent(q.store, b.index) {
				t.Fatalf("the snapshot's last entry, %+v, is in the log, so this shows nothing", b)
			}
			if tt.own {
				if err := q.raft.Snapshot().Error(); err != nil {
					t.Fatal(err)
				}
			}
			if tt.restart {
				g.stop(away)
				g.start(away)
			}
			g.tap(nil)
			g.propose("last")
			g.agree(nil)
		})
	}
}

// absent tells whether an entry is not in the log.
func absent(s *store, index uint64) bool {
	var l raft.Log
	return errors.Is(s.bolt.GetLog(index, &l), raft.ErrLogNotFound)
}

// cutOff has a leader write entries that nobody else gets. It returns how long the log was before.
func (g *group) cutOff(old *Quorum, others []string, entries uint64) (common uint64) {
	g.t.Helper()
	g.hub.split([]string{old.opts.ID}, others)
	common = old.raft.LastIndex()
	for i := range entries {
		go func() { _, _ = old.Propose(g.ctx(), fmt.Append(nil, "cut off ", i)) }()
	}
	g.eventually("they are in its log", func() bool { return old.raft.LastIndex() >= common+entries })
	return common
}

// five is a group of as many, its leader, one of the others, and the rest.
func five(t *testing.T) (g *group, leader *Quorum, one string, rest []string) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	g = newGroup(t, 5).steady().run()
	leader = g.leader()
	rest = slices.DeleteFunc(slices.Clone(g.names), func(n string) bool { return n == leader.opts.ID })
	g.propose("first")
	return g, leader, rest[0], rest[1:]
}

// among waits for a leader among some voters.
func (g *group) among(names []string) (leader *Quorum) {
	g.t.Helper()
	g.eventually("another leads", func() bool {
		for _, n := range names {
			if q := g.nodes[n]; q.IsLeader() && q.Barrier(g.ctx()) == nil {
				leader = q
				return true
			}
		}
		return false
	})
	return leader
}

// snapshots has voters that have all applied the same take snapshots, and returns where these end.
func (g *group) snapshots(leader *Quorum, names []string) (end uint64) {
	g.t.Helper()
	end = leader.Applied()
	for _, n := range names {
		g.eventually(n+" has applied it", func() bool { return g.nodes[n].Applied() == end })
		if err := g.nodes[n].raft.Snapshot().Error(); err != nil {
			g.t.Fatal(err)
		}
	}
	return end
}

// leads has a voter given the lead.
func (g *group) leads(q *Quorum, names []string) {
	g.t.Helper()
	g.eventually(q.opts.ID+" leads", func() bool {
		for _, n := range names {
			if g.nodes[n].IsLeader() && !q.IsLeader() {
				_ = g.nodes[n].TransferLeadership(g.ctx(), q.opts.ID)
			}
		}
		return q.IsLeader() && q.Barrier(g.ctx()) == nil
	})
}

// What a leader that was cut off had too much goes from its log with a snapshot that ends behind it: it must not reach
// anybody when it leads again.
func TestStaleTailBelowSnapshot(t *testing.T) {
	g, old, short, others := five(t)
	g.eventually("all have the first", func() bool { return g.nodes[short].raft.LastIndex() == old.raft.LastIndex() })
	g.stop(short)
	common := g.cutOff(old, others, 200)
	next := g.among(others)
	stop := make(chan struct{})
	acknowledged := g.proposers(200, []*Quorum{next}, stop)
	g.eventually("the log is long", func() bool { return next.Applied() > trailingLogs+800 })
	close(stop)
	acknowledged()
	end := g.snapshots(next, others)
	g.hub.split()
	g.eventually("the old leader has the snapshot", func() bool { return old.Applied() >= end })
	b := old.store.begun.Load()
	if b == nil {
		t.Fatal("it got entries, and no snapshot, so this shows nothing")
	}
	for i := uint64(1); i <= b.index; i++ {
		if !absent(old.store, i) {
			t.Fatalf("entry %d is in the log, which all had up to %d, with a snapshot up to %d", i, common, b.index)
		}
	}
	g.leads(old, others)
	g.start(short)
	if _, err := old.Propose(g.ctx(), []byte("last")); err != nil && !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	g.agree(nil)
	for _, line := range g.journals[short].lines() {
		if line == "cut off 0" {
			t.Errorf("%s has performed what was never decided", short)
		}
	}
}

// What a leader that was cut off had too much, and reaches to the end of the snapshot that it gets or beyond, gives way to
// what follows that, though who leads has nothing before it either.
func TestStaleTailOverSnapshot(t *testing.T) {
	for _, beyond := range []uint64{0, 40} {
		t.Run(fmt.Sprint(beyond, " beyond"), func(t *testing.T) { staleTail(t, beyond) })
	}
}

func staleTail(t *testing.T, beyond uint64) {
	g, old, late, others := five(t)
	g.stop(late)
	stop := make(chan struct{})
	acknowledged := g.proposers(200, []*Quorum{old}, stop)
	g.eventually("the log is long", func() bool { return old.Applied() > trailingLogs+500 })
	close(stop)
	acknowledged()
	g.cutOff(old, others, 50)
	next := g.among(others)
	for i := 0; next.Applied() < old.raft.LastIndex()-beyond; i++ {
		if _, err := next.Propose(g.ctx(), fmt.Append(nil, "new ", i)); err != nil {
			t.Fatal(err)
		}
	}
	end := g.snapshots(next, others)
	if tail := old.raft.LastIndex(); tail != end+beyond {
		t.Fatalf("its log ends at %d, and the snapshot at %d", tail, end)
	}
	g.hub.split([]string{old.opts.ID}, append(slices.Clone(others), late))
	q := g.start(late)
	g.eventually("the late one has the snapshot", func() bool { return q.Applied() >= end })
	g.leads(q, others)
	g.hub.split()
	if _, err := q.Propose(g.ctx(), []byte("last")); err != nil {
		t.Fatal(err)
	}
	g.agree(nil)
	if slices.ContainsFunc(g.journals[old.opts.ID].lines(), func(l string) bool { return l == "cut off 0" }) {
		t.Error("it has performed what was never decided")
	}
}

// Where a log begins when its voter starts.
func TestResume(t *testing.T) {
	type entries struct{ from, to, term uint64 }
	for _, tt := range []struct {
		name     string
		log      []entries
		kept     boundary // what the file says
		bad      uint64   // whose checksum is wrong
		restored boundary
		first    uint64 // that is in the log then
		begun    uint64
		damaged  bool
	}{
		{name: "empty"},
		{name: "no snapshot", log: []entries{{1, 9, 1}}, first: 1},
		{name: "own snapshot", log: []entries{{3, 9, 1}}, restored: boundary{7, 1}, first: 3},
		{name: "crash before the cut", log: []entries{{1, 4, 1}}, restored: boundary{7, 2}, begun: 7},
		{name: "crash before the cut, with entries of another term", log: []entries{{1, 9, 1}}, restored: boundary{7, 2}, first: 8, begun: 7},
		{name: "crash within the cut", log: []entries{{1, 4, 1}}, kept: boundary{7, 2}, restored: boundary{7, 2}, begun: 7},
		{name: "begun", log: []entries{{8, 9, 2}}, kept: boundary{7, 2}, restored: boundary{7, 2}, first: 8, begun: 7},
		{name: "begun, and an own snapshot since", log: []entries{{8, 20, 2}}, kept: boundary{7, 2}, restored: boundary{15, 2}, first: 8, begun: 7},
		{name: "begun, and again", log: []entries{{8, 12, 2}}, kept: boundary{7, 2}, restored: boundary{15, 3}, begun: 15},
		{name: "begun with a snapshot that is gone", log: []entries{{8, 9, 2}}, kept: boundary{7, 2}, restored: boundary{5, 1}, damaged: true},
		{name: "damage that the snapshot makes good", log: []entries{{1, 20, 2}}, bad: 6, restored: boundary{15, 2}, first: 7},
		{name: "damage of the snapshot's last entry", log: []entries{{1, 20, 2}}, bad: 15, restored: boundary{15, 2}, first: 16, begun: 15},
		{name: "an older version's", log: []entries{{1, 4, 1}, {8, 20, 2}}, restored: boundary{15, 2}, first: 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := openStore(filepath.Join(t.TempDir(), raftFile), func(err error) { t.Error(err) })
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.close() }()
			if tt.kept.index > 0 {
				if err := s.begin(s, tt.kept); err != nil {
					t.Fatal(err)
				}
				s.begun.Store(nil)
			}
			for _, e := range tt.log {
				for i := e.from; i <= e.to; i++ {
					if err := s.StoreLog(&raft.Log{Index: i, Term: e.term, Type: raft.LogCommand, Data: []byte("x")}); err != nil {
						t.Fatal(err)
					}
				}
			}
			if tt.bad > 0 {
				if err := s.bolt.StoreLog(&raft.Log{Index: tt.bad, Term: 2, Type: raft.LogCommand, Data: []byte("x"), Extensions: []byte("none")}); err != nil {
					t.Fatal(err)
				}
			}
			err = s.resume(s, tt.restored)
			if damaged := errors.Is(err, ErrDamaged); damaged != tt.damaged || err != nil && !damaged {
				t.Fatalf("resume: %v; want damaged %t", err, tt.damaged)
			}
			if err != nil {
				return
			}
			first, err := s.FirstIndex()
			if err != nil || first != tt.first {
				t.Errorf("the log begins at %d, %v; want %d", first, err, tt.first)
			}
			begun := uint64(0)
			if b := s.begun.Load(); b != nil {
				begun = b.index
			}
			if begun != tt.begun {
				t.Errorf("begun behind %d, want %d", begun, tt.begun)
			}
		})
	}
}

// A voter that has forgotten what it cut from its log, since the snapshot with it is gone, does not start.
func TestBoundaryWithoutSnapshot(t *testing.T) {
	g := started(t, 1)
	g.propose("first")
	g.stop("v1")
	s, err := openStore(filepath.Join(g.dir, "v1", raftFile), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.begin(s, boundary{1 << 40, 1}), s.close()); err != nil {
		t.Fatal(err)
	}
	g.journals["v1"] = &journal{}
	if q, err := Open(g.options("v1", "v1")); !errors.Is(err, ErrDamaged) {
		t.Errorf("it starts: %v, %v", q, err)
	}
}
