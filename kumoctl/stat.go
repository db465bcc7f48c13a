package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

// statFields are kumostat's words, and ours; a node may know more.
var statFields = []string{
	"pid", "uptime", "time", "version", "cmd_get", "cmd_set", "cmd_delete", "items",
	"rhs", "whs", "hscheck", "replstat", "set_delay", "unset_delay", "stats",
}

// nodeStats are the fields of one node.
type nodeStats struct {
	Node  string         `json:"node"`
	Addr  string         `json:"addr"`
	Error string         `json:"error,omitempty"`
	Stats map[string]any `json:"stats,omitempty"`
}

func newStat(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "stat [NODE] [FIELD]", Args: cobra.MaximumNArgs(2),
		Short: "Print what servers count, as kumostat did; without NODE, of all that are up",
		Example: `  kumoctl mgr1 stat
  kumoctl stat svr1 items
  kumoctl stat -o ndjson | jq .stats.items`,
		ValidArgsFunction: g.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			node, field := statArgs(args)
			return g.with(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
				list, err := stats(ctx, c, node)
				if err != nil {
					return err
				}
				if field != "" && field != "stats" {
					if list, err = pick(list, field); err != nil {
						return err
					}
				}
				err = g.print(cmd, list, func(w io.Writer) error { return printStats(w, list, field, node != "") })
				return errors.Join(err, failed(list))
			})
		},
	}
}

// statArgs tells node and field apart where only one is given.
func statArgs(args []string) (node, field string) {
	switch {
	case len(args) == 2:
		return args[0], args[1]
	case len(args) == 1 && slices.Contains(statFields, args[0]):
		return "", args[0]
	case len(args) == 1:
		return args[0], ""
	}
	return "", ""
}

// stats asks one node, or all servers that are up.
func stats(ctx context.Context, c *admin.Client, node string) ([]nodeStats, error) {
	st, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	var list []nodeStats
	var have []string
	want := serverName(node)
	for _, n := range st.Nodes {
		have = append(have, cmp.Or(n.Addr, n.Name))
		if node == "" && (n.Role != subjects.RoleServer || n.State == stateDown) {
			continue
		}
		host, _, _ := net.SplitHostPort(n.Addr)
		if node != "" && n.Name != want && n.Addr != want && n.ID.String() != want && host != want {
			continue
		}
		ns := nodeStats{Node: n.Name, Addr: n.Addr}
		ask := c.Node
		if n.Role == subjects.RoleGateway {
			ask = c.Gateway
		}
		if err := ask(ctx, n.Name, subjects.NodeStat, nil, &ns.Stats); err != nil {
			ns.Error = err.Error()
		}
		list = append(list, ns)
	}
	if node != "" && len(list) == 0 {
		slices.Sort(have)
		return nil, fmt.Errorf("%w %q: there are %s", subjects.ErrUnknownNode, node, strings.Join(slices.Compact(have), " "))
	}
	return list, nil
}

// pick leaves one field of each node.
func pick(list []nodeStats, field string) ([]nodeStats, error) {
	for i, ns := range list {
		v, ok := ns.Stats[field]
		if !ok && ns.Error == "" {
			return nil, cli.Usagef("%s has no field %q: it has %v", ns.Addr, field, slices.Sorted(maps.Keys(ns.Stats)))
		}
		list[i].Stats = map[string]any{field: v}
	}
	return list, nil
}

func printStats(w io.Writer, list []nodeStats, field string, one bool) error {
	for _, ns := range list {
		if ns.Error != "" {
			continue
		}
		switch {
		case field == "stats":
			for _, k := range slices.Sorted(maps.Keys(ns.Stats)) {
				fmt.Fprintf(w, "STAT %s %v\n", k, value(ns.Stats[k]))
			}
			fmt.Fprintln(w, "END")
		case field != "" && one:
			fmt.Fprintln(w, value(ns.Stats[field]))
		case field != "":
			fmt.Fprintf(w, "%s: %v\n", ns.Addr, value(ns.Stats[field]))
		default:
			fmt.Fprintf(w, "%s\n", ns.Addr)
			t := columns(w)
			for _, k := range slices.Sorted(maps.Keys(ns.Stats)) {
				fmt.Fprintf(t, "  %s\t%v\n", k, value(ns.Stats[k]))
			}
			t.Flush()
		}
	}
	return nil
}

// value prints JSON's numbers without an exponent, and what has parts as
// NAME=VALUE one after the other.
func value(v any) string {
	switch v := v.(type) {
	case float64:
		if v == float64(int64(v)) {
			return fmt.Sprint(int64(v))
		}
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, k+"="+value(v[k]))
		}
		return strings.Join(parts, " ")
	}
	return fmt.Sprint(v)
}

// failed gathers the errors of nodes that did not answer.
func failed(list []nodeStats) error {
	var errs []error
	for _, ns := range list {
		if ns.Error != "" {
			errs = append(errs, fmt.Errorf("%s: %s", ns.Addr, ns.Error))
		}
	}
	return errors.Join(errs...)
}
