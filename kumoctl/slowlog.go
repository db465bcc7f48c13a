package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/subjects"
)

// gatewayLog is the slow log of one gateway.
type gatewayLog struct {
	Gateway string `json:"gateway"`
	subjects.SlowLog
}

// gatewayLogs are lines of operations, each with its gateway.
type gatewayLogs []gatewayLog

func (logs gatewayLogs) lines() any {
	list := []gatewayOp{}
	for _, l := range logs {
		for _, o := range l.Operations {
			list = append(list, gatewayOp{l.Gateway, o})
		}
	}
	slices.SortStableFunc(list, func(a, b gatewayOp) int { return cmp.Compare(b.Time, a.Time) })
	return list
}

// gatewayOp is an operation with the gateway that it came to.
type gatewayOp struct {
	Gateway string `json:"gateway"`
	subjects.SlowOp
}

func newSlowLog(g *global) *cobra.Command {
	reset := false
	cmd := &cobra.Command{
		Use: "slowlog [GATEWAY]", Args: cobra.MaximumNArgs(1),
		Short: "Show the last operations that took long, of a gateway or of all",
		Long: `Show the last operations that took long, of a gateway or of all, the newest
first. What is long says --slowlog-threshold of the gateway (100 ms), and how
many it keeps --slowlog-size. The server is the one that was asked last.`,
		Example: `  kumoctl slowlog
  kumoctl slowlog cli1-11211 -o json
  kumoctl slowlog --reset`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return g.with(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
				answers, err := askGateways[subjects.SlowLog](ctx, c, name, subjects.NodeSlowLog, subjects.SlowLogRequest{Reset: reset})
				if err != nil && len(answers) == 0 {
					return err
				}
				logs := make(gatewayLogs, 0, len(answers))
				for _, a := range answers {
					logs = append(logs, gatewayLog{a.Gateway, a.Answer})
				}
				return errors.Join(g.print(cmd, logs, func(w io.Writer) error { return printSlowLog(w, logs) }), err)
			})
		},
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "forget what is shown")
	return cmd
}

func printSlowLog(w io.Writer, logs gatewayLogs) error {
	t := columns(w)
	fmt.Fprintln(t, "WHEN\tGATEWAY\tVERB\tKEY\tSIZE\tTOOK\tRETRIES\tSERVER\tOUTCOME")
	for _, l := range logs.lines().([]gatewayOp) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n",
			time.UnixMilli(l.Time).Format("2006-01-02 15:04:05.000"), l.Gateway, l.Verb, cmp.Or(l.Key, "-"), size(uint64(l.Size)),
			time.Duration(l.Duration).Round(10*time.Microsecond), l.Retries, cmp.Or(l.Server, "-"), l.Outcome)
	}
	return t.Flush()
}
