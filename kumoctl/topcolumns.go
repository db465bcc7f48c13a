package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/etolabo/kumofs/subjects"
)

// topRow is a server with its rates, or a gateway.
type topRow struct {
	Addr      string  `json:"addr"`
	Role      string  `json:"role"`
	State     string  `json:"state"`
	Get       uint64  `json:"get"`
	Set       uint64  `json:"set"`
	Delete    uint64  `json:"delete"`
	GetRate   float64 `json:"get_per_sec"`
	SetRate   float64 `json:"set_per_sec"`
	DelRate   float64 `json:"delete_per_sec"`
	QPS       float64 `json:"qps"`
	Items     uint64  `json:"items"`
	Time      int64   `json:"time"` // its clock, Unix milliseconds
	Clock     int64   `json:"clock_ms"`
	Epoch     uint64  `json:"epoch"`
	Primaries int     `json:"primaries"`
	Replicas  int     `json:"replicas"`
	Gaps      int     `json:"isr_gaps"`
	Copying   int     `json:"copying"`
	Sending   float64 `json:"moved_bytes_per_sec"`
	Lag       uint64  `json:"log_lag"` // entries
	Disk      uint64  `json:"disk_bytes"`
	Uptime    int64   `json:"uptime"`
	Zone      string  `json:"zone,omitempty"`
	*subjects.Took
	node subjects.NodeStatus
}

// topColumn is one column. Those of the highest rank are the last to go when the
// terminal is narrow.
type topColumn struct {
	title string
	rank  int
	text  func(topRow) string
	order func(a, b topRow) int
}

// numberColumn sorts largest first.
func numberColumn[T cmp.Ordered](title string, rank int, value func(topRow) T, text func(T) string) topColumn {
	return topColumn{
		title, rank,
		func(r topRow) string { return text(value(r)) },
		func(a, b topRow) int { return cmp.Compare(value(b), value(a)) },
	}
}

func textColumn(title string, rank int, value func(topRow) string) topColumn {
	return topColumn{title, rank, value, func(a, b topRow) int { return cmp.Compare(value(a), value(b)) }}
}

// topColumns are kumotop's in its order, and ours between.
var topColumns = []topColumn{
	textColumn("ADDRESS", 100, func(r topRow) string { return r.Addr }),
	textColumn("STATUS", 99, func(r topRow) string { return r.State }),
	numberColumn("#GET", 20, func(r topRow) uint64 { return r.Get }, short),
	numberColumn("#SET", 19, func(r topRow) uint64 { return r.Set }, short),
	numberColumn("#DEL", 18, func(r topRow) uint64 { return r.Delete }, short),
	numberColumn("GET/S", 90, func(r topRow) float64 { return r.GetRate }, short),
	numberColumn("SET/S", 89, func(r topRow) float64 { return r.SetRate }, short),
	numberColumn("DEL/S", 60, func(r topRow) float64 { return r.DelRate }, short),
	numberColumn("QPS", 95, func(r topRow) float64 { return r.QPS }, short),
	numberColumn("ITEMS", 85, func(r topRow) uint64 { return r.Items }, short),
	numberColumn("PRIM", 84, func(r topRow) int { return r.Primaries }, strconv.Itoa),
	numberColumn("GAPS", 83, func(r topRow) int { return r.Gaps }, strconv.Itoa),
	numberColumn("COPY", 50, func(r topRow) int { return r.Copying }, strconv.Itoa),
	numberColumn("SENT/S", 40, func(r topRow) float64 { return r.Sending }, func(f float64) string { return size(uint64(f)) }),
	numberColumn("LAG", 70, func(r topRow) uint64 { return r.Lag }, short),
	numberColumn("EPOCH", 55, func(r topRow) uint64 { return r.Epoch }, short),
	numberColumn("DISK", 45, func(r topRow) uint64 { return r.Disk }, size),
	numberColumn("CLOCK", 30, func(r topRow) int64 { return r.Clock }, func(ms int64) string { return fmt.Sprintf("%+dms", ms) }),
	numberColumn("TIME", 25, func(r topRow) int64 { return r.Time }, clockTime),
	numberColumn("UPTIME", 22, func(r topRow) int64 { return r.Uptime }, uptime),
}

// gatewayColumns are those of gateways, which are listed below the servers.
var gatewayColumns = []topColumn{
	textColumn("GATEWAY", 100, func(r topRow) string { return r.Addr }),
	textColumn("STATUS", 99, func(r topRow) string { return r.State }),
	numberColumn("GET/S", 80, func(r topRow) float64 { return r.GetRate }, short),
	numberColumn("SET/S", 79, func(r topRow) float64 { return r.SetRate }, short),
	numberColumn("DEL/S", 60, func(r topRow) float64 { return r.DelRate }, short),
	numberColumn("QPS", 85, func(r topRow) float64 { return r.QPS }, short),
	numberColumn("READ p50", 93, func(r topRow) int64 { return r.Read50 }, microseconds),
	numberColumn("p99", 95, func(r topRow) int64 { return r.Read99 }, microseconds),
	numberColumn("WRITE p50", 92, func(r topRow) int64 { return r.Write50 }, microseconds),
	numberColumn("p99", 94, func(r topRow) int64 { return r.Write99 }, microseconds),
	numberColumn("UPTIME", 22, func(r topRow) int64 { return r.Uptime }, uptime),
}

// microseconds prints a time that is known to a factor of two; 0: nothing took any.
func microseconds(us int64) string {
	d := time.Duration(us) * time.Microsecond
	switch {
	case us == 0:
		return "-"
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", us)
	case d < time.Second:
		return fmt.Sprintf("%.3gms", float64(us)/1e3)
	}
	return fmt.Sprintf("%.3gs", d.Seconds())
}

func clockTime(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).Format("15:04:05")
}

// short prints a number with four digits at most.
func short[T uint64 | float64](n T) string {
	f := float64(n)
	if f < 9999.5 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	for _, unit := range []string{"k", "M", "G"} {
		if f /= 1000; f < 999.95 {
			return strconv.FormatFloat(f, 'f', 1, 64) + unit
		}
	}
	return strconv.FormatFloat(f/1000, 'f', 1, 64) + "T"
}

// topColumnNamed finds a column by its title, and tells which there are.
func topColumnNamed(title string) (int, error) {
	var have []string
	for i, c := range topColumns {
		if strings.EqualFold(c.title, title) {
			return i, nil
		}
		have = append(have, strings.ToLower(c.title))
	}
	return 0, fmt.Errorf("--sort %s: no such column; there are %s", title, strings.Join(have, ", "))
}
