package kumoserver

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const (
	// A write or sync that takes longer means that the disk hangs: the server says
	// so, acknowledges nothing and grants nothing, so that others take over.
	stuckAfter = time.Second
	// A log that waits for so long blames nobody else, see replica.Tick.
	heldAfter = 100 * time.Millisecond
	// It must have worked again for so long to be trusted.
	unstuckAfter = 2 * time.Second
	// A primary whose disk has just become full lets writes wait for so long for
	// another primary.
	handOverFull = 2 * time.Second
	// badListed is how many damaged records stat names.
	badListed = 32
)

// gauges are what heartbeats tell of the store. They are read by one goroutine,
// so that heartbeats go on when the store does not answer.
type gauges struct {
	load    atomic.Pointer[subjects.Load]
	disk    atomic.Pointer[subjects.Disk]
	unclean atomic.Pointer[ring.PartitionSet]
	store   atomic.Pointer[store.Stats]
	stuckAt atomic.Int64 // when a stall was last seen, on boottime's clock; 0: never
}

// gauge reads the store again and again.
func (s *Server) gauge() error {
	t := time.NewTicker(s.o.HeartbeatEvery)
	defer t.Stop()
	for {
		s.readGauges()
		select {
		case <-s.ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (s *Server) readGauges() {
	unclean := s.doubtful()
	s.gauges.unclean.Store(&unclean)
	st := s.store.Stats()
	s.gauges.store.Store(&st)
	last, _ := s.store.ScrubState()
	d := subjects.Disk{Full: s.store.Full(), Broken: s.store.Broken() != nil, Found: last.Damaged}
	d.Damaged, _ = s.store.BadKeys(0)
	d.Compared, d.Differing = s.compared()
	if !last.Ended.IsZero() {
		d.Checked = last.Ended.UnixMilli()
	}
	if was := s.gauges.disk.Swap(&d); was != nil && was.Full != d.Full {
		text := "there is room on the disk again"
		if d.Full {
			text = "the disk is full: values are not taken, what there is can be read"
		}
		s.diskEvent(text)
	}
	s.gauges.load.Store(&subjects.Load{
		Get: s.gets.Load(), Set: s.sets.Load(), Delete: s.deletes.Load(),
		Items: uint64(st.Items), Bytes: uint64(st.DataFile + st.Log), LogBytes: uint64(st.Log), Unapplied: uint64(st.Entries),
		Primaries: int(s.primaries.Load()), Replicas: int(s.replicas.Load()), Learners: int(s.joins.Load()),
		MovedBytes: s.mover.bytes.Load(), MovedItems: s.mover.items.Load(),
		At: time.Now().UnixMilli(),
	})
}

// doubtful are the partitions of the cluster of which the store may lack what it
// acknowledged: copies that are unclean or lost, and in a store that lost its
// database, those that it knows nothing of.
func (s *Server) doubtful() ring.PartitionSet {
	of := ring.MaxPartitions
	if s.watch != nil && s.Table().Size() > 0 {
		of = s.Table().Size()
	}
	return ring.SetOf(slices.DeleteFunc(s.store.Doubtful(), func(p ring.Partition) bool { return int(p) >= of })...)
}

// load and disk are what was read last.
func (s *Server) load() (l subjects.Load) {
	if p := s.gauges.load.Load(); p != nil {
		l = *p
	}
	return l
}

func (s *Server) disk() (d subjects.Disk) {
	if p := s.gauges.disk.Load(); p != nil {
		d = *p
	}
	d.Stuck = s.stuck()
	d.NoVote = s.o.Witness != nil && s.witness == nil
	return d
}

// stuck reports whether the disk hangs, or did a moment ago.
func (s *Server) stuck() bool {
	now, at := boottime(), s.gauges.stuckAt.Load()
	was := at != 0 && now-at < int64(unstuckAfter)
	if s.store.Stalled() < stuckAfter {
		if !was && at != 0 && s.gauges.stuckAt.CompareAndSwap(at, 0) {
			s.diskEvent("the disk works again")
		}
		return was
	}
	if s.gauges.stuckAt.Swap(now) == 0 {
		s.diskEvent(fmt.Sprintf("the disk hangs: a write or sync has not returned for %s or longer; nothing is acknowledged", stuckAfter))
	}
	return true
}

func (s *Server) diskEvent(text string) {
	s.log.Warn(text, "store", s.o.Dir)
	s.event(subjects.Event{Kind: subjects.EventDisk, Text: s.name + ": " + text})
}

// onDamage takes what the store finds, on any goroutine.
func (s *Server) onDamage(d store.Damage) { s.inbox.push(work{damage: &d}, 0) }

// damaged lets copies give way that cannot be read any more.
func (c *core) damaged(d *store.Damage) {
	switch {
	case d.File:
		c.s.event(subjects.Event{Kind: subjects.EventDamage, Text: fmt.Sprintf("%s: the data file is damaged: %v", c.s.name, d.Err)})
		for _, p := range c.parts {
			c.step(p, replica.Damaged{Now: c.now})
		}
		c.discard()
	case d.Log:
		c.s.event(subjects.Event{Kind: subjects.EventDamage, Text: fmt.Sprintf("%s: %v", c.s.name, d.Err)})
	default:
		c.s.fault(d.Partition, c.s.epoch(d.Partition), d.Err.Error())
		if p := c.parts[d.Partition]; p != nil {
			c.step(p, replica.Damaged{Now: c.now})
		}
	}
}

// discard gives up a data file whose structure is damaged, once no configuration
// counts on it: the server ends and begins anew without it. The only copy of
// something is kept, as far as it can be read.
func (c *core) discard() {
	if c.table == nil || c.store.Broken() == nil {
		return
	}
	for i := range c.table.Partitions {
		if c.table.Partitions[i].HasISR(c.s.store.ID()) {
			return
		}
	}
	c.store.Discard()
}

// mayRecover reports whether another copy of a partition may have what cannot be
// read or written here, as far as the ring tells.
func (s *Server) mayRecover(p ring.Partition) bool {
	t := s.watch.Table()
	if t == nil || int(p) >= t.Size() {
		return false
	}
	cfg := &t.Partitions[p]
	for _, id := range cfg.ISR {
		if id != s.store.ID() && !wanted(cfg.Unclean, id) {
			return true
		}
	}
	return false
}

// admit looks at the disk at the beginning of a turn.
func (c *core) admit() {
	c.room, c.stuck = c.store.Admit(), c.s.stuck()
	switch {
	case c.room == store.Roomy:
		c.fullSince = 0
	case c.fullSince == 0:
		c.fullSince = c.now
	}
}

// takes reports whether the disk takes a message: one that makes the log longer
// may not fit, and nothing is acknowledged that may never be on the disk. Such a
// server falls silent, and is left out. One whose data file is damaged makes no copy
// anew before it begins anew itself, or there would always be one that counts on it.
func (c *core) takes(m any) bool {
	switch m := m.(type) {
	case *subjects.Prepare:
		if c.stuck || c.room == store.Dry || c.store.Broken() != nil && !c.counts(m.Partition) {
			return len(m.Entries) == 0
		}
		if c.room == store.Full {
			for _, e := range m.Entries {
				if e.Kind == subjects.EntryPut {
					return false
				}
			}
		}
	case *subjects.Range:
		return c.room == store.Roomy && !c.stuck && c.store.Broken() == nil
	}
	return true
}

// counts reports whether the ring counts on this store's copy of a partition.
func (c *core) counts(p ring.Partition) bool {
	return c.table != nil && int(p) < c.table.Size() && c.table.Partitions[p].HasISR(c.s.store.ID())
}

// refuses returns why a write is not taken because of the disk, 0 if it is. While
// another replica may lead, a write waits for that.
func (c *core) refuses(w *subjects.Write) subjects.Status {
	leaves := w.Options&(subjects.OptionStale|subjects.OptionEmpty) != 0
	frees := w.Verb == subjects.VerbDelete && !leaves || w.Verb == subjects.VerbFlush
	switch {
	case c.stuck:
		return subjects.StatusRetry
	case c.room == store.Roomy || c.room == store.Full && frees:
		return 0
	case c.now-c.fullSince < int64(handOverFull) && c.s.mayRecover(w.Partition):
		return subjects.StatusRetry
	}
	return subjects.StatusNoSpace
}
