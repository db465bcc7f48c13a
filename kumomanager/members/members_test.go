package members

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/etolabo/kumofs/kumomanager/rebalance"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
	"pgregory.net/rapid"
)

const second = 1000 * ms

// watchman drives members by hand; time only passes through it.
type watchman struct {
	t   testing.TB
	m   *Roster
	now int64
}

func newWatchman(t testing.TB) *watchman {
	return &watchman{t, New(1500*ms, 1), 1}
}

func (w *watchman) beat(id ring.NodeID, boot ring.BootID) {
	w.m.Hear(subjects.Heartbeat{Role: subjects.RoleServer, Node: "n" + id.String(), ID: id, Boot: boot}, w.now)
}

// pass lets time go by in ticks; beats are sent each 150 ms meanwhile.
func (w *watchman) pass(d int64, beats func()) {
	for end := w.now + d; w.now < end; {
		w.now += 50 * ms
		if beats != nil && (w.now-1)%HeartbeatEvery == 0 {
			beats()
		}
		w.m.Tick(w.now)
	}
}

func (w *watchman) want(id ring.NodeID, state rebalance.State, boot ring.BootID) {
	w.t.Helper()
	if s := w.m.Status(w.now)[id]; s.State != state || s.Boot != boot {
		w.t.Fatalf("node %v: %+v, want state %d of boot %v", id, s, state, boot)
	}
}

func TestSilence(t *testing.T) {
	w := newWatchman(t)
	w.beat(1, 11)
	w.want(1, rebalance.Up, 11)
	w.pass(1400*ms, nil)
	w.want(1, rebalance.Up, 11)
	w.pass(200*ms, nil)
	w.want(1, rebalance.Down, 11)
	w.beat(1, 11) // it was only slow
	w.want(1, rebalance.Up, 11)
}

func TestOwnStallBlamesNobody(t *testing.T) {
	w := newWatchman(t)
	w.pass(second, func() { w.beat(1, 11) })
	w.now += 20 * second // this process was stopped
	w.m.Tick(w.now)
	w.want(1, rebalance.Up, 11)
	w.pass(second, nil)
	w.want(1, rebalance.Up, 11)
	w.pass(second, nil)
	w.want(1, rebalance.Down, 11)
}

func TestNewLeaderGivesGrace(t *testing.T) {
	table := &ring.Table{ClusterID: 1, Nodes: []ring.Node{{ID: 1, Boot: 11, Name: "a", Up: true}, {ID: 2, Boot: 21, Name: "b", Up: true}}}
	w := newWatchman(t)
	w.m.Know(table, w.now)
	w.want(1, rebalance.Unknown, 11)
	w.pass(2*second, func() { w.beat(2, 21) })
	w.want(1, rebalance.Down, 11)
	w.m.Lead(w.now) // the silence may have been on this side
	w.want(1, rebalance.Unknown, 11)
	w.pass(second, func() { w.beat(2, 21) })
	w.want(1, rebalance.Unknown, 11)
	w.pass(second, func() { w.beat(2, 21) })
	w.want(1, rebalance.Down, 11)
	w.want(2, rebalance.Up, 21)
}

func TestProofIsFinal(t *testing.T) {
	w := newWatchman(t)
	w.beat(1, 11)
	w.m.Ended(ring.Process{Store: 1, Boot: 11}, w.now)
	w.want(1, rebalance.Down, 11)
	w.beat(1, 11) // was still under way
	w.m.Lead(w.now)
	w.want(1, rebalance.Down, 11)
	w.beat(1, 12) // its successor, at once
	w.want(1, rebalance.Up, 12)
	w.m.Ended(ring.Process{Store: 1, Boot: 11}, w.now)
	w.want(1, rebalance.Up, 12)
	w.m.Ended(ring.Process{Store: 7, Boot: 1}, w.now) // nobody we know
}

func TestSuccessorWithoutProof(t *testing.T) {
	w := newWatchman(t)
	w.pass(second, func() { w.beat(1, 11) })
	w.beat(1, 12)
	w.want(1, rebalance.Up, 11) // one of them may be a copy
	w.pass(500*ms, func() { w.beat(1, 12) })
	w.want(1, rebalance.Up, 12)
	w.beat(1, 11) // late
	w.want(1, rebalance.Up, 12)
	w.pass(5*second, func() { w.beat(1, 12) })
	if notes := w.m.TakeNotes(); len(notes) > 0 {
		t.Fatalf("a late heartbeat: %+v", notes)
	}
}

func TestCopiedFolderIsRefused(t *testing.T) {
	w := newWatchman(t)
	w.pass(second, func() { w.beat(1, 11) })
	w.pass(9*second, func() { w.beat(1, 11); w.beat(1, 12) })
	w.want(1, rebalance.Up, 11)
	notes := w.m.TakeNotes()
	if len(notes) < 3 || len(notes) > 5 { // in case one gets lost
		t.Fatalf("%+v", notes)
	}
	for _, n := range notes {
		if n.Kind != subjects.EventRefused || n.Process != (ring.Process{Store: 1, Boot: 12}) || !strings.Contains(n.Text, "refused") {
			t.Fatalf("%+v", n)
		}
	}
	w.pass(5*second, func() { w.beat(1, 12) })
	w.want(1, rebalance.Down, 11) // the copy does not step in
}

// Heartbeats of a process that died may be late: they do not make its successor
// a copy.
func TestLateHeartbeatsRefuseNobody(t *testing.T) {
	w := newWatchman(t)
	w.pass(second, func() { w.beat(1, 11) })
	w.pass(2*second, func() { w.beat(1, 12); w.beat(1, 11) })
	w.want(1, rebalance.Up, 11)
	w.pass(second, func() { w.beat(1, 12) })
	w.want(1, rebalance.Up, 12)
	if notes := w.m.TakeNotes(); len(notes) > 0 {
		t.Fatalf("%+v", notes)
	}
}

// A manager that has just begun may hear a process late that is gone, while its
// successor is silent for a moment. That one is not lost for it.
func TestSuccessorComesBack(t *testing.T) {
	w := newWatchman(t)
	w.m.Know(&ring.Table{ClusterID: 1, Nodes: []ring.Node{{ID: 1, Boot: 12, Name: "a", Up: true}}}, w.now)
	w.pass(second, nil)
	w.pass(second/4, func() { w.beat(1, 11) })
	w.want(1, rebalance.Up, 11)
	w.pass(second, func() { w.beat(1, 12) })
	w.want(1, rebalance.Up, 11) // it may be a copy
	w.pass(second, func() { w.beat(1, 12) })
	w.want(1, rebalance.Up, 12)
	w.pass(9*second, func() { w.beat(1, 12) })
	if notes := w.m.TakeNotes(); len(notes) > 0 {
		t.Fatalf("%+v", notes)
	}
}

// A process that is about to stop is up, and marked, until it has handed over or
// takes too long.
// What a process said while it lived brings it back neither before its successor is
// heard again nor after; one on an old folder, which counts fewer processes, comes
// in when it goes on.
func TestOrderOfProcesses(t *testing.T) {
	w := newWatchman(t)
	beat := func(boot ring.BootID, starts uint64) {
		w.m.Hear(subjects.Heartbeat{Role: subjects.RoleServer, Node: "n1", ID: 1, Boot: boot, Starts: starts}, w.now)
	}
	beat(11, 1)
	w.pass(500*ms, nil)
	beat(22, 2)
	w.want(1, rebalance.Up, 22)
	w.pass(2000*ms, nil)
	w.want(1, rebalance.Down, 22)
	beat(11, 1) // late
	w.want(1, rebalance.Down, 22)
	beat(10, 1) // of a time before this manager's
	w.want(1, rebalance.Down, 22)
	beat(22, 2)
	w.want(1, rebalance.Up, 22)
	w.pass(2000*ms, nil)
	w.pass(3900*ms, func() { beat(33, 1) }) // an old folder was put back
	w.want(1, rebalance.Down, 22)
	w.pass(400*ms, func() { beat(33, 1) })
	w.want(1, rebalance.Up, 33)
	w.pass(1000*ms, func() { beat(33, 1); beat(22, 2) })
	w.want(1, rebalance.Up, 33)
}

func TestStopping(t *testing.T) {
	stop := func(w *watchman, id ring.NodeID, boot ring.BootID) {
		w.m.Hear(subjects.Heartbeat{Role: subjects.RoleServer, Node: "n" + id.String(), ID: id, Boot: boot, Stopping: true}, w.now)
	}
	marked := func(w *watchman, want ...ring.NodeID) {
		t.Helper()
		if got := w.m.Stopping(); !slices.Equal(got, want) {
			t.Fatalf("%v are stopping, want %v", got, want)
		}
		for id, s := range w.m.Status(w.now) {
			if s.Stopping != slices.Contains(want, id) {
				t.Fatalf("%v: %+v", id, s)
			}
		}
	}
	w := newWatchman(t)
	w.beat(1, 11)
	w.beat(2, 21)
	w.m.NoNews()
	stop(w, 1, 11)
	if !w.m.News() {
		t.Fatal("that is no news")
	}
	stop(w, 2, 21)
	w.want(1, rebalance.Up, 11)
	marked(w, 1, 2)
	w.m.Left(1, w.now)
	w.want(1, rebalance.Down, 11)
	marked(w, 2)
	stop(w, 1, 11) // it says so to its end
	w.want(1, rebalance.Down, 11)
	w.beat(1, 12)
	w.want(1, rebalance.Up, 12)
	marked(w, 2)
	w.pass(StopWithin+second, func() { w.beat(1, 12); stop(w, 2, 21) })
	w.want(2, rebalance.Down, 21)
	marked(w)
}

// What gateways say of themselves neither stands for a manager nor keeps one out.
func TestGatewaysAreNoManagers(t *testing.T) {
	w := newWatchman(t)
	w.m.Hear(subjects.Heartbeat{Role: subjects.RoleManager, Node: "mgr1", Boot: 7}, w.now)
	w.m.Hear(subjects.Heartbeat{Role: subjects.RoleGateway, Node: "mgr1", Stopping: true}, w.now)
	if o := w.m.Others()["mgr1"]; o == nil || o.Role != subjects.RoleManager || o.State != rebalance.Up {
		t.Errorf("a gateway that is called mgr1 makes of the manager %+v", o)
	}
	for i := range 2 * maxMembers {
		w.m.Hear(subjects.Heartbeat{Role: subjects.RoleGateway, Node: fmt.Sprint("gateway", i)}, w.now)
	}
	w.m.Hear(subjects.Heartbeat{Role: subjects.RoleManager, Node: "mgr2"}, w.now)
	if w.m.Others()["mgr2"] == nil || len(w.m.Others()) > maxMembers {
		t.Errorf("with %d others mgr2 is %v", len(w.m.Others()), w.m.Others()["mgr2"])
	}
}

func TestForeignHeartbeats(t *testing.T) {
	w := newWatchman(t)
	w.m.cluster = 5
	for _, hb := range []subjects.Heartbeat{
		{Role: subjects.RoleServer, Node: "a", ID: 1, Boot: 1, ClusterID: 6},
		{Role: subjects.RoleServer, Node: "a", ID: 1},
		{Role: subjects.RoleServer, Node: "a", Boot: 1},
		{Role: subjects.RoleServer, ID: 1, Boot: 1},
		{Role: subjects.RoleGateway},
	} {
		w.m.Hear(hb, w.now)
	}
	if len(w.m.servers)+len(w.m.others) > 0 {
		t.Fatalf("%+v", w.m)
	}
}

// TestMembersAgreeWithTheTruth: whatever happens, a process that sends its
// heartbeats is up in the end, and one that does not is down.
func TestMembersAgreeWithTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWatchman(nil)
		alive := map[ring.NodeID]ring.BootID{}
		boots := ring.BootID(0)
		beats := func() {
			for id, boot := range alive {
				w.beat(id, boot)
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			id := ring.NodeID(rapid.IntRange(1, 3).Draw(t, "node"))
			old := alive[id]
			switch rapid.IntRange(0, 4).Draw(t, "event") {
			case 0:
				boots++
				alive[id] = boots
			case 1:
				delete(alive, id)
			case 2:
				if old != 0 {
					delete(alive, id)
					w.m.Ended(ring.Process{Store: id, Boot: old}, w.now)
				}
			case 3:
				w.m.Lead(w.now)
			case 4:
				w.now += second
			}
			w.pass(int64(rapid.IntRange(0, 8).Draw(t, "time"))*HeartbeatEvery, beats)
		}
		w.pass(3*second, beats)
		for id := range w.m.servers {
			s := w.m.Status(w.now)[id]
			if boot := alive[id]; boot == 0 && s.State != rebalance.Down || boot != 0 && (s.State != rebalance.Up || s.Boot != boot) {
				t.Fatalf("node %v is %+v; truth: boot %v", id, s, boot)
			}
		}
	})
}

// A disk's state counts as new for a moment after it changed, and as old only if
// it lasts.
func TestDiskTurns(t *testing.T) {
	w := newWatchman(t)
	say := func(boot ring.BootID, stuck bool) {
		w.m.Hear(subjects.Heartbeat{
			Role: subjects.RoleServer, Node: "n1", ID: 1, Boot: boot, Disk: subjects.Disk{Stuck: stuck},
		}, w.now)
	}
	want := func(hung, frozen, turning bool) {
		t.Helper()
		if s := w.m.Status(w.now)[1]; s.Hung != hung || s.Frozen != frozen || s.Turning != turning {
			t.Fatalf("%+v", s)
		}
	}
	say(11, false)
	want(false, false, false)
	say(11, true)
	want(true, false, true)
	w.pass(turnsFor, func() { say(11, true) })
	want(true, false, false)
	w.pass(frozenAfter, func() { say(11, true) })
	want(true, true, false)
	say(11, false)
	want(false, false, true)
	w.pass(turnsFor, func() { say(11, false) })
	want(false, false, false)
	say(11, true)
	w.m.Left(1, w.now)
	say(12, false) // the next process has nothing to do with it
	want(false, false, false)
	w = newWatchman(t)
	say(11, true) // the first that is heard may be the first that says so
	want(true, false, true)
}
