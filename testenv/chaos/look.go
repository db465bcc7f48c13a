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

	"github.com/etolabo/kumofs/subjects"
)

// look asks a process. One that is paused, or cut off, does not answer.
func (r *run) look(ctx context.Context, addr string, pid int) (u use, err error) {
	if u.memory, err = ownMemory(pid); err != nil {
		return u, err
	}
	page, err := r.page(ctx, addr, pid, "/metrics")
	if err != nil {
		return u, err
	}
	goroutines, err := number(page, "go_goroutines")
	if err != nil {
		return u, err
	}
	u.goroutines = int64(goroutines)
	u.full = true
	for name, bound := range map[string]float64{"kumofs_server_log_bytes": retained, "kumofs_server_cached_bytes": 0} {
		n, err := number(page, name)
		if err != nil {
			break // it is no server
		}
		if bound == 0 {
			if bound, err = number(page, "kumofs_server_cached_bound_bytes"); err != nil {
				return u, err
			}
		}
		u.full = u.full && n >= full*bound
	}
	return u, nil
}

// heap has a process collect, keeps a profile of what is left, and returns how many
// bytes that is.
func (r *run) heap(ctx context.Context, addr string, pid int, path string) (int64, error) {
	text, err := r.page(ctx, addr, pid, "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return 0, err
	}
	n, err := number(text, "# HeapAlloc =")
	if err != nil {
		return 0, err
	}
	profile, err := r.page(ctx, addr, pid, "/debug/pprof/heap")
	if err != nil {
		return 0, err
	}
	return int64(n), os.WriteFile(path, profile, 0o644)
}

// page gets what a process shows at its HTTP port.
func (r *run) page(ctx context.Context, addr string, pid int, path string) ([]byte, error) {
	short, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	st, err := r.cluster.Admin().Status(short)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(st.Nodes, func(n subjects.NodeStatus) bool {
		return n.PID == pid && (n.Addr == addr || slices.Contains(n.Listen, addr))
	})
	if i < 0 || st.Nodes[i].HTTP == "" {
		return nil, errors.New("no HTTP port known")
	}
	// A gateway tells the machine's name, which is not that of its namespace.
	host, _, _ := net.SplitHostPort(addr)
	_, port, _ := net.SplitHostPort(st.Nodes[i].HTTP)
	req, err := http.NewRequestWithContext(short, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // a compressor takes a megabyte
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, res.Status)
	}
	return io.ReadAll(res.Body)
}

// number is what a page says behind a name at the beginning of a line.
func number(page []byte, name string) (float64, error) {
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(page)
	if m == nil {
		return 0, fmt.Errorf("it does not tell of %s", name)
	}
	return strconv.ParseFloat(string(m[1]), 64)
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
