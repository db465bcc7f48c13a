package testenv_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/testenv"
)

// family is a metric: its type, and the values of each of its labels.
type family struct {
	kind   string
	labels map[string]map[string]bool
}

// page returns what an HTTP port answers.
func page(t *testing.T, addr, path string) (code int, text string) {
	t.Helper()
	r, err := http.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// scrape returns what a daemon tells Prometheus.
func scrape(t *testing.T, addr string) map[string]*dto.MetricFamily {
	t.Helper()
	code, text := page(t, addr, "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil || code != http.StatusOK {
		t.Fatalf("%s: %d, %v", addr, code, err)
	}
	if strings.Contains(text, "secret-key") {
		t.Errorf("%s tells of a key", addr)
	}
	return all
}

// value sums a metric over all labels that fit, given as name=value; of a
// histogram it is the count.
func value(all map[string]*dto.MetricFamily, name string, labels ...string) (sum float64) {
	for _, m := range all[name].GetMetric() {
		fits := true
		for _, l := range labels {
			fits = fits && slices.ContainsFunc(m.GetLabel(), func(p *dto.LabelPair) bool { return p.GetName()+"="+p.GetValue() == l })
		}
		if fits {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// ports are the HTTP ports of the nodes by name, once all have told theirs.
func ports(t *testing.T, c *testenv.Cluster) map[string]string {
	t.Helper()
	found := map[string]string{}
	c.Eventually("all nodes tell of their HTTP ports", func() bool {
		st, err := c.Admin().Status(t.Context())
		if err != nil {
			return false
		}
		l := c.Layout()
		for _, n := range l.Nodes {
			i := slices.IndexFunc(st.Nodes, func(s subjects.NodeStatus) bool {
				return s.Role == n.Role && s.State != "down" && (s.Addr == n.Addr || slices.Contains(s.Listen, n.Addr))
			})
			if i < 0 || st.Nodes[i].HTTP == "" {
				return false
			}
			found[n.Name] = st.Nodes[i].HTTP
		}
		return true
	})
	return found
}

// All daemons of a cluster tell what is the matter, and what the documentation,
// the dashboard and the alert rules say is what they tell.
func TestMetrics(t *testing.T) {
	// A partition has more entries than a new copy takes from the log. Reads from
	// another process come in frames.
	const parts, keys = 2, 700
	c := testenv.New(t, testenv.Processes(), testenv.Partitions(parts), testenv.Args(subjects.RoleServer, "--http", "0"), testenv.Args(subjects.RoleGateway, "--http", "127.0.0.1:0"))
	c.EventuallyWhole()
	for i := range keys {
		c.Set(fmt.Sprint("secret-key-", i), "value")
		c.Get(fmt.Sprint("secret-key-", i))
	}
	at := ports(t, c)
	names := slices.Sorted(maps.Keys(at))
	for _, n := range names {
		c.Eventually(n+" is ready", func() bool { code, _ := page(t, at[n], "/readyz"); return code == http.StatusOK })
		if code, text := page(t, at[n], "/healthz"); code != http.StatusOK {
			t.Errorf("%s: %d %s", n, code, text)
		}
		if code, text := page(t, at[n], "/statusz"); code != http.StatusOK || !json.Valid([]byte(text)) {
			t.Errorf("%s: %d %s", n, code, text)
		}
		if code, _ := page(t, at[n], "/debug/pprof/"); code != http.StatusNotFound {
			t.Errorf("%s shows profiles, which nobody asked for: %d", n, code)
		}
	}
	t.Run("counts", func(t *testing.T) { counts(t, c, at, parts, keys) })
	told := families(t, at, names)
	t.Run("documentation", func(t *testing.T) { documented(t, told) })
	t.Run("dashboard", func(t *testing.T) { used(t, told, "../docs/deploy/grafana.json") })
	t.Run("alerts", func(t *testing.T) { used(t, told, "../docs/deploy/alerts.yml") })
	t.Run("a server is lost", func(t *testing.T) { lost(t, c, at, parts) })
	http.DefaultClient.CloseIdleConnections()
}

// counts holds what is told against what was done.
func counts(t *testing.T, c *testenv.Cluster, at map[string]string, parts, keys float64) {
	g := scrape(t, at["gateway1"])
	for _, tt := range []struct {
		name, label string
		want        float64
	}{
		{"kumofs_gateway_requests_total", "command=set", keys}, {"kumofs_gateway_requests_total", "command=get", keys},
		{"kumofs_gateway_hits_total", "command=get", keys}, {"kumofs_gateway_errors_total", "reason=outcome_unknown", 0},
		{"kumofs_gateway_operation_duration_seconds", "operation=read", keys}, {"kumofs_gateway_operation_duration_seconds", "operation=write", keys},
	} {
		// Whoever waited for the gateway has asked it for a key, too.
		asked := float64(0)
		if tt.label == "command=get" || tt.label == "operation=read" {
			asked = 9
		}
		if got := value(g, tt.name, tt.label); got < tt.want || got > tt.want+asked {
			t.Errorf("%s %s: %v, want %v", tt.name, tt.label, got, tt.want)
		}
	}
	sum := func(name string, labels ...string) (sum float64) {
		for _, n := range c.Names(subjects.RoleServer) {
			sum += value(scrape(t, at[n]), name, labels...)
		}
		return sum
	}
	for name, least := range map[string]float64{
		"kumofs_server_operations_total": 2 * keys, "kumofs_server_read_frame_duration_seconds": 1, "kumofs_server_commit_duration_seconds": 1,
		"kumofs_server_log_write_duration_seconds": 1, "kumofs_server_turn_duration_seconds": 1, "kumofs_server_log_bytes": 1,
		"kumofs_server_data_file_bytes": 1, "kumofs_server_unapplied_bound_bytes": 1, "kumofs_bus_frames_total": 1,
	} {
		if got := sum(name); got < least {
			t.Errorf("%s of all servers: %v, want %v at least", name, got, least)
		}
	}
	c.Eventually("values are in the data files, and synced", func() bool {
		return sum("kumofs_server_items") == 3*keys && sum("kumofs_server_unapplied_entries") == 0 &&
			sum("kumofs_server_apply_duration_seconds") > 0 && sum("kumofs_server_log_sync_duration_seconds") > 0
	})
	c.Eventually("every partition has its primary, its copies and its leases", func() bool {
		return sum("kumofs_server_partitions", "role=primary") == parts && sum("kumofs_server_partitions", "role=in_sync") == 3*parts &&
			sum("kumofs_server_leases") == parts && sum("kumofs_server_in_sync_replicas_missing") == 0 && sum("kumofs_server_epoch_max") > 0
	})
	c.Eventually("the manager tells of a healthy cluster", func() bool {
		m := scrape(t, at["manager1"])
		return value(m, "kumofs_cluster_partitions", "state=full") == parts && value(m, "kumofs_cluster_nodes", "role=server", "state=up") == 3 &&
			value(m, "kumofs_manager_leads") == 1 && value(m, "kumofs_cluster_alarms") == 0 && value(m, "kumofs_bus_routes") == 3
	})
}

// lost holds what is told against a server that is gone, and one that is new.
func lost(t *testing.T, c *testenv.Cluster, at map[string]string, parts float64) {
	c.Stop("server3")
	c.Eventually("copies are missing", func() bool {
		m := scrape(t, at["manager1"])
		return value(m, "kumofs_cluster_nodes", "role=server", "state=down") == 1 && value(m, "kumofs_cluster_partitions", "state=degraded") == parts &&
			value(m, "kumofs_cluster_alarms") > 0 &&
			value(scrape(t, at["server1"]), "kumofs_server_in_sync_replicas_missing")+value(scrape(t, at["server2"]), "kumofs_server_in_sync_replicas_missing") == parts
	})
	if value(scrape(t, at["server1"]), "kumofs_server_epoch_changes_total") == 0 {
		t.Error("no epoch has changed")
	}
	c.Start("server3")
	c.SetArgs(subjects.RoleServer, "--http", "0", "-t", "127.0.0.1:0")
	fresh := c.AddServer() // which takes clients, too
	at = ports(t, c)
	c.Eventually("a new server is not ready", func() bool {
		code, text := page(t, at[fresh], "/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "attach") && value(scrape(t, at[fresh]), "kumofs_ready") == 0
	})
	c.Attach()
	c.Eventually("it is ready", func() bool { code, _ := page(t, at[fresh], "/readyz"); return code == http.StatusOK })
	c.EventuallyWhole()
	both := scrape(t, at[fresh])
	if value(both, "kumofs_build_info", "role=server") != 1 || both["kumofs_server_items"] == nil || both["kumofs_gateway_connections"] == nil ||
		value(both, "kumofs_bus_connected", "role=gateway") != 1 || value(both, "kumofs_bus_connected", "role=server") != 1 {
		t.Errorf("a server that takes clients tells only of %v", slices.Sorted(maps.Keys(both)))
	}
	moved := func() (sum float64) {
		for _, n := range c.Names(subjects.RoleServer) {
			sum += value(scrape(t, at[n]), "kumofs_server_moved_bytes_total")
		}
		return sum
	}
	if moved() == 0 {
		t.Error("copies were made, and no bytes moved")
	}
}

// families are all metrics of our own that the daemons tell.
func families(t *testing.T, at map[string]string, nodes []string) map[string]*family {
	t.Helper()
	told := map[string]*family{"up": {kind: "gauge"}} // Prometheus's own
	for _, n := range nodes {
		for name, f := range scrape(t, at[n]) {
			if told[name] == nil {
				told[name] = &family{kind: strings.ToLower(f.GetType().String()), labels: map[string]map[string]bool{}}
			}
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if told[name].labels[l.GetName()] == nil {
						told[name].labels[l.GetName()] = map[string]bool{}
					}
					told[name].labels[l.GetName()][l.GetValue()] = true
				}
			}
		}
	}
	return told
}

var (
	docRow   = regexp.MustCompile("(?m)^\\| `(kumofs_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*) \\| ([^|]+) \\|$")
	docLabel = regexp.MustCompile("`([a-z]+)`(?:: ([a-z_, ]+))?")
)

// documented holds docs/metrics.md against what is told, both ways.
func documented(t *testing.T, told map[string]*family) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, row := range docRow.FindAllStringSubmatch(string(text), -1) {
		name, kind, labels := row[1], row[2], row[3]
		if rows[name] {
			t.Errorf("%s has two rows", name)
		}
		rows[name] = true
		f := told[name]
		if f == nil {
			t.Errorf("%s is documented, and nobody tells it", name)
			continue
		}
		if f.kind != kind {
			t.Errorf("%s is documented as a %s, and is a %s", name, kind, f.kind)
		}
		seen := map[string]bool{}
		for _, l := range docLabel.FindAllStringSubmatch(labels, -1) {
			seen[l[1]] = true
			if got := strings.Join(slices.Sorted(maps.Keys(f.labels[l[1]])), ", "); l[2] != "" && got != l[2] {
				t.Errorf("%s: label %s is documented as %s, and has %s", name, l[1], l[2], cmp.Or(got, "no value"))
			}
		}
		for l := range f.labels {
			if !seen[l] {
				t.Errorf("%s: label %s is not documented", name, l)
			}
		}
	}
	for name := range told {
		if strings.HasPrefix(name, "kumofs_") && !rows[name] {
			t.Errorf("%s is not documented in docs/metrics.md", name)
		}
	}
	if len(rows) < 80 {
		t.Errorf("only %d rows were found", len(rows))
	}
}

var (
	usedName  = regexp.MustCompile(`\b(kumofs|go|process)_[a-z0-9_]+|\bup\b`)
	usedLabel = regexp.MustCompile(`\b(kumofs_[a-z0-9_]+)\{([^}]*)\}`)
	matcher   = regexp.MustCompile(`([a-z]+)(=|!=|=~)"([^"]*)"`)
)

// used holds the metrics and labels that expressions name against what is told.
// What is no expression, such as a title, names none.
func used(t *testing.T, told map[string]*family, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	exprs := expressions(t, path, data)
	if len(exprs) < 20 {
		t.Fatalf("only %d expressions were found", len(exprs))
	}
	of := func(name string) *family {
		for _, end := range []string{"", "_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, end); ok && told[base] != nil && (end == "" || told[base].kind == "histogram") {
				return told[base]
			}
		}
		return nil
	}
	for _, e := range exprs {
		for _, name := range usedName.FindAllString(e, -1) {
			if of(name) == nil {
				t.Errorf("%s: nobody tells %s: %s", path, name, e)
			}
		}
		for _, u := range usedLabel.FindAllStringSubmatch(e, -1) {
			f := of(u[1])
			if f == nil {
				continue // told above
			}
			for _, m := range matcher.FindAllStringSubmatch(u[2], -1) {
				if m[1] == "instance" || m[1] == "job" {
					continue // Prometheus's own
				}
				for _, v := range strings.Split(m[3], "|") {
					if !f.labels[m[1]][v] {
						t.Errorf("%s: %s is told with no %s=%s: %s", path, u[1], m[1], v, e)
					}
				}
			}
		}
	}
}

// expressions are those of a dashboard's panels, or of alert rules, one to a line.
func expressions(t *testing.T, path string, data []byte) (exprs []string) {
	t.Helper()
	if strings.HasSuffix(path, ".yml") {
		for _, e := range regexp.MustCompile(`(?m)^\s+expr: (.*)$`).FindAllSubmatch(data, -1) {
			exprs = append(exprs, string(e[1]))
		}
		return exprs
	}
	var dashboard struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		if p.Type != "row" && (p.Title == "" || len(p.Targets) == 0) {
			t.Errorf("a panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	return exprs
}
