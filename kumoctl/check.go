package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

// The exit codes of a monitoring plugin, and their words.
const (
	checkOK = iota
	checkWarning
	checkCritical
	checkUnknown
)

var checkWords = [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}

// checked is what check found.
type checked struct {
	Code   int      `json:"code"`
	Status string   `json:"status"`
	Text   string   `json:"text"`
	Perf   []string `json:"perfdata,omitempty"`
}

func newCheck(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "check", Args: cobra.NoArgs,
		Short: "Tell a monitoring system how the cluster is, as a Nagios plugin does",
		Long: `Tell a monitoring system how the cluster is, as a Nagios plugin does.

One line with performance data, and the exit code: 0 OK, 1 WARNING (copies are
missing, a node is down, a disk is full), 2 CRITICAL (partitions without a
primary, managers without a leader), 3 UNKNOWN (nobody answers).`,
		Example: `  kumoctl check -m mgr1,mgr2
  kumoctl check --timeout 10
  check_command kumoctl mgr1 check`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var c checked
			err := g.with(cmd.Context(), func(ctx context.Context, a *admin.Client) error {
				st, err := a.Status(ctx)
				if err == nil {
					c = judge(st)
				}
				return err
			})
			if err == nil {
				err = g.judgeOwn(&c)
			}
			if err != nil {
				c = unjudged(err)
			}
			c.Status = checkWords[c.Code]
			err = g.print(cmd, c, func(w io.Writer) error {
				line := "KUMOFS " + c.Status + " - " + c.Text
				if len(c.Perf) > 0 {
					line += " | " + strings.Join(c.Perf, " ")
				}
				_, err := fmt.Fprintln(w, line)
				return err
			})
			if err == nil && c.Code != checkOK {
				err = &cli.ExitError{Code: c.Code}
			}
			return err
		},
	}
}

// judgeOwn says when kumoctl's own certificate is soon over.
func (g *global) judgeOwn(c *checked) error {
	s, err := g.security()
	if s == nil || err != nil {
		return err
	}
	if left := time.Until(s.Until()); left < subjects.ExpiresSoon {
		c.Code = max(c.Code, checkWarning)
		c.Text += fmt.Sprintf("; the certificate of these credentials expires in %d days: kumoctl auth rotate", int(left.Hours()/24))
	}
	return nil
}

// unjudged is what is said without a status: that the managers have no leader, or
// that nothing is known.
func unjudged(err error) checked {
	text := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "|", "/")), " ")
	for _, e := range []error{subjects.ErrNoLeader, subjects.ErrNotLeader, subjects.ErrNoCluster, subjects.ErrTimeout} {
		if errors.Is(err, e) {
			return checked{Code: checkCritical, Text: text}
		}
	}
	return checked{Code: checkUnknown, Text: text}
}

// judge says how a cluster is.
func judge(st *subjects.ClusterStatus) checked {
	p := st.Partitions
	up, down := 0, 0
	var items, bytes uint64
	for _, n := range st.Nodes {
		switch {
		case n.Role != subjects.RoleServer:
			continue
		case n.State == stateDown:
			down++
		default:
			up++
		}
		items, bytes = max(items, n.Load.Items), bytes+n.Load.Bytes
	}
	c := checked{Text: fmt.Sprintf("%d servers up, %d partitions %s", up, p.Total, partitionText(p))}
	switch {
	case st.Leader == "":
		c.Code, c.Text = checkCritical, "the managers have no leader; "+c.Text
	case p.Down > 0 || p.Total == 0:
		c.Code = checkCritical
	case p.Degraded > 0 || p.Lone > 0 || len(st.Alarms) > 0:
		c.Code = checkWarning
	}
	if len(st.Alarms) > 0 {
		c.Text += ": " + strings.ReplaceAll(strings.Join(st.Alarms, "; "), "|", "/")
	}
	c.Perf = []string{
		fmt.Sprintf("partitions=%d", p.Total), fmt.Sprintf("full=%d", p.Full), fmt.Sprintf("degraded=%d;0", p.Degraded),
		fmt.Sprintf("lone=%d;0", p.Lone), fmt.Sprintf("down=%d;0;0", p.Down), fmt.Sprintf("servers_up=%d", up),
		fmt.Sprintf("servers_down=%d;0", down), fmt.Sprintf("moves=%d", st.Moves.Pending), fmt.Sprintf("disk=%dB", bytes),
	}
	return c
}
