package sim

import (
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
	Histories int // that were checked
	Reads     int // answered by primaries
	Expired   int // keys that ended by a logged delete
	Won       int // fetches whose client was told to make the value
	Late      int // sets that were stored although the value was newer
	GaveUp    int // operations whose gateway, or its client, waits no more
	Jumps     int // of wall clocks
	Terms     int // of leaders among the managers
	Crashes   int // of processes, those of machines included
	Machines  int // crashes of machines
	Drained   int // processes that stopped when they were told to
	Resets    int // copies that were begun anew by a stream
	Cuts      int // logs that were cut
	Quiet     int64
	Trace     []string
}

// Add counts another run in.
func (r *Report) Add(o Report) {
	for _, c := range []struct{ to, by *int }{
		{&r.Steps, &o.Steps}, {&r.Epochs, &o.Epochs}, {&r.Acks, &o.Acks}, {&r.Unknown, &o.Unknown}, {&r.Undecided, &o.Undecided},
		{&r.Histories, &o.Histories}, {&r.Reads, &o.Reads}, {&r.Expired, &o.Expired}, {&r.Won, &o.Won}, {&r.Late, &o.Late}, {&r.GaveUp, &o.GaveUp}, {&r.Jumps, &o.Jumps},
		{&r.Terms, &o.Terms}, {&r.Crashes, &o.Crashes}, {&r.Machines, &o.Machines}, {&r.Drained, &o.Drained}, {&r.Resets, &o.Resets}, {&r.Cuts, &o.Cuts},
	} {
		*c.to += *c.by
	}
}

// Violation is a property that did not hold.
type Violation struct{ Text string }

func (v *Violation) Error() string { return v.Text }

// Sim is one cluster under one seed.
type Sim struct {
	o        Options
	prof     Profile
	rng      *rand.Rand
	now      int64 // true time, which nobody knows
	queue    events
	order    int
	nodes    []*node    // by id; 0 is the managers' place in the network
	cuts     [][]int    // how many cuts are between two places, from and to
	sent     [][]letter // what each place sent lately, with Ghosts
	calm     bool       // after the trouble: nothing is lost, nobody crashes
	mgr      *manager
	gateways []*gateway
	clients  []*client
	ops      []*operation
	// attempts are all of all operations, by their number.
	attempts []*attempt
	// proposing is the attempt that a machine is taking, to know what it made.
	proposing *attempt
	expiring  bool      // a machine is taking the end of a key
	ledger    []*ledger // by partition
	stalls    []stall   // by partition
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
	most := 6_000 * ms
	if s.prof.Confirm {
		most = 20_000 * ms // clocks may run ten times too slow
	}
	if !s.runUntil(s.now+most, s.quiet) {
		s.fail("not quiet again %s after all trouble ended: %s", clock(most), s.why())
	}
	s.rep.Quiet = s.now - s.prof.Trouble
	s.last()
	return s.rep, nil
}

func (s *Sim) begin() {
	s.prof = draw(s.rng, s.o.Seed)
	s.rep.Seed, s.rep.Profile = s.o.Seed, s.prof
	n := s.prof.Nodes
	s.cuts, s.sent = make([][]int, n+1), make([][]letter, n+1)
	for i := range s.cuts {
		s.cuts[i] = make([]int, n+1)
	}
	for p := range s.prof.Partitions {
		s.ledger = append(s.ledger, newLedger(ring.Partition(p)))
	}
	s.stalls = make([]stall, s.prof.Partitions)
	s.mgr = newManager(s)
	s.nodes = []*node{nil}
	for id := 1; id <= n; id++ {
		s.nodes = append(s.nodes, newNode(s, ring.NodeID(id)))
	}
	for i, n := range s.nodes[1:] {
		if i < len(s.nodes)-1-s.prof.Late {
			n.start()
		} else {
			s.after(s.between(1000, 3000), n.start)
		}
	}
	for i := range s.prof.Gateways {
		s.gateways = append(s.gateways, newGateway(s, i))
	}
	for i := range s.prof.Clients {
		c := &client{s: s, id: i, g: s.gateways[i%len(s.gateways)]}
		s.clients = append(s.clients, c)
		s.after(s.between(1000, 1500), c.next)
	}
	s.troubles()
}

// runUntil takes events until a time, or until done holds; it looks every 50 ms.
func (s *Sim) runUntil(end int64, done func() bool) bool {
	look := s.now
	for len(s.queue) > 0 && s.queue[0].at <= end {
		e := s.queue.pop()
		s.now = e.at
		e.do()
		if s.now >= look {
			look = s.now + 50*ms
			s.checkProgress()
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
	s.queue.push(event{s.now + d, s.order, do})
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
	o.Confirm = s.prof.Confirm
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

func (e event) before(o event) bool { return e.at < o.at || e.at == o.at && e.order < o.order }

func (h *events) push(e event) {
	q := append(*h, e)
	i := len(q) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(q[up]) {
			break
		}
		q[i] = q[up]
		i = up
	}
	q[i] = e
	*h = q
}

func (h *events) pop() event {
	q := *h
	first, last := q[0], q[len(q)-1]
	q[len(q)-1] = event{}
	q = q[:len(q)-1]
	for i := 0; len(q) > 0; {
		down := 2*i + 1
		if down+1 < len(q) && q[down+1].before(q[down]) {
			down++
		}
		if down >= len(q) || last.before(q[down]) {
			q[i] = last
			break
		}
		q[i] = q[down]
		i = down
	}
	*h = q
	return first
}
