package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/subjects"
)

func newStatus(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the cluster's health, its nodes and what moves", Args: cobra.NoArgs,
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
	t := columns(w)
	fmt.Fprintf(t, "cluster\t%s (%s)\n", st.Cluster, st.ClusterID)
	fmt.Fprintf(t, "health\t%s\n", st.Health)
	fmt.Fprintf(t, "leader\t%s (voters: %s)\n", cmp.Or(st.Leader, "none"), strings.Join(st.Voters, ", "))
	fmt.Fprintf(t, "revision\t%d\n", st.Revision)
	fmt.Fprintf(t, "partitions\t%d with %d copies: %s\n", p.Total, st.Replicas, partitionText(p))
	fmt.Fprintf(t, "moves\t%s\n", movesText(st))
	if text := comparedText(st.Nodes, time.Now()); text != "" {
		fmt.Fprintf(t, "copies\t%s\n", text)
	}
	for _, a := range st.Alarms {
		fmt.Fprintf(t, "alarm\t%s\n", a)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return printNodes(w, st.Nodes)
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
	text := "none"
	if m := st.Moves; m.Pending > 0 || m.Active > 0 {
		text = fmt.Sprintf("%d copies to go, %d under way", m.Pending, m.Active)
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
	t := columns(w)
	fmt.Fprintln(t, "ROLE\tADDRESS\tSTATE\tZONE\tPRIMARY\tIN SYNC\tCOPYING\tITEMS\tDISK\tPID\tUPTIME")
	for _, n := range nodes {
		addr, state := n.Addr, n.State
		if n.Role == subjects.RoleGateway && len(n.Listen) > 0 {
			addr = strings.Join(n.Listen, ",")
		}
		if n.Leader {
			state += ", leader"
		}
		switch {
		case n.State == "down" && n.Seen > 0:
			state += " " + uptime(n.Seen/1000)
		case n.State == "down":
		case n.Disk.Stuck:
			state += ", disk hangs"
		case n.Disk.Full:
			state += ", disk full"
		}
		held := "\t\t\t\t"
		if n.Role == subjects.RoleServer {
			held = fmt.Sprintf("%d\t%d\t%d\t%d\t%s", n.Primary, n.Replica, n.Learner, n.Load.Items, size(n.Load.Bytes))
		}
		pid, up := fmt.Sprint(n.PID), uptime(n.Uptime)
		if n.State == "down" {
			pid, up = "-", "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Role, addr, state, cmp.Or(n.Zone, "-"), held, pid, up)
	}
	return t.Flush()
}
