package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects/ring"
)

const ms = int64(1e6)

// Options say what is played.
type Options struct {
	Seed uint64
	// Trace keeps the last lines of what happened; 0 keeps none, which is faster.
	Trace int
}

// Report is what a run did.
type Report struct {
	Seed      uint64
	Profile   Profile
	Steps     int // events that nodes took
	Epochs    int // configurations
	Acks      int // writes that were acknowledged
	Unknown   int // committed writes whose client does not know it
	Undecided int // histories that took too long to check
	Crashes   int
	Resets    int // copies that were begun anew by a stream
	Cuts      int // logs that were cut
	Quiet     int64
	Trace     []string
}

// Violation is a property that did not hold.
type Violation struct{ Text string }

func (v *Violation) Error() string { return v.Text }

// Sim is one cluster under one seed.
type Sim struct {
	o       Options
	prof    Profile
	rng     *rand.Rand
	now     int64
	queue   events
	order   int
	nodes   []*node // by id; 0 is the managers' place in the network
	cut     [][]bool
	calm    bool // after the trouble: nothing is lost, nobody crashes
	mgr     *manager
	clients []*client
	ops     []*operation
	// attempts are all of all operations, by their number.
	attempts []*attempt
	// proposing is the attempt that a machine is taking, to know what it made.
	proposing *attempt
	ledger    []*ledger // by partition
	boots     ring.BootID
	instant   int64 // orders calls and answers
	trace     trace
	rep       Report
}

// Run plays one seed until the cluster is quiet again, and checks what it can
// as it goes. The error is a *Violation.
func Run(o Options) (rep Report, err error) {
	s := &Sim{o: o, rng: rand.New(rand.NewPCG(o.Seed, 0x6b756d6f))}
	s.trace.limit = o.Trace
	defer func() {
		rep = s.rep
		rep.Trace = s.trace.lines()
		if r := recover(); r != nil {
			v, ok := r.(*Violation)
			if !ok {
				v = &Violation{fmt.Sprintf("panic: %v\n%s", r, stack())}
			}
			err = fmt.Errorf("seed %d (%s), at %s: %w", o.Seed, s.prof.Name, clock(s.now), v)
		}
	}()
	s.begin()
	s.runUntil(s.prof.Trouble, func() bool { return false })
	s.heal()
	if !s.runUntil(s.now+20_000*ms, s.quiet) {
		s.fail("not quiet again 20 s after all trouble ended: %s", s.why())
	}
	s.rep.Quiet = s.now - s.prof.Trouble
	s.last()
	return s.rep, nil
}

func (s *Sim) begin() {
	s.prof = draw(s.rng, s.o.Seed)
	s.rep.Seed, s.rep.Profile = s.o.Seed, s.prof
	n := s.prof.Nodes
	s.cut = make([][]bool, n+1)
	for i := range s.cut {
		s.cut[i] = make([]bool, n+1)
	}
	for p := range s.prof.Partitions {
		s.ledger = append(s.ledger, newLedger(ring.Partition(p)))
	}
	s.mgr = newManager(s)
	s.nodes = []*node{nil}
	for id := 1; id <= n; id++ {
		s.nodes = append(s.nodes, newNode(s, ring.NodeID(id)))
		s.nodes[id].start()
	}
	for i := range s.prof.Clients {
		c := &client{s: s, id: i}
		s.clients = append(s.clients, c)
		s.after(s.between(1000, 1500), c.next)
	}
	s.troubles()
}

// runUntil takes events until a time, or until done holds; it looks every 50 ms.
func (s *Sim) runUntil(end int64, done func() bool) bool {
	look := s.now
	for len(s.queue) > 0 && s.queue[0].at <= end {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.do()
		if s.now >= look {
			look = s.now + 50*ms
			if done() {
				return true
			}
		}
	}
	s.now = end
	return false
}

// after does something in d nanoseconds.
func (s *Sim) after(d int64, do func()) {
	s.order++
	heap.Push(&s.queue, event{s.now + d, s.order, do})
}

// between draws a time from a to b milliseconds, in nanoseconds.
func (s *Sim) between(a, b int64) int64 { return a*ms + s.rng.Int64N((b-a)*ms+1) }

func (s *Sim) chance(p float64) bool { return p > 0 && s.rng.Float64() < p }

func (s *Sim) tick() int64 {
	s.instant++
	return s.instant
}

func (s *Sim) fail(format string, args ...any) {
	panic(&Violation{fmt.Sprintf(format, args...)})
}

func (s *Sim) note(format string, args ...any) {
	if s.trace.limit > 0 {
		s.trace.add(clock(s.now) + " " + fmt.Sprintf(format, args...))
	}
}

func (s *Sim) options() replica.Options {
	o := replica.Defaults()
	o.JoinLag = s.prof.JoinLag
	o.Window = s.prof.Window
	return o
}

func clock(t int64) string { return fmt.Sprintf("%9.3fms", float64(t)/1e6) }

type event struct {
	at    int64
	order int
	do    func()
}

// events is a heap by time, then by the order in which they were made.
type events []event

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)   { *h = append(*h, x.(event)) }
func (h *events) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return e
}
