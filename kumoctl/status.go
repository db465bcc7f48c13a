package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/subjects"
)

func newStatus(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the cluster's health, its nodes and what moves", Args: cobra.NoArgs,
		Long: `Show the cluster's health, its nodes and what moves.

IN SYNC counts the copies of partitions that a server holds whole, led ones
included; GAPS are copies that it should hold and does not have, or not whole.`,
		Example: `  kumoctl mgr1 status
  kumoctl status -o json | jq -r .health
  watch kumoctl status`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.with(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
				st, err := c.Status(ctx)
				if err != nil {
					return err
				}
				return g.print(cmd, st, func(w io.Writer) error { return printStatus(w, st) })
			})
		},
	}
}

func printStatus(w io.Writer, st *subjects.ClusterStatus) error {
	p := st.Partitions
	line := func(word, format string, args ...any) {
		lipgloss.Fprintf(w, "%-11s "+format+"\n", append([]any{word}, args...)...)
	}
	line("cluster", "%s (%s)", st.Cluster, st.ClusterID)
	line("health", "%s", healthStyle(st.Health).Render(st.Health))
	line("leader", "%s (voters: %s)", cmp.Or(st.Leader, "none"), strings.Join(st.Voters, ", "))
	line("revision", "%d", st.Revision)
	line("partitions", "%d with %d copies: %s", p.Total, st.Replicas, partitionText(p))
	if zones := zonesText(st.Nodes); zones != "" {
		line("zones", "%s", zones)
	}
	line("settings", "auto-replace %s, %s", onOff(st.AutoReplace), rateText(st.MoveRate))
	line("moves", "%s", movesText(st))
	if text := comparedText(st.Nodes, time.Now()); text != "" {
		line("copies", "%s", text)
	}
	for _, a := range st.Alarms {
		line("alarm", "%s", badStyle.Render(a))
	}
	fmt.Fprintln(w)
	if err := printNodes(w, st.Nodes); err != nil || len(st.Moves.Copies) == 0 {
		return err
	}
	fmt.Fprintln(w)
	return printMoves(w, st)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func rateText(rate int64) string {
	if rate == 0 {
		return "moves at any rate"
	}
	return fmt.Sprintf("moves at %g MB/s from each server", float64(rate)/1e6)
}

// zonesText counts the servers of each zone, if there are any.
func zonesText(nodes []subjects.NodeStatus) string {
	servers, up := map[string]int{}, map[string]int{}
	for _, n := range nodes {
		if n.Role != subjects.RoleServer || n.Zone == "" {
			continue
		}
		servers[n.Zone]++
		if n.State != stateDown {
			up[n.Zone]++
		}
	}
	var words []string
	for _, z := range slices.Sorted(maps.Keys(servers)) {
		words = append(words, fmt.Sprintf("%s %d/%d up", z, up[z], servers[z]))
	}
	return strings.Join(words, ", ")
}

// stateDown is the state of a node that is not up.
const stateDown = "down"

func healthStyle(word string) lipgloss.Style {
	switch word {
	case "ok", "up":
		return goodStyle
	case "unavailable", stateDown:
		return badStyle
	}
	return warnStyle
}

// printMoves lists copies under way.
func printMoves(w io.Writer, st *subjects.ClusterStatus) error {
	t := &grid{titles: []string{"PARTITION", "FROM", "TO", "KEYS", "OF", "DONE"}}
	for _, m := range st.Moves.Copies {
		done := "-"
		if m.Of > 0 {
			done = fmt.Sprintf("%d%%", 100*m.Items/m.Of)
		}
		t.rows = append(t.rows, []string{fmt.Sprint(m.Partition), m.From, m.To, fmt.Sprint(m.Items), fmt.Sprint(m.Of), done})
	}
	return t.print(w)
}

func partitionText(p subjects.PartitionCount) string {
	text := fmt.Sprintf("%d full", p.Full)
	for _, c := range []struct {
		n    int
		word string
	}{{p.Degraded, "degraded"}, {p.Lone, "with a lone copy"}, {p.Down, "down"}, {p.Loss, "with possible loss"}} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d %s", c.n, c.word)
		}
	}
	return text
}

// comparedText tells what came of comparing copies, "" where none were.
func comparedText(nodes []subjects.NodeStatus, now time.Time) string {
	oldest, differ, missing, any := int64(0), 0, false, false
	for _, n := range nodes {
		if n.Role != subjects.RoleServer || n.State == "down" || n.Primary == 0 {
			continue
		}
		d := n.Disk
		differ += d.Differing
		missing = missing || d.Compared == 0
		any = any || d.Compared != 0 || d.Differing > 0
		if oldest == 0 || d.Compared < oldest {
			oldest = d.Compared
		}
	}
	switch {
	case !any:
		return ""
	case differ > 0:
		return fmt.Sprintf("%d differed from the others when they were compared", differ)
	case missing:
		return "those that were compared are equal; not all were"
	}
	return fmt.Sprintf("compared within %s, all equal", uptime(int64(now.Sub(time.UnixMilli(oldest)).Seconds())+1))
}

func movesText(st *subjects.ClusterStatus) string {
	m, text := st.Moves, leftText(st.Moves)
	if m.Pending+m.Active > 0 {
		if m.Bytes > 0 {
			text += fmt.Sprintf(", about %s", size(uint64(m.Bytes)))
		}
		if m.Rate > 0 {
			text += fmt.Sprintf(" at %s/s", size(uint64(m.Rate)))
		}
		if m.Left > 0 {
			text += fmt.Sprintf(", %s left", uptime(m.Left))
		}
	}
	if m.HeldPartitions > 0 {
		text += fmt.Sprintf("; %d partitions wait for servers that are down", m.HeldPartitions)
	}
	if st.Paused {
		text += " (paused)"
	}
	return text
}

// roleOrder sorts nodes for the table.
var roleOrder = []subjects.Role{subjects.RoleManager, subjects.RoleServer, subjects.RoleGateway}

func printNodes(w io.Writer, nodes []subjects.NodeStatus) error {
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b subjects.NodeStatus) int {
		return cmp.Or(cmp.Compare(slices.Index(roleOrder, a.Role), slices.Index(roleOrder, b.Role)), cmp.Compare(a.Addr, b.Addr))
	})
	t := &grid{titles: []string{"ROLE", "ADDRESS", "STATE", "ZONE", "PRIMARY", "IN SYNC", "COPYING", "GAPS", "ITEMS", "DISK", "PID", "UPTIME"}}
	t.style = func(row, col int) lipgloss.Style {
		if col == 2 {
			return healthStyle(nodes[row].State)
		}
		return plainStyle
	}
	for _, n := range nodes {
		addr := n.Addr
		if n.Role == subjects.RoleGateway && len(n.Listen) > 0 {
			addr = strings.Join(n.Listen, ",")
		}
		row := []string{string(n.Role), addr, stateText(n), cmp.Or(n.Zone, "-"), "", "", "", "", "", "", fmt.Sprint(n.PID), uptime(n.Uptime)}
		if n.Role == subjects.RoleServer {
			row[4], row[5], row[6], row[7] = fmt.Sprint(n.Primary), fmt.Sprint(n.Replica), fmt.Sprint(n.Learner), fmt.Sprint(n.Gaps)
			row[8], row[9] = fmt.Sprint(n.Load.Items), size(n.Load.Bytes)
		}
		if n.State == stateDown {
			row[10], row[11] = "-", "-"
		}
		t.rows = append(t.rows, row)
	}
	return t.print(w)
}

// stateText is a node's state and what else there is to say of it.
func stateText(n subjects.NodeStatus) string {
	state := n.State
	if n.Leader {
		state += ", leader"
	}
	switch {
	case n.State == stateDown && n.Seen > 0:
		state += " " + uptime(n.Seen/1000)
	case n.State == stateDown:
	case n.Disk.Stuck:
		state += ", disk hangs"
	case n.Disk.Full:
		state += ", disk full"
	case n.Disk.NoVote:
		state += ", no vote"
	}
	return state
}
