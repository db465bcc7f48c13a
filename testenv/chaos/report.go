package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Result is what is left of a run.
type Result struct {
	Seed       uint64        `json:"seed"`
	Shape      string        `json:"shape"`
	Duration   time.Duration `json:"duration"`
	Nemeses    map[Kind]int  `json:"nemeses"`
	Operations int64         `json:"operations"`
	Unknown    int64         `json:"unknown"` // writes whose outcome nobody knows
	Refused    int64         `json:"refused"` // operations of which it is known that nothing was done
	Undecided  int           `json:"undecided"`
	Longest    time.Duration `json:"longest"`       // that an answer took
	Silence    time.Duration `json:"silence"`       // in which nobody was answered
	Healing    time.Duration `json:"healing"`       // from the last nemesis until all was in sync
	Use        []string      `json:"use,omitempty"` // what the daemons used, by role
	Verdict    string        `json:"verdict"`       // "" is well
	Problems   []string      `json:"problems,omitempty"`
}

func (s Shape) String() string {
	text := fmt.Sprintf("%d+%d+%d", s.Managers, s.Servers, s.Gateways)
	if !s.Net {
		text += ", no cuts"
	}
	return text
}

// Row is the result as a line of the table of all runs.
func (r *Result) Row(date time.Time, commit string) string {
	var nemeses []string
	for k, n := range r.Nemeses {
		nemeses = append(nemeses, fmt.Sprint(k, " ", n))
	}
	slices.Sort(nemeses)
	verdict := r.Verdict
	if verdict == "" {
		verdict = "well"
	}
	return fmt.Sprintf("| %s | %s | %d | %s | %s | %s | %d | %d | %d | %.1f s | %.1f s | %.1f s | %s |",
		date.UTC().Format("2006-01-02 15:04"), commit, r.Seed, r.Shape, r.Duration.Round(time.Second), strings.Join(nemeses, ", "),
		r.Operations, r.Unknown, r.Undecided, r.Longest.Seconds(), r.Silence.Seconds(), r.Healing.Seconds(), verdict)
}

const tableHead = `# Chaos

Runs of ` + "`task chaos`" + `: clients on a cluster of real processes, under nemeses drawn from the seed. The nodes are managers + servers + gateways. *Unknown* are writes whose outcome the client was not told, *undecided* keys whose history took too long to check, *longest* is the longest time that an answer took (a minute's SIGSTOP and the death of all servers at once included), *silence* the longest time in which no client was answered, *healing* the time from the end of the last nemesis until every copy was in sync.

| date | commit | seed | nodes | lasted | nemeses | operations | unknown | undecided | longest | silence | healing | verdict |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
`

// AppendRow adds a row to the table in a file, which is begun if it is not there.
func AppendRow(path, row string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make a folder for results: %w", err)
		}
		row = tableHead + row
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the table of results: %w", err)
	}
	_, err = fmt.Fprintln(f, row)
	return errors.Join(err, f.Close())
}

// save writes the result where LoadResult reads it.
func (r *Result) save(path string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	return os.WriteFile(path, data, 0o644)
}

// LoadResult reads the result of a run. There is none if the cluster did not
// come up.
func LoadResult(path string) (*Result, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	return r, json.Unmarshal(data, r)
}

// report tells how the run went, and on failure all that helps to see why.
func (r *run) report() {
	res := r.result
	r.t.Logf("seed %d, %s: %d operations in %s (%.0f/s), %d unknown, %d refused, %d undecided, longest %s, silent for %s, healed after %s: %s",
		res.Seed, res.Shape, res.Operations, res.Duration.Round(time.Millisecond), float64(res.Operations)/res.Duration.Seconds(),
		res.Unknown, res.Refused, res.Undecided, res.Longest.Round(time.Millisecond), res.Silence.Round(time.Millisecond), res.Healing.Round(time.Millisecond),
		map[bool]string{true: "well", false: res.Verdict}[res.Verdict == ""])
	for _, line := range res.Use {
		r.t.Logf("seed %d; %s", res.Seed, line)
	}
	timeline := strings.Join(slices.Sorted(slices.Values(append(r.nemeses.timeline, r.clients.silences...))), "\n") + "\n"
	r.t.Logf("seed %d; what was done:\n%s", res.Seed, timeline)
	r.keep("timeline.txt", timeline)
	if res.Verdict != "" || res.Undecided > 0 || r.o.Leave || r.t.Failed() {
		r.t.Logf("logs, timeline and histories are in %s", r.o.Dir)
	}
}
