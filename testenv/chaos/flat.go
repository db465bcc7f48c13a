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
	// twentieth, and what the garbage collector makes of it.
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

// ports gives every daemon an HTTP port, where it tells of its goroutines.
func ports() (options []testenv.Option) {
	for _, role := range []subjects.Role{subjects.RoleManager, subjects.RoleServer, subjects.RoleGateway} {
		options = append(options, testenv.Args(role, "--http", "0"))
	}
	return options
}

// watch looks at all daemons until the function that it returns is called, which
// judges what they used.
func (r *run) watch() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	seen := map[subjects.Role][]use{}
	births := map[int]time.Time{}
	var looking sync.WaitGroup
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
					seen[n.Role] = append(seen[n.Role], u)
				}
			}
		}
	})
	return func() {
		cancel()
		looking.Wait()
		for _, role := range []subjects.Role{subjects.RoleManager, subjects.RoleServer, subjects.RoleGateway} {
			uses := seen[role]
			memory := judge(uses, time.Since(began), slackBytes, func(u use) int64 { return u.memory })
			goroutines := judge(uses, time.Since(began), slackOthers, func(u use) int64 { return u.goroutines })
			r.result.Use = append(r.result.Use, fmt.Sprintf("%s: memory %s, goroutines %s", role, memory.in(1<<20, " MiB"), goroutines.in(1, "")))
			if memory.grew || goroutines.grew || memory.seen == 0 {
				r.problem("leak", "%s", r.result.Use[len(r.result.Use)-1])
			}
		}
	}
}

// trend is what was used in the first and in the second half, in the middle of
// all that was seen.
type trend struct {
	first, second int64
	seen          int
	grew          bool
}

func (t trend) in(unit float64, name string) string {
	return fmt.Sprintf("%.1f%s and then %.1f%s (seen %d times)", float64(t.first)/unit, name, float64(t.second)/unit, name, t.seen)
}

func judge(uses []use, lasted time.Duration, slack int64, of func(use) int64) trend {
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
	t := trend{seen: len(first) + len(second)}
	if len(first) == 0 || len(second) == 0 {
		return t
	}
	slices.Sort(first)
	slices.Sort(second)
	t.first, t.second = first[len(first)/2], second[len(second)/2]
	t.grew = float64(t.second) > growth*float64(t.first) && t.second > t.first+slack
	return t
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
