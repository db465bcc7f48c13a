package kumoserver

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const (
	// rangeBytes is how much of a copy travels at a time. It keeps the core loops at
	// both ends, and so everybody who waits for them, busy for about a millisecond.
	rangeBytes = 64 << 10
	// scansAtOnce is how many ranges are read at the same time.
	scansAtOnce = 2
)

// mover reads ranges for learners, off the core loop, no faster than the
// cluster's move rate, and slower where that takes the machines from clients (pace).
// While moves are paused it reads for partitions alone that lack copies. What a server
// that was away lacks of the log is sent past it.
type mover struct {
	s     *Server
	scans chan struct{} // places for reads
	bytes atomic.Uint64 // sent since the start
	items atomic.Uint64

	mu      sync.Mutex
	waiting map[moveKey]replica.ReadRange // the newest request for each copy
	pace    pace
	table   *ring.Table
	busy    []ring.Partition // copied to others, or from them
	next    time.Time        // when the rate lets the next range go
	changed chan struct{}    // closed when rate or pause have changed
}

type moveKey struct {
	partition ring.Partition
	to        ring.NodeID
}

func newMover(s *Server) *mover {
	return &mover{
		s: s, scans: make(chan struct{}, scansAtOnce), changed: make(chan struct{}),
		waiting: map[moveKey]replica.ReadRange{}, pace: pace{sent: map[moveKey]time.Time{}},
	}
}

// configure takes a newer table.
func (m *mover) configure(t *ring.Table) {
	m.take(t, m.s.process())
}

func (m *mover) take(t *ring.Table, self ring.Process) {
	var busy []ring.Partition
	for p, c := range t.Partitions {
		if (c.Primary == self && len(c.Learners) > 0 || c.HasLearner(self.Store)) && len(busy) < subjects.MaxMoving {
			busy = append(busy, ring.Partition(p))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.table
	m.table, m.busy = t, busy
	m.pace.forget(func(key moveKey) bool {
		p := int(key.partition)
		return p >= t.Size() || t.Partitions[p].Primary != self || !t.Partitions[p].HasLearner(key.to)
	})
	if old == nil || old.MoveRate != t.MoveRate {
		m.next = time.Time{}
	}
	if old == nil || old.MoveRate != t.MoveRate || old.Paused {
		close(m.changed)
		m.changed = make(chan struct{})
	}
}

// moving tells of copies under way.
func (m *mover) moving() (out []subjects.Moving) {
	m.mu.Lock()
	busy := m.busy
	m.mu.Unlock()
	for _, p := range busy {
		out = append(out, subjects.Moving{Partition: p, Items: m.s.store.Items(p)})
	}
	return out
}

// read reads records for a learner; they come to the core loop. A request that
// comes while one for the same copy waits takes its place.
func (m *mover) read(p ring.Partition, e replica.ReadRange) {
	key := moveKey{p, e.To}
	m.mu.Lock()
	_, waits := m.waiting[key]
	m.waiting[key] = e
	rest := m.pace.asked(key, time.Now())
	m.mu.Unlock()
	if waits {
		return
	}
	m.s.background.Go(func() error {
		if !m.rest(rest) || !m.await(key) {
			return nil
		}
		defer func() { <-m.scans }()
		m.mu.Lock()
		e := m.waiting[key]
		delete(m.waiting, key)
		m.mu.Unlock()
		ev := replica.RangeRead{To: e.To, Epoch: e.Epoch, From: e.From, Through: e.Through}
		ev.Records, ev.Next, ev.Last, ev.Err = m.s.store.Scan(p, e.From, rangeBytes)
		size := 0
		for i := range ev.Records {
			size += ev.Records[i].Size()
		}
		m.bytes.Add(uint64(size))
		m.items.Add(uint64(len(ev.Records)))
		m.charge(size - rangeBytes)
		if !ev.Last && ev.Err == nil {
			m.mu.Lock()
			m.pace.sends(key, time.Now())
			m.mu.Unlock()
		}
		m.s.inbox.push(work{ranged: &rangeItem{p, ev}}, 0)
		return nil
	})
}

// rest waits; false means that the server ends.
func (m *mover) rest(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-m.s.ctx.Done():
		return false
	}
}

// await waits until a range of the copy may be read, and then has a place for
// that; false means that the server ends.
func (m *mover) await(key moveKey) bool {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		wait, changed := m.delay(key.partition)
		if wait <= 0 {
			break
		}
		t.Reset(wait)
		select {
		case <-t.C:
		case <-changed:
		case <-m.s.ctx.Done():
			return false
		}
	}
	select {
	case m.scans <- struct{}{}:
		return true
	case <-m.s.ctx.Done():
		return false
	}
}

// forever is for how long nothing is sent while moves are paused.
const forever = 24 * time.Hour

// delay is how long a range must wait, unless changed is closed before. Where that
// is no time the range is counted as sent.
func (m *mover) delay(p ring.Partition) (wait time.Duration, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	switch {
	case m.held(p):
		return forever, m.changed
	case m.next.After(now):
		return m.next.Sub(now), m.changed
	}
	m.next = now.Add(m.time(rangeBytes))
	return 0, m.changed
}

// held reports whether a copy is a mere move, while moves are paused. The caller
// has the lock.
func (m *mover) held(p ring.Partition) bool {
	if m.table == nil || !m.table.Paused || int(p) >= m.table.Size() {
		return false
	}
	c := m.table.Partitions[p]
	return len(c.ISR) >= len(c.Target)
}

// charge corrects what was taken from the rate by bytes.
func (m *mover) charge(bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next = m.next.Add(m.time(bytes))
}

// time is how long the rate lets bytes take. The caller has the lock.
func (m *mover) time(bytes int) time.Duration {
	if m.table == nil || m.table.MoveRate == 0 {
		return 0
	}
	return time.Duration(float64(bytes) / float64(m.table.MoveRate) * float64(time.Second))
}
