package kumoserver

import (
	"testing"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// emptyLog is the log of a partition that holds nothing.
type emptyLog struct{ replica.Log }

func (emptyLog) Entries(uint64, int) ([]*subjects.Entry, bool) { return nil, true }

// What a partition says after a promise waits until the promise is on disk, also
// in later turns; the other partitions do not.
func TestWhatFollowsAPromiseWaits(t *testing.T) {
	c := &core{s: &Server{o: Options{Sync: store.SyncInterval}}, parts: map[ring.Partition]*part{}}
	for id := range ring.Partition(2) {
		c.parts[id] = &part{id: id, machine: replica.New(id, ring.Process{Store: 1, Boot: 1}, replica.State{}, emptyLog{}, replica.Options{})}
	}
	// turn is one in which both partitions say something, and 0 promises or not.
	turn := func(promises bool) (free, bound *flight) {
		for id, p := range c.parts {
			p.dirty, p.bound = true, promises && id == 0
			c.dirty = append(c.dirty, p)
			c.held = append(c.held, held{1, id, replica.Message(&subjects.EpochReply{})})
		}
		return c.flights()
	}
	of := func(f *flight) (list []ring.Partition) {
		for _, h := range f.sends {
			list = append(list, h.p)
		}
		return list
	}
	want := func(what string, free, bound *flight, waits bool) {
		t.Helper()
		if n := len(of(bound)); waits && (n != 1 || of(bound)[0] != 0) || !waits && n != 0 {
			t.Errorf("%s: %v wait for the disk", what, of(bound))
		}
		if n := len(of(free)); waits && (n != 1 || of(free)[0] != 1) || !waits && n != 2 {
			t.Errorf("%s: %v do not wait", what, of(free))
		}
	}
	free, first := turn(true)
	want("the promise", free, first, true)
	free, second := turn(false)
	want("while it is written", free, second, true)
	for _, f := range []*flight{first, second} {
		f.sends = nil // nobody to post to
	}
	c.landed(first)
	free, third := turn(false)
	want("once it is on disk", free, third, false)
	c.landed(second) // late, and nothing changes
	free, fourth := turn(false)
	want("and later", free, fourth, false)
}
