package quorum

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// hub is a bus in memory: a lossy pipe with a queue and a goroutine per subscription.
type hub struct {
	mu     sync.Mutex
	rng    *rand.Rand
	subs   map[string]map[*hubSub]bool
	cut    map[[2]string]bool // links that carry nothing
	drop   float64            // share of messages lost,
	double float64            // delivered twice,
	late   float64            // delivered after later ones, by up to lateBy
	lateBy time.Duration
	tap    func(from, subject string, data []byte) bool // false: lost
	wg     sync.WaitGroup
	timers map[*time.Timer]bool
	closed bool
}

type hubSub struct {
	node  string
	queue chan hubMsg
	stop  chan struct{}
	ended chan struct{}
}

type hubMsg struct {
	subject string
	data    []byte
}

func newHub(t testing.TB, seed uint64) *hub {
	h := &hub{
		rng: rand.New(rand.NewPCG(seed, 1)), subs: make(map[string]map[*hubSub]bool), cut: make(map[[2]string]bool),
		lateBy: 20 * time.Millisecond, timers: make(map[*time.Timer]bool),
	}
	t.Cleanup(h.close)
	return h
}

func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	for t := range h.timers {
		if t.Stop() {
			h.wg.Done()
		}
	}
	h.mu.Unlock()
	h.wg.Wait()
}

// faults sets the shares of messages that are lost, doubled, and late.
func (h *hub) faults(drop, double, late float64) {
	h.mu.Lock()
	h.drop, h.double, h.late = drop, double, late
	h.mu.Unlock()
}

// split cuts every link between a node of one group and a node of another; nodes not named keep theirs. Without groups
// all links are whole.
func (h *hub) split(groups ...[]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.cut)
	for i, g := range groups {
		for j, o := range groups {
			for _, a := range g {
				for _, b := range o {
					if i != j {
						h.cut[[2]string{a, b}] = true
					}
				}
			}
		}
	}
}

func (h *hub) conn(node string) Conn { return hubConn{h, node} }

type hubConn struct {
	h    *hub
	node string
}

func (c hubConn) Subscribe(subject string, f func(string, []byte)) (func(), error) {
	s := &hubSub{node: c.node, queue: make(chan hubMsg, 4096), stop: make(chan struct{}), ended: make(chan struct{})}
	c.h.mu.Lock()
	if c.h.subs[subject] == nil {
		c.h.subs[subject] = make(map[*hubSub]bool)
	}
	c.h.subs[subject][s] = true
	c.h.mu.Unlock()
	go func() {
		defer close(s.ended)
		for {
			select {
			case m := <-s.queue:
				f(m.subject, m.data)
			case <-s.stop:
				return
			}
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() {
			c.h.mu.Lock()
			delete(c.h.subs[subject], s)
			c.h.mu.Unlock()
			close(s.stop)
			<-s.ended
		})
	}, nil
}

func (c hubConn) Publish(subject string, data []byte) error {
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.New("hub is closed")
	}
	if h.tap != nil && !h.tap(c.node, subject, data) {
		return nil
	}
	copies := 1
	if h.rng.Float64() < h.double {
		copies = 2
	}
	for range copies {
		if h.rng.Float64() < h.drop {
			continue
		}
		if h.rng.Float64() >= h.late {
			h.deliver(c.node, subject, data)
			continue
		}
		h.wg.Add(1)
		var t *time.Timer
		t = time.AfterFunc(time.Duration(h.rng.Int64N(int64(h.lateBy))), func() {
			defer h.wg.Done()
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.timers, t)
			h.deliver(c.node, subject, data)
		})
		h.timers[t] = true
	}
	return nil
}

// deliver queues a message. The caller holds mu.
func (h *hub) deliver(from, subject string, data []byte) {
	for s := range h.subs[subject] {
		if h.cut[[2]string{from, s.node}] {
			continue
		}
		select {
		case s.queue <- hubMsg{subject, data}:
		default:
		}
	}
}
