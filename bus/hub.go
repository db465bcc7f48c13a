package bus

import (
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// Hub hands frames over within a process: between members of a mesh and callers
// that were opened with the same hub. Such frames do not cross a socket, nor the
// embedded servers, and nobody else can listen to them. Everything else, and
// every frame to another process, goes by NATS as ever.
type Hub struct {
	mu      sync.RWMutex
	subs    []*Sub          // that take frames
	members map[string]int  // by the addresses that clients dial
	known   map[string]*Sub // by subject; nil: nobody here
}

// NewHub returns a hub for members of one mesh.
func NewHub() *Hub { return &Hub{members: map[string]int{}, known: map[string]*Sub{}} }

// maxKnown bounds the subjects that a hub keeps in mind. What a process sends is
// bounded by nodes and partitions.
const maxKnown = 1 << 18

// join and leave say that the member with this address is in the process.
func (h *Hub) join(addr string, by int) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.members[addr] += by; h.members[addr] <= 0 {
		delete(h.members, addr)
	}
}

// has reports whether a member with this address is in the process.
func (h *Hub) has(addr string) bool {
	if h == nil {
		return false
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.members[addr] > 0
}

func (h *Hub) add(s *Sub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs = append(h.subs, s)
	clear(h.known)
}

func (h *Hub) remove(s *Sub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs = slices.DeleteFunc(h.subs, func(o *Sub) bool { return o == s })
	clear(h.known)
}

// find returns who takes frames on a subject; nil if nobody here does.
func (h *Hub) find(subject string) *Sub {
	h.mu.RLock()
	s, ok := h.known[subject]
	h.mu.RUnlock()
	if ok {
		return s
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.subs {
		if matches(o.subject, subject) {
			s = o
			break
		}
	}
	if len(h.known) >= maxKnown {
		clear(h.known)
	}
	h.known[strings.Clone(subject)] = s
	return s
}

// matches reports whether a subject is of a pattern in which * stands for a token.
func matches(pattern, subject string) bool {
	for {
		p, morePattern, more := strings.Cut(pattern, ".")
		s, moreSubject, moreToo := strings.Cut(subject, ".")
		if p != s && p != "*" || more != moreToo {
			return false
		}
		if !more {
			return true
		}
		pattern, subject = morePattern, moreSubject
	}
}

// hand gives a frame to whoever takes it in this process. done is false if nobody
// does, or the bus has no hub. data may be reused afterwards.
func (b *Bus) hand(subject string, data []byte) (done bool, err error) {
	if b.hub == nil {
		return false, nil
	}
	s := b.hub.find(subject)
	if s == nil {
		return false, nil
	}
	if len(data) > MaxPayload {
		return true, wrapNATS("publish", subject, nats.ErrMaxPayload)
	}
	s.local.push(subject, data)
	return true, nil
}

// now answers a call if somebody in this process has the answer at hand.
func (b *Bus) now(subject string, body []byte, clusterID func() uint64) (answer []byte, ok bool) {
	if b.hub == nil {
		return nil, false
	}
	s := b.hub.find(subject)
	if s == nil || s.now == nil || s.cluster() != clusterID() {
		return nil, false
	}
	return s.now(body)
}

// handOver is what waits within the process for a subscription's handler, with
// the bounds of any other.
type handOver struct {
	b    *Bus
	mu   sync.Mutex
	wait []*nats.Msg
	size int
	shut bool
	wake chan struct{}
	done chan struct{} // closed when its goroutine has ended
	// one lets either goroutine, this one's or that of NATS, into the handler.
	one sync.Mutex
}

func newHandOver(b *Bus) *handOver {
	return &handOver{b: b, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

func (q *handOver) push(subject string, data []byte) {
	m := &nats.Msg{Subject: subject, Data: append([]byte(nil), data...)}
	q.mu.Lock()
	full := len(q.wait) >= pendingMessages || q.size+len(data) > pendingBytes && len(q.wait) > 0
	if !full && !q.shut {
		q.wait = append(q.wait, m)
		q.size += len(data)
	}
	q.mu.Unlock()
	if full {
		q.b.overflow(subject)
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run handles what comes until close, and what was there by then.
func (q *handOver) run(h nats.MsgHandler) {
	defer close(q.done)
	var spare []*nats.Msg
	for range q.wake {
		q.mu.Lock()
		batch, shut := q.wait, q.shut
		q.wait, q.size = spare[:0], 0
		q.mu.Unlock()
		for _, m := range batch {
			q.one.Lock()
			h(m)
			q.one.Unlock()
		}
		clear(batch)
		spare = batch
		if shut {
			return
		}
	}
}

func (q *handOver) close() {
	q.mu.Lock()
	q.shut = true
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
