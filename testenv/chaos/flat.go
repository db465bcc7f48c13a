package chaos

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

const (
	lookEvery = 5 * time.Second
	// heapEvery is how many looks it is from one at the heap, which is collected for
	// it, to the next.
	heapEvery = 6
	// grownUp is the age from which on a process counts, and a server only once all
	// that it keeps for speed is full.
	grownUp = 90 * time.Second
	// warmUp is the part of a run that is not looked at.
	warmUp = 6
	// growth is by how much the second half of the rest may be above the first: a
	// twentieth, or what the garbage collector makes of it.
	growth      = 1.05
	slackBytes  = 4 << 20
	slackHeap   = 1 << 20
	slackOthers = 3
	// full is the part of a bound at which what is kept counts as full: what is
	// written anew leaves the cache until it was missed twice.
	full = 0.85
	// retained is the servers' --retain-log.
	retained = 8 << 20
)

// use is what one process had at one time.
type use struct {
	round      int           // of looks at all of them
	at         time.Duration // since the run began
	memory     int64         // of its own, bytes: RssAnon, since pages of files are the system's to take back
	heap       int64         // of it what is in use, after a collection; 0: not looked at
	goroutines int64
	full       bool // what it keeps for speed is
}

// smallBounds give every daemon an HTTP port, where it tells of itself, and servers so
// small bounds that what they keep is full before the run begins.
func smallBounds() (options []testenv.Option) {
	for _, role := range []subjects.Role{subjects.RoleManager, subjects.RoleServer, subjects.RoleGateway} {
		options = append(options, testenv.Args(role, "--http", "0", "--pprof"))
	}
	return append(options, testenv.Args(subjects.RoleServer, "--memory", "24", "--retain-log", fmt.Sprint(retained)))
}

// watcher looks at all daemons.
type watcher struct {
	r     *run
	began time.Time
	seen  map[string][]use // by node
	known map[int]*process
	round int
}

// process is what a watcher knows of one.
type process struct {
	born  time.Time
	full  bool // it was, once
	looks int
}

// watch looks at all daemons until the function that it returns is called, which
// judges what they used.
func (r *run) watch() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{r: r, began: time.Now(), seen: map[string][]use{}, known: map[int]*process{}}
	var looking sync.WaitGroup
	looking.Go(func() {
		for ; pause(ctx, lookEvery); w.round++ {
			for _, n := range r.cluster.Layout().Nodes {
				if pid := r.cluster.PID(n.Name); pid != 0 {
					w.look(ctx, n.Name, n.Addr, pid)
				}
			}
		}
	})
	return func() {
		cancel()
		looking.Wait()
		w.keep()
		for _, role := range []subjects.Role{subjects.RoleManager, subjects.RoleServer, subjects.RoleGateway} {
			w.judge(role, time.Since(w.began))
		}
	}
}

// look notes what a process uses, if it counts.
func (w *watcher) look(ctx context.Context, name, addr string, pid int) {
	p := w.known[pid]
	if p == nil {
		p = &process{born: time.Now()}
		w.known[pid] = p
	}
	u, err := w.r.look(ctx, addr, pid)
	if err != nil { // it is paused, or cut off
		return
	}
	if p.full = p.full || u.full; !p.full || time.Since(p.born) < grownUp {
		return
	}
	if p.looks%heapEvery == 0 {
		which := "last"
		if p.looks == 0 {
			which = "first"
		}
		path := filepath.Join(w.r.o.Dir, fmt.Sprintf("heap-%s-%d-%s.pb.gz", name, pid, which))
		if u.heap, err = w.r.heap(ctx, addr, pid, path); err != nil {
			return
		}
	}
	p.looks++
	u.round, u.at = w.round, time.Since(w.began)
	w.seen[name] = append(w.seen[name], u)
}

// keep leaves all that was seen beside the logs.
func (w *watcher) keep() {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(w.seen)) {
		for _, u := range w.seen[name] {
			fmt.Fprintf(&b, "%s\t%.0f\t%d\t%d\t%d\n", name, u.at.Seconds(), u.memory, u.heap, u.goroutines)
		}
	}
	w.r.keep("use.tsv", b.String())
}

// judge compares what all processes of a role used in the halves of the run: of all
// together, since clients choose among gateways as they like.
func (w *watcher) judge(role subjects.Role, lasted time.Duration) {
	r, layout := w.r, w.r.cluster.Layout()
	var heap trend
	var nodes [][]use
	for _, n := range layout.Of(role) {
		nodes = append(nodes, w.seen[n.Name])
		heap.add(halves(w.seen[n.Name], lasted, func(u use) int64 { return u.heap }))
	}
	all := together(nodes)
	memory := halves(all, lasted, func(u use) int64 { return u.memory })
	goroutines := halves(all, lasted, func(u use) int64 { return u.goroutines })
	text := fmt.Sprintf("%ss: memory %s, heap %s, goroutines %s", role, memory.in(1<<20, " MiB"), heap.in(1<<20, " MiB"), goroutines.in(1, ""))
	r.result.Use = append(r.result.Use, text)
	if memory.grew(slackBytes) || heap.grew(slackHeap) || goroutines.grew(slackOthers) || memory.seen == 0 || heap.seen == 0 {
		r.problem("leak", "%s", text)
	}
}

// together sums what nodes used in each round in which all of them counted. Sums of
// what each used at other times would tell of clients that went from one to another.
func together(nodes [][]use) (sums []use) {
	seen := map[int]int{}
	sum := map[int]use{}
	for _, uses := range nodes {
		for _, u := range uses {
			s := sum[u.round]
			seen[u.round]++
			sum[u.round] = use{round: u.round, at: u.at, memory: s.memory + u.memory, goroutines: s.goroutines + u.goroutines}
		}
	}
	for _, round := range slices.Sorted(maps.Keys(sum)) {
		if seen[round] == len(nodes) {
			sums = append(sums, sum[round])
		}
	}
	return sums
}

// trend is what was used in the first and in the second half.
type trend struct {
	first, second int64
	seen          int
}

func (t *trend) add(o trend) {
	t.first, t.second, t.seen = t.first+o.first, t.second+o.second, t.seen+o.seen
}

func (t trend) grew(slack int64) bool {
	return float64(t.second) > growth*float64(t.first) && t.second > t.first+slack
}

func (t trend) in(unit float64, name string) string {
	more := 100 * (float64(t.second)/max(1, float64(t.first)) - 1)
	return fmt.Sprintf("%.1f%s and then %.1f%s (%+.1f%%, seen %d times)", float64(t.first)/unit, name, float64(t.second)/unit, name, more, t.seen)
}

// halves takes the middle of all that was seen of a node in each half of a run,
// once it was warm; 0 is nothing seen. A node that was not seen in both does not count.
func halves(uses []use, lasted time.Duration, of func(use) int64) trend {
	from := lasted / warmUp
	middle := from + (lasted-from)/2
	var first, second []int64
	for _, u := range uses {
		switch {
		case u.at < from || of(u) == 0:
		case u.at < middle:
			first = append(first, of(u))
		default:
			second = append(second, of(u))
		}
	}
	if len(first) == 0 || len(second) == 0 {
		return trend{}
	}
	slices.Sort(first)
	slices.Sort(second)
	return trend{first[len(first)/2], second[len(second)/2], len(first) + len(second)}
}
