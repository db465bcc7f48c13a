package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/etolabo/kumofs/kumoctl/loadgen"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

const (
	lookEvery = 5 * time.Second
	// grownUp is the age from which on a process counts: before, it fills caches.
	grownUp = 90 * time.Second
	// warmUp is the part of a run that is not looked at.
	warmUp = 6
	// growth is by how much the second half of the rest may be above the first: a
	// twentieth, or what the garbage collector makes of it.
	growth      = 1.05
	slackBytes  = 4 << 20
	slackOthers = 3
)

// use is what one process had at one time.
type use struct {
	at         time.Duration // since the run began
	memory     int64         // of its own, bytes
	goroutines int64
}

// ports gives every daemon an HTTP port, where it tells of its goroutines, and
// servers so little memory that what they keep of it is full before the run is.
func ports() (options []testenv.Option) {
	for _, role := range []subjects.Role{subjects.RoleManager, subjects.RoleServer, subjects.RoleGateway} {
		options = append(options, testenv.Args(role, "--http", "0"))
	}
	return append(options, testenv.Args(subjects.RoleServer, "--memory", "24"))
}

// watch looks at all daemons until the function that it returns is called, which
// judges what they used.
func (r *run) watch() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	seen := map[string][]use{} // by node
	births := map[int]time.Time{}
	var looking sync.WaitGroup
	looking.Go(func() { r.fill(ctx) })
	looking.Go(func() {
		for pause(ctx, lookEvery) {
			for _, n := range r.cluster.Layout().Nodes {
				pid := r.cluster.PID(n.Name)
				if pid == 0 {
					continue
				}
				if births[pid].IsZero() {
					births[pid] = time.Now()
				}
				if time.Since(births[pid]) < grownUp {
					continue
				}
				if u, err := r.look(ctx, n.Addr, pid); err == nil {
					u.at = time.Since(began)
					seen[n.Name] = append(seen[n.Name], u)
				}
			}
		}
	})
	return func() {
		cancel()
		looking.Wait()
		layout := r.cluster.Layout()
		for _, role := range []subjects.Role{subjects.RoleManager, subjects.RoleServer, subjects.RoleGateway} {
			// Of all together, since clients choose among gateways as they like.
			var memory, goroutines trend
			for _, n := range layout.Of(role) {
				memory.add(halves(seen[n.Name], time.Since(began), func(u use) int64 { return u.memory }))
				goroutines.add(halves(seen[n.Name], time.Since(began), func(u use) int64 { return u.goroutines }))
			}
			text := fmt.Sprintf("%ss: memory %s, goroutines %s", role, memory.in(1<<20, " MiB"), goroutines.in(1, ""))
			r.result.Use = append(r.result.Use, text)
			if memory.grew(slackBytes) || goroutines.grew(slackOthers) || memory.seen == 0 {
				r.problem("leak", "%s", text)
			}
		}
	}
}

// fill keeps the servers' caches full, beside the clients, whose few keys would take
// a day for that: 30 MB of values, of which each primary keeps what it has room for.
func (r *run) fill(ctx context.Context) {
	layout := r.cluster.Layout()
	gateways := layout.Addrs(subjects.RoleGateway)
	for i := 0; ctx.Err() == nil; i++ {
		o := loadgen.Defaults()
		o.Addr, o.Keys, o.Connections, o.Rate, o.Sets = gateways[i%len(gateways)], 30_000, 4, 300, 0.1
		o.Fill, o.Time, o.Warmup = i == 0, 20*time.Second, 0
		loadgen.Run(ctx, o) // what fails in trouble is for the clients to judge
		pause(ctx, redial)
	}
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
	return fmt.Sprintf("%.1f%s and then %.1f%s (seen %d times)", float64(t.first)/unit, name, float64(t.second)/unit, name, t.seen)
}

// halves takes the middle of all that was seen of a node in each half of a run,
// once it was warm. A node that was not seen in both does not count.
func halves(uses []use, lasted time.Duration, of func(use) int64) trend {
	from := lasted / warmUp
	middle := from + (lasted-from)/2
	var first, second []int64
	for _, u := range uses {
		switch {
		case u.at < from:
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

var goroutines = regexp.MustCompile(`(?m)^go_goroutines (\S+)$`)

// look asks a process. One that is paused, or cut off, does not answer.
func (r *run) look(ctx context.Context, addr string, pid int) (u use, err error) {
	short, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	if u.memory, err = ownMemory(pid); err != nil {
		return u, err
	}
	st, err := r.cluster.Admin().Status(short)
	if err != nil {
		return u, err
	}
	i := slices.IndexFunc(st.Nodes, func(n subjects.NodeStatus) bool {
		return n.PID == pid && (n.Addr == addr || slices.Contains(n.Listen, addr))
	})
	if i < 0 || st.Nodes[i].HTTP == "" {
		return u, errors.New("no HTTP port known")
	}
	// A gateway tells the machine's name, which is not that of its namespace.
	host, _, _ := net.SplitHostPort(addr)
	_, port, _ := net.SplitHostPort(st.Nodes[i].HTTP)
	req, err := http.NewRequestWithContext(short, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/metrics", nil)
	if err != nil {
		return u, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return u, err
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		return u, err
	}
	m := goroutines.FindSubmatch(page)
	if m == nil {
		return u, errors.New("it does not tell of goroutines")
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	u.goroutines = int64(n)
	return u, err
}

// ownMemory is what a process has in memory that is not a file's.
func ownMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("no RssAnon in its status")
}
