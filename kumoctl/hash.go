package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/subjects/ring"
)

func newHash(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "hash KEY...", Short: "Print the XXH64 of keys", Args: cobra.MinimumNArgs(1),
		Example: "  kumoctl hash user:1 user:2",
		RunE: func(cmd *cobra.Command, keys []string) error {
			type line struct {
				Key  string `json:"key"`
				Hash string `json:"hash"`
			}
			lines := make([]line, len(keys))
			for i, k := range keys {
				lines[i] = line{k, fmt.Sprintf("%016x", xxhash.Sum64String(k))}
			}
			return g.print(cmd, lines, func(w io.Writer) error {
				for _, l := range lines {
					fmt.Fprintf(w, "%s  %s\n", l.Hash, l.Key)
				}
				return nil
			})
		},
	}
}

// tableSource tells where assign and dump take the table from: the cluster, or
// a plan for servers given by name.
type tableSource struct {
	servers    []string
	partitions int
	replicas   int
}

func (s *tableSource) flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&s.servers, "servers", nil, "simulate a cluster of these servers instead of asking one")
	cmd.Flags().IntVar(&s.partitions, "partitions", ring.DefaultPartitions, "with --servers: how many partitions")
	cmd.Flags().IntVar(&s.replicas, "replicas", ring.DefaultReplicas, "with --servers: how many copies")
}

func (s *tableSource) table(ctx context.Context, g *global) (t *ring.Table, err error) {
	if len(s.servers) > 0 {
		return simulate(s.servers, s.partitions, s.replicas)
	}
	err = g.with(ctx, func(ctx context.Context, c *admin.Client) error {
		t, err = c.Table(ctx)
		return err
	})
	return t, err
}

// placement is a partition with its nodes as people know them.
type placement struct {
	Partition ring.Partition `json:"partition"`
	Epoch     ring.Epoch     `json:"epoch"`
	Primary   string         `json:"primary"`
	Replicas  []string       `json:"replicas"`           // in sync, without the primary
	Learners  []string       `json:"learners,omitempty"` // copying
	Target    []string       `json:"target,omitempty"`   // where the copies should be
}

func placed(t *ring.Table, p ring.Partition) placement {
	c := t.Partitions[p]
	pl := placement{Partition: p, Epoch: c.Epoch, Replicas: []string{}}
	if !c.Primary.Zero() {
		pl.Primary = address(t, c.Primary.Store)
	}
	for _, id := range c.ISR {
		if id != c.Primary.Store {
			pl.Replicas = append(pl.Replicas, address(t, id))
		}
	}
	pl.Learners, pl.Target = addresses(t, c.Learners), addresses(t, c.Target)
	return pl
}

func address(t *ring.Table, id ring.NodeID) string {
	if n, ok := t.Node(id); ok {
		return n.Addr
	}
	return id.String()
}

func addresses(t *ring.Table, ids []ring.NodeID) []string {
	var out []string
	for _, id := range ids {
		out = append(out, address(t, id))
	}
	return out
}

func newAssign(g *global) *cobra.Command {
	var src tableSource
	cmd := &cobra.Command{
		Use: "assign KEY...", Short: "Show the partition of keys and the servers that hold it", Args: cobra.MinimumNArgs(1),
		Example: `  kumoctl mgr1 assign user:1
  kumoctl assign user:1 --servers svr1,svr2=zone-b,svr3`,
		RunE: func(cmd *cobra.Command, keys []string) error {
			t, err := src.table(cmd.Context(), g)
			if err != nil {
				return err
			}
			type line struct {
				Key  string `json:"key"`
				Hash string `json:"hash"`
				placement
			}
			lines := make([]line, len(keys))
			for i, k := range keys {
				lines[i] = line{k, fmt.Sprintf("%016x", xxhash.Sum64String(k)), placed(t, t.Of([]byte(k)))}
			}
			return g.print(cmd, lines, func(w io.Writer) error {
				tw := columns(w)
				fmt.Fprintln(tw, "HASH\tKEY\tPARTITION\tPRIMARY\tREPLICAS")
				for _, l := range lines {
					fmt.Fprintf(tw, "%s\t%s\t%d\t%s\t%s\n", l.Hash, l.Key, l.Partition, orNone(l.Primary), orNone(l.Replicas...))
				}
				return tw.Flush()
			})
		},
	}
	src.flags(cmd)
	return cmd
}

// dumped is a table whose partitions are lines.
type dumped struct{ *ring.Table }

func (d dumped) lines() any {
	list := make([]placement, d.Size())
	for p := range list {
		list[p] = placed(d.Table, ring.Partition(p))
	}
	return list
}

func newDump(g *global) *cobra.Command {
	var src tableSource
	cmd := &cobra.Command{
		Use: "dump", Short: "Print the partition table", Args: cobra.NoArgs,
		Example: `  kumoctl mgr1 dump
  kumoctl dump -o json | jq '.partitions[3]'
  kumoctl dump --servers svr1,svr2,svr3,svr4 --partitions 64`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := src.table(cmd.Context(), g)
			if err != nil {
				return err
			}
			return g.print(cmd, dumped{t}, func(w io.Writer) error {
				tw := columns(w)
				fmt.Fprintln(tw, "PARTITION\tEPOCH\tPRIMARY\tREPLICAS\tCOPYING\tTARGET")
				for p := range t.Partitions {
					pl := placed(t, ring.Partition(p))
					fmt.Fprintf(tw, "%d\t%d\t%s\t%s\t%s\t%s\n", p, pl.Epoch, orNone(pl.Primary),
						orNone(pl.Replicas...), orNone(pl.Learners...), orNone(pl.Target...))
				}
				return tw.Flush()
			})
		},
	}
	src.flags(cmd)
	return cmd
}

// orNone joins names, or prints a dash for none.
func orNone(names ...string) string {
	if s := strings.Join(names, " "); s != "" {
		return s
	}
	return "-"
}
