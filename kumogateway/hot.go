package kumogateway

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/etolabo/kumofs/kumogateway/heavy"
	"github.com/etolabo/kumofs/subjects"
)

const (
	// hotEvery is how many operations there are for a sample, on average: what one
	// costs is then a nanosecond or two for each operation.
	hotEvery = 32
	// hotCounters is for how many keys samples are counted: a key with more than
	// one in so many of all operations is found.
	hotCounters = 512
	// hotWindow is for how long samples are gathered before a new sketch begins;
	// what is told is of the last one and of that before.
	hotWindow = 30 * time.Second
)

// hotKeys finds the keys that are asked for most, in the last half minute to
// minute.
type hotKeys struct {
	mu     sync.Mutex
	now    *heavy.Sketch
	before *heavy.Sketch
	began  time.Time // now did
	since  time.Time // before did
}

func newHotKeys(now time.Time) *hotKeys {
	return &hotKeys{now: heavy.New(hotCounters), before: heavy.New(hotCounters), began: now, since: now}
}

// hotGap draws how many operations there are to the next sample. It is random,
// or a client that asks in turns would have the same keys sampled for ever.
func hotGap() int { return 1 + rand.IntN(2*hotEvery-1) } // #nosec G404 -- nothing secret is drawn

// sample counts every hotEvery'th operation of a connection, about. Called by
// the reader.
func (c *conn) sample(hash uint64, key []byte, write bool) {
	if c.gap--; c.gap > 0 {
		return
	}
	c.gap = hotGap()
	h := c.g.hot
	h.mu.Lock()
	h.now.Add(hash, key, write)
	h.mu.Unlock()
}

// turn begins a new window when it is time. Called now and then.
func (h *hotKeys) turn(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.began) < hotWindow {
		return
	}
	h.now, h.before = h.before, h.now
	h.since, h.began = h.began, now
	h.now.Reset()
}

// read tells what was asked for most.
func (h *hotKeys) read(now time.Time) subjects.HotKeys {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := subjects.HotKeys{
		Every: hotEvery, Seconds: now.Sub(h.since).Seconds(), Samples: h.now.Total() + h.before.Total(),
		Floor: h.now.Floor() + h.before.Floor(), Keys: []subjects.HotKey{},
	}
	for _, i := range heavy.Merge(h.now, h.before) {
		if len(out.Keys) == subjects.MaxHotKeys {
			// Those that are left out have no more than the last that is not.
			out.Floor = max(out.Floor, out.Keys[len(out.Keys)-1].Count)
			break
		}
		out.Keys = append(out.Keys, subjects.HotKey{
			Key: subjects.ShowKey(i.Key, subjects.MaxKey), Count: i.Count, Error: i.Error, Writes: i.Writes,
		})
	}
	return out
}
