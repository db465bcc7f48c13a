package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/etolabo/kumofs/subjects"
)

// topModel is what top shows: the newest status, rates since the one before, and
// what the keys have chosen.
type topModel struct {
	ask   func() (*subjects.ClusterStatus, error)
	every time.Duration

	st    *subjects.ClusterStatus
	err   error             // of the last look
	rates map[string]topRow // by name, of servers: what there was to compare with, and the rates
	gates map[string]topRow // by ID, of gateways: likewise

	width, height int
	sort          int // index in topColumns
	reverse       bool
	chosen        string // name of a server
	detail        bool
}

func newTopModel(order string) (*topModel, error) {
	i, err := topColumnNamed(order)
	return &topModel{sort: i, rates: map[string]topRow{}, gates: map[string]topRow{}, width: 80, height: 24}, err
}

// looked brings a status, or the error that came instead.
type looked struct {
	st  *subjects.ClusterStatus
	err error
}

// lookNow says that it is time to look again.
type lookNow struct{}

// Init implements tea.Model.
func (m *topModel) Init() tea.Cmd { return m.look }

func (m *topModel) look() tea.Msg {
	st, err := m.ask()
	return looked{st, err}
}

// Update implements tea.Model.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case looked:
		if m.err = msg.err; msg.err == nil {
			m.take(msg.st)
		}
		return m, tea.Tick(m.every, func(time.Time) tea.Msg { return lookNow{} })
	case lookNow:
		return m, m.look
	case tea.KeyPressMsg:
		return m, m.key(msg.String())
	}
	return m, nil
}

func (m *topModel) key(k string) tea.Cmd {
	switch k {
	case "q", "ctrl+c":
		return tea.Quit
	case "esc":
		m.detail = false
	case "enter":
		m.detail = !m.detail && len(m.rows()) > 0
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "right", "l":
		m.sort = (m.sort + 1) % len(topColumns)
	case "left", "h":
		m.sort = (m.sort + len(topColumns) - 1) % len(topColumns)
	case "r":
		m.reverse = !m.reverse
	}
	return nil
}

// move chooses another server.
func (m *topModel) move(by int) {
	rows := m.rows()
	if len(rows) > 0 {
		m.chosen = rows[min(max(m.cursor(rows)+by, 0), len(rows)-1)].node.Name
	}
}

// cursor is the row of the chosen server; the first if it is gone.
func (m *topModel) cursor(rows []topRow) int {
	return max(0, slices.IndexFunc(rows, func(r topRow) bool { return r.node.Name == m.chosen }))
}

// take notes a status and what has changed since the one before.
func (m *topModel) take(st *subjects.ClusterStatus) {
	rates, gates := map[string]topRow{}, map[string]topRow{}
	for _, n := range st.Nodes {
		switch n.Role {
		case subjects.RoleServer:
			rates[n.Name] = rated(n, m.rates[n.Name])
		case subjects.RoleGateway:
			r := rated(n, m.gates[n.ID.String()])
			if len(n.Listen) > 0 {
				r.Addr = n.Listen[0]
			}
			if r.Took = new(subjects.Took); n.State != stateDown {
				*r.Took = n.Load.Took
			}
			gates[n.ID.String()] = r
		}
	}
	m.st, m.rates, m.gates = st, rates, gates
}

// rated makes a row of a server. Rates are by its own clock, since the heartbeat
// that was seen last; without a newer one they stay.
func rated(n subjects.NodeStatus, was topRow) topRow {
	l := n.Load
	r := topRow{
		Addr: n.Addr, Role: string(n.Role), State: n.State, Get: l.Get, Set: l.Set, Delete: l.Delete, Items: l.Items, Time: n.Time, Clock: n.Clock,
		Epoch: uint64(n.Epoch), Primaries: n.Primary, Replicas: n.Replica, Gaps: n.Gaps, Copying: n.Learner,
		Lag: l.Unapplied, Disk: l.Bytes, Uptime: n.Uptime, Zone: n.Zone, node: n,
	}
	switch passed := float64(n.Time-was.Time) / 1000; {
	case n.State == stateDown || n.Boot != was.node.Boot:
	case passed <= 0:
		r.GetRate, r.SetRate, r.DelRate, r.Sending = was.GetRate, was.SetRate, was.DelRate, was.Sending
	default:
		per := func(now, then uint64) float64 { return max(0, float64(now)-float64(then)) / passed }
		r.GetRate, r.SetRate, r.DelRate = per(l.Get, was.Get), per(l.Set, was.Set), per(l.Delete, was.Delete)
		r.Sending = per(l.MovedBytes, was.node.Load.MovedBytes)
	}
	r.QPS = r.GetRate + r.SetRate + r.DelRate
	return r
}

// rows are the servers in order.
func (m *topModel) rows() []topRow {
	rows := []topRow{}
	for _, r := range m.rates {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b topRow) int {
		c := topColumns[m.sort].order(a, b)
		if m.reverse {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.node.Name, b.node.Name))
	})
	return rows
}

// gateways are those that are up, by address.
func (m *topModel) gateways() []topRow {
	rows := []topRow{}
	for _, r := range m.gates {
		if r.State != stateDown {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b topRow) int { return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.node.ID, b.node.ID)) })
	return rows
}

// View implements tea.Model.
func (m *topModel) View() tea.View {
	v := tea.NewView(m.render())
	v.AltScreen, v.WindowTitle = true, "kumoctl top"
	return v
}

// render draws the screen: no line is wider than it, and no more lines are there.
func (m *topModel) render() string {
	var parts []string
	if m.err != nil {
		parts = append(parts, badStyle.Render("no answer: "+m.err.Error()))
	}
	switch {
	case m.st == nil && m.err == nil:
		parts = append(parts, "asking the managers…")
	case m.st == nil:
	case m.detail:
		rows := m.rows()
		parts = append(parts, m.details(rows[m.cursor(rows)]))
	default:
		parts = append(parts, m.summary(), m.list(strings.Count(strings.Join(parts, "\n"), "\n")+len(parts)))
	}
	lines := strings.Split(strings.Join(parts, "\n"), "\n")
	lines = lines[:min(len(lines), max(1, m.height-1))]
	for i := range lines {
		lines[i] = lipgloss.NewStyle().MaxWidth(m.width).Render(lines[i])
	}
	keys := "q quit  ↑↓ choose  enter details  ←→ sort by " + strings.ToLower(topColumns[m.sort].title) + "  r reverse"
	return strings.Join(append(lines, lipgloss.NewStyle().MaxWidth(m.width).Render(faintStyle.Render(keys))), "\n")
}

// maxTopAlarms is how many alarms are shown above the servers.
const maxTopAlarms = 3

// summary is what there is to say of the cluster.
func (m *topModel) summary() string {
	st, p := m.st, m.st.Partitions
	var qps float64
	for _, r := range m.rates {
		qps += r.QPS
	}
	lines := []string{
		fmt.Sprintf("%s: %s  leader %s  revision %d  %s operations/s", st.Cluster, healthStyle(st.Health).Render(st.Health), cmp.Or(st.Leader, "none"), st.Revision, short(qps)),
		fmt.Sprintf("%d partitions, %s  moves: %s", p.Total, partitionText(p), movesText(st)),
	}
	for i, a := range st.Alarms {
		if i == maxTopAlarms {
			lines = append(lines, badStyle.Render(fmt.Sprintf("%d more alarms: kumoctl status", len(st.Alarms)-i)))
			break
		}
		lines = append(lines, badStyle.Render(a))
	}
	return strings.Join(lines, "\n") + "\n"
}

// maxTopGateways is how many gateways are listed on a terminal, at most.
const maxTopGateways = 4

// list draws as many servers as fit below some lines, the chosen one among them, and
// some gateways.
func (m *topModel) list(above int) string {
	rows := m.rows()
	at := m.cursor(rows)
	gates := ""
	if most := min(maxTopGateways, m.height/6); most > 0 {
		gates = m.gatewayList(m.width, most)
	}
	room := max(1, m.height-above-strings.Count(m.summary(), "\n")-3-strings.Count(gates, "\n"))
	first := max(0, at-room+1)
	rows = rows[first:min(len(rows), first+room)]
	t := tableOf(topColumns, rows, m.width)
	plain := t.style
	t.style = func(row, col int) lipgloss.Style {
		if row == at-first {
			return plainStyle.Reverse(true)
		}
		return plain(row, col)
	}
	return t.render() + gates
}

// gatewayList draws gateways, most of them at most, 0: all; behind an empty line.
func (m *topModel) gatewayList(width, most int) string {
	rows := m.gateways()
	if len(rows) == 0 {
		return ""
	}
	more := ""
	if most > 0 && len(rows) > most {
		more = faintStyle.Render(fmt.Sprintf("\n%d more gateways: kumoctl status", len(rows)-most))
		rows = rows[:most]
	}
	return "\n\n" + tableOf(gatewayColumns, rows, width).render() + more
}

// tableOf has the columns that fit into a width, all if it is 0.
func tableOf(columns []topColumn, rows []topRow, width int) *grid {
	shown := make([]bool, len(columns))
	for i := range shown {
		shown[i] = true
	}
	for {
		t := topGrid(columns, rows, shown)
		if width == 0 || lipgloss.Width(t.render()) <= width {
			return t
		}
		worst := -1
		for i, c := range columns {
			if shown[i] && (worst < 0 || c.rank < columns[worst].rank) {
				worst = i
			}
		}
		if shown[worst] = false; columns[worst].rank >= columns[0].rank {
			return t
		}
	}
}

func topGrid(columns []topColumn, rows []topRow, shown []bool) *grid {
	t := &grid{}
	status := -1
	for i, c := range columns {
		if shown[i] {
			if c.title == "STATUS" {
				status = len(t.titles)
			}
			t.titles = append(t.titles, c.title)
		}
	}
	for _, r := range rows {
		var cells []string
		for i, c := range columns {
			if shown[i] {
				cells = append(cells, c.text(r))
			}
		}
		t.rows = append(t.rows, cells)
	}
	t.style = func(row, col int) lipgloss.Style {
		if col == status {
			return healthStyle(rows[row].State)
		}
		return plainStyle
	}
	return t
}

// details is all of one server.
func (m *topModel) details(r topRow) string {
	lines := []string{headStyle.Render(r.Addr) + "  " + healthStyle(r.State).Render(stateText(r.node)), ""}
	add := func(title, text string) { lines = append(lines, fmt.Sprintf("%-9s %s", title, text)) }
	half := (len(topColumns) + 1) / 2
	for i := 2; i < half+1; i++ {
		c := topColumns[i]
		line := fmt.Sprintf("%-9s %-14s", c.title, c.text(r))
		if j := i + half - 1; j < len(topColumns) {
			line += fmt.Sprintf(" %-9s %s", topColumns[j].title, topColumns[j].text(r))
		}
		lines = append(lines, line)
	}
	lines = append(lines, "")
	add("IN SYNC", fmt.Sprintf("%d partitions", r.Replicas))
	add("ZONE", cmp.Or(r.Zone, "-"))
	add("NAME", r.node.Name)
	add("ID", r.node.ID.String()+"  boot "+r.node.Boot.String())
	add("VERSION", fmt.Sprintf("%s  pid %d", cmp.Or(r.node.Version, "-"), r.node.PID))
	for _, mv := range m.st.Moves.Copies {
		if mv.From == r.node.Name || mv.To == r.node.Name {
			add("MOVE", fmt.Sprintf("partition %d from %s to %s: %d of %d keys", mv.Partition, mv.From, mv.To, mv.Items, mv.Of))
		}
	}
	return strings.Join(lines, "\n")
}
