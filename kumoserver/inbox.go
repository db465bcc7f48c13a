package kumoserver

import (
	"sync"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/kumoserver/store"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// caller is who waits for an answer: a gateway's reply subject and the number
// that the answer repeats.
type caller struct {
	reply string
	id    uint64
}

// work is one thing for the core loop to do: exactly one field group is set.
type work struct {
	writes  []write    // a gateway's frame
	peers   []peerItem // a server's frame
	leases  *leaseItem // a server's question for leases, or its answer
	expire  *expireItem
	early   []earlyRead
	ranged  *rangeItem
	confirm []confirmItem // answers of a frame of reads, with ReadConfirm
	table   *ring.Table
	flushed *flight
	err     error         // of flushed
	damage  *store.Damage // was found
	died    *ring.Process // is proved to be gone
	tick    bool
	call    func(*core) // for status and tests: run in the loop
}

type write struct {
	msg subjects.Write
	id  uint64
	to  string // reply subject
}

type peerItem struct {
	partition ring.Partition
	msg       any
}

type expireItem struct {
	partition ring.Partition
	key       []byte
	caller    caller
}

// confirmItem is an answer to a read that waits to be confirmed.
type confirmItem struct {
	partition ring.Partition
	epoch     ring.Epoch // in which it was made
	caller    caller
	reply     subjects.Reply
}

type rangeItem struct {
	partition ring.Partition
	ev        replica.RangeRead
}

// inbox is the core loop's queue: what arrives while a turn runs makes the next
// one. It is bounded by those who fill it: frames wait in their subscriptions
// while room is false.
type inbox struct {
	mu     sync.Mutex
	items  []work
	bytes  int
	space  sync.Cond
	closed bool
	wake   chan struct{}
}

// inboxBytes is how many bytes of frames may wait for the loop.
const inboxBytes = 16 << 20

func newInbox() *inbox {
	q := &inbox{wake: make(chan struct{}, 1)}
	q.space.L = &q.mu
	return q
}

// push queues work. With bytes > 0 it waits while the queue is full. It reports
// whether the loop still runs.
func (q *inbox) push(w work, bytes int) bool {
	q.mu.Lock()
	for bytes > 0 && q.bytes > inboxBytes && !q.closed {
		q.space.Wait()
	}
	ok := !q.closed
	if ok {
		q.items = append(q.items, w)
		q.bytes += bytes
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return ok
}

// take swaps what waits for an empty slice.
func (q *inbox) take(empty []work) []work {
	q.mu.Lock()
	items := q.items
	q.items, q.bytes = empty[:0], 0
	q.space.Broadcast()
	q.mu.Unlock()
	return items
}

// size is what waits.
func (q *inbox) size() (items, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items), q.bytes
}

func (q *inbox) close() {
	q.mu.Lock()
	q.closed = true
	q.space.Broadcast()
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
