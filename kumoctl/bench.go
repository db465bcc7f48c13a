package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/loadgen"
)

func newBench(g *global) *cobra.Command {
	o := loadgen.Defaults()
	var addrs []string
	rounds := 1
	cmd := &cobra.Command{
		Use: "bench", Args: cobra.NoArgs,
		Short: "Measure gateways, or memcached servers, with gets and sets",
		Long: `Measure gateways, or memcached servers, with gets and sets.

Several addresses (--addr A --addr B) are measured in turn, --rounds times, and
compared with the first: so a gateway beside memcached, on a machine whose speed
drifts. Keys called key-N are written.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return &cli.UsageError{Err: err}
			}
			var results []loadgen.Result
			for range rounds {
				for _, a := range addrs {
					o.Addr = a
					r, err := loadgen.Run(cmd.Context(), o)
					if err != nil {
						return fmt.Errorf("%s: %w", a, err)
					}
					results = append(results, r)
				}
				o.Fill = false
			}
			return g.print(cmd, results, func(w io.Writer) error { return printBench(w, results, len(addrs)) })
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&addrs, "addr", []string{o.Addr}, "what to measure; repeatable")
	f.IntVar(&rounds, "rounds", rounds, "how often")
	f.IntVar(&o.Connections, "connections", o.Connections, "how many")
	cli.SecondsVarP(f, &o.Time, "time", "", "how long")
	f.IntVar(&o.Keys, "keys", o.Keys, "how many")
	f.IntVar(&o.Size, "size", o.Size, "bytes of a value")
	f.Float64Var(&o.Sets, "sets", o.Sets, "share of sets, 0 to 1")
	f.IntVar(&o.MultiGet, "multi-get", o.MultiGet, "keys of a get")
	f.IntVar(&o.Pipeline, "pipeline", o.Pipeline, "requests sent before the first answer is read")
	f.BoolVar(&o.Fill, "fill", o.Fill, "set every key before")
	return cmd
}

// printBench prints results; every of-th is of the same address.
func printBench(w io.Writer, results []loadgen.Result, of int) error {
	t := columns(w)
	fmt.Fprintln(t, "ADDRESS\tOPS/S\tRATIO\tKEYS/S\tP50\tP90\tP99\tP99.9\tMAX\tMISSES\tERRORS")
	us := func(n int64) string { return (time.Duration(n) * time.Microsecond).Round(time.Microsecond).String() }
	for i, r := range results {
		ratio := 0.0
		if first := results[i/of*of].PerSecond; first > 0 {
			ratio = r.PerSecond / first
		}
		l := r.Latency
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.0f\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", r.Addr, r.PerSecond, ratio, r.KeysPerSec,
			us(l.P50), us(l.P90), us(l.P99), us(l.P999), us(l.Max), r.Misses, r.Errors)
	}
	for _, r := range results {
		if r.FirstError != "" {
			fmt.Fprintf(t, "%s\tfirst error: %s\n", r.Addr, r.FirstError)
		}
	}
	return t.Flush()
}
