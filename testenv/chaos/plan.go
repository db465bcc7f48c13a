package chaos

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Kind is what a nemesis does.
type Kind string

// The nemeses.
const (
	Kill   Kind = "kill"   // SIGKILL, and a start some time later
	Leader Kind = "leader" // the same, of the managers' leader, whoever it is then
	Storm  Kind = "storm"  // kill and start, again and again
	Stop   Kind = "stop"   // a stop in good order, and a start later
	Pause  Kind = "pause"  // SIGSTOP, and SIGCONT later
	Cut    Kind = "cut"    // messages are lost from some nodes to others
	Flap   Kind = "flap"   // a cut that comes and goes
	Unplug Kind = "unplug" // the network's interface goes down
	Move   Kind = "move"   // a server is detached, and attached again later
)

// Pair is a way through the network, in one direction.
type Pair struct{ From, To string }

// Event is one nemesis at work.
type Event struct {
	At, Lasts time.Duration
	Kind      Kind
	Text      string   // which of them, in words
	Nodes     []string // whose processes it needs for itself
	Cut       []Pair
	Steps     []time.Duration // of what comes and goes: on, off, on, …
}

func (e Event) String() string {
	s := fmt.Sprintf("%6.1fs +%.1fs %s", e.At.Seconds(), e.Lasts.Seconds(), e.Kind)
	if e.Text != "" {
		s += " " + e.Text
	}
	return s
}

// Shape is the cluster that a plan is for.
type Shape struct {
	Managers, Servers, Gateways int
	Net                         bool // the network can be cut
	Gentle                      bool // kills and pauses only, all of them short
	// Every is how long it is from one fault to the next, about; 0: two seconds.
	Every time.Duration
}

func (s Shape) managers() []string { return numbered("manager", s.Managers) }
func (s Shape) servers() []string  { return numbered("server", s.Servers) }
func (s Shape) gateways() []string { return numbered("gateway", s.Gateways) }
func (s Shape) all() []string      { return slices.Concat(s.managers(), s.servers(), s.gateways()) }

func numbered(name string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(name, i+1))
	}
	return list
}

// Plan draws what goes wrong within so much time. At most one cut is there at a
// time, and a node is in the hands of one nemesis at a time; apart from that
// everything meets everything.
func Plan(seed uint64, within time.Duration, shape Shape) []Event {
	d := &drawer{Rand: rand.New(rand.NewPCG(seed, 0)), Shape: shape}
	busy := map[string]time.Duration{}
	gap := 1800 * time.Millisecond
	if shape.Every > 0 {
		gap = shape.Every * 12 / 13 // what is drawn below is a little more
	}
	var plan []Event
	for at := d.between(300*time.Millisecond, gap); ; at += d.between(gap/6, 2*gap) {
		left := within - at
		if left < time.Second {
			return plan
		}
		e := d.event()
		e.At, e.Lasts = at, min(e.Lasts, left)
		needs := slices.Clone(e.Nodes)
		if len(e.Cut) > 0 || e.Kind == Unplug {
			needs = append(needs, "network")
		}
		if e.Kind == Move || e.Kind == Leader {
			needs = append(needs, string(e.Kind))
		}
		if slices.ContainsFunc(needs, func(n string) bool { return busy[n] > at }) {
			continue
		}
		for _, n := range needs {
			busy[n] = at + e.Lasts + time.Second
		}
		plan = append(plan, e)
	}
}

type drawer struct {
	*rand.Rand
	Shape
}

func (d *drawer) between(a, b time.Duration) time.Duration {
	return a + time.Duration(d.Float64()*float64(b-a))
}

// mostlyShort draws from half a second up to most; three of four times it is
// under a twelfth of that.
func (d *drawer) mostlyShort(most time.Duration) time.Duration {
	least := 500 * time.Millisecond
	return time.Duration(float64(least) * math.Pow(float64(most)/float64(least), math.Pow(d.Float64(), 3)))
}

// pick draws some of a list, in any order.
func (d *drawer) pick(from []string, n int) []string {
	list := slices.Clone(from)
	d.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(n, len(list))]
}

// weighted is a way to go wrong and how often it is taken.
type weighted struct {
	weight int
	draw   func() Event
}

func (d *drawer) event() Event {
	gentle := []weighted{
		{6, func() Event { return d.kill(d.pick(d.servers(), 1)) }},
		{3, func() Event { return d.kill(d.pick(d.servers(), 2)) }},
		{1, func() Event { return d.kill(d.servers()) }},
		{2, func() Event { return d.kill(d.pick(d.gateways(), 1)) }},
		{4, func() Event { return d.pause(d.pick(d.servers(), 1)) }},
		{1, func() Event { return d.pause(d.pick(d.servers(), 2)) }},
		{1, func() Event { return d.pause(d.pick(d.gateways(), 1)) }},
		{1, func() Event { return d.pause(d.pick(d.managers(), 1)) }},
	}
	rough := []weighted{
		{2, func() Event { return Event{Kind: Leader, Lasts: d.between(0, 5*time.Second)} }},
		{1, func() Event { return d.kill(d.managers()) }},
		{1, func() Event { return d.kill(slices.Concat(d.pick(d.managers(), 1), d.pick(d.servers(), 1))) }},
		{2, d.storm},
		{2, d.stop},
		{3, d.move},
	}
	net := []weighted{
		{3, d.halves}, {3, d.oneWay}, {2, d.bridge}, {3, d.isolate}, {4, d.island}, {3, d.answers}, {2, d.flap}, {1, d.unplug},
	}
	ways := gentle
	if !d.Gentle {
		ways = append(ways, rough...)
		if d.Net {
			ways = append(ways, net...)
		}
	}
	sum := 0
	for _, w := range ways {
		sum += w.weight
	}
	n := d.IntN(sum)
	for _, w := range ways {
		if n -= w.weight; n < 0 {
			return w.draw()
		}
	}
	panic("chaos: weights do not add up")
}

func (d *drawer) kill(nodes []string) Event {
	return Event{Kind: Kill, Text: strings.Join(nodes, " "), Nodes: nodes, Lasts: d.between(0, 5*time.Second)}
}

func (d *drawer) pause(nodes []string) Event {
	most := time.Minute
	if d.Gentle {
		most = 5 * time.Second
	}
	return Event{Kind: Pause, Text: strings.Join(nodes, " "), Nodes: nodes, Lasts: d.mostlyShort(most)}
}

func (d *drawer) stop() Event {
	nodes := d.pick(d.all(), 1)
	return Event{Kind: Stop, Text: nodes[0], Nodes: nodes, Lasts: d.between(0, 3*time.Second)}
}

func (d *drawer) storm() Event {
	nodes := d.pick(d.all(), 1)
	e := Event{Kind: Storm, Text: nodes[0], Nodes: nodes}
	e.Steps, e.Lasts = d.steps(2 * time.Second)
	return e
}

func (d *drawer) move() Event {
	return Event{Kind: Move, Text: d.pick(d.servers(), 1)[0], Lasts: d.between(500*time.Millisecond, 15*time.Second)}
}

// steps draws how long something is on, off, on … with an even number.
func (d *drawer) steps(most time.Duration) (steps []time.Duration, sum time.Duration) {
	for range 2 * (2 + d.IntN(5)) {
		s := d.between(50*time.Millisecond, most)
		steps, sum = append(steps, s), sum+s
	}
	return steps, sum
}

// The cuts. Each is named after whom it leaves where.

func (d *drawer) cut(kind string, text string, ways []Pair) Event {
	return Event{Kind: Cut, Text: kind + " " + text, Cut: ways, Lasts: d.between(time.Second, 15*time.Second)}
}

// both is all ways between two groups, in both directions.
func both(a, b []string) []Pair { return append(oneWay(a, b), oneWay(b, a)...) }

func oneWay(from, to []string) (ways []Pair) {
	for _, f := range from {
		for _, t := range to {
			if f != t {
				ways = append(ways, Pair{f, t})
			}
		}
	}
	return ways
}

// split divides all nodes in two, neither empty.
func (d *drawer) split() (a, b []string) {
	list := d.pick(d.all(), len(d.all()))
	n := 1 + d.IntN(len(list)-1)
	return list[:n], list[n:]
}

func (d *drawer) rest(of []string) []string {
	return slices.DeleteFunc(d.all(), func(n string) bool { return slices.Contains(of, n) })
}

func words(a, b []string, between string) string {
	return strings.Join(a, " ") + " " + between + " " + strings.Join(b, " ")
}

func (d *drawer) halves() Event {
	a, b := d.split()
	return d.cut("halves", words(a, b, "|"), both(a, b))
}

func (d *drawer) oneWay() Event {
	a, b := d.split()
	return d.cut("one-way", words(a, b, "-x->"), oneWay(a, b))
}

// bridge leaves one node that sees both halves.
func (d *drawer) bridge() Event {
	a, b := d.split()
	if len(a) < len(b) {
		a, b = b, a
	}
	return d.cut("bridge", a[0]+": "+words(a[1:], b, "|"), both(a[1:], b))
}

func (d *drawer) isolate() Event {
	a := d.pick(slices.Concat(d.servers(), d.managers()), 1)
	b := d.rest(a)
	switch d.IntN(4) {
	case 0:
		return d.cut("deaf", a[0], oneWay(b, a))
	case 1:
		return d.cut("mute", a[0], oneWay(a, b))
	}
	return d.cut("isolate", a[0], both(a, b))
}

// island leaves a server alone with a gateway: what that gateway's clients are
// told must not be older than what others write meanwhile.
func (d *drawer) island() Event {
	a := slices.Concat(d.pick(d.servers(), 1), d.pick(d.gateways(), 1))
	return d.cut("island", strings.Join(a, " "), both(a, d.rest(a)))
}

// answers loses what a server says to the gateways, for longer than a gateway
// waits for an answer: it has to repeat what was done.
func (d *drawer) answers() Event {
	a := d.pick(d.servers(), 1+d.IntN(2))
	e := d.cut("answers", words(a, d.gateways(), "-x->"), oneWay(a, d.gateways()))
	e.Lasts = d.between(time.Second, 5*time.Second)
	return e
}

func (d *drawer) flap() Event {
	e := []func() Event{d.halves, d.isolate, d.island}[d.IntN(3)]()
	e.Kind = Flap
	e.Steps, e.Lasts = d.steps(1500 * time.Millisecond)
	return e
}

func (d *drawer) unplug() Event {
	nodes := d.pick(d.all(), 1)
	return Event{Kind: Unplug, Text: nodes[0], Nodes: nodes, Lasts: d.between(time.Second, 10*time.Second)}
}
