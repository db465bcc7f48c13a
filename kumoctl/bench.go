package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/kumoctl/loadgen"
)

// bench is what the command line asks for.
type bench struct {
	o      loadgen.Options
	addrs  []string
	versus string
	// pids of the first address, and of versus.
	pids, versusPIDs []int
	rounds           int
	tls              benchTLS
}

func newBench(g *global) *cobra.Command {
	b := bench{o: loadgen.Defaults(), rounds: 1}
	b.addrs = []string{b.o.Addr}
	cmd := &cobra.Command{
		Use: "bench", Args: cobra.NoArgs,
		Short: "Measure gateways, or memcached servers, with gets and sets",
		Long: `Measure gateways, or memcached servers, with gets and sets.

With --versus the same is measured there in turn, --rounds times, and what is
printed as a ratio is this by that: so a gateway beside memcached, on a machine
whose speed drifts. With several --addr the first is what others are compared
with. With --rate operations begin by a timetable, and latencies count from it.
Keys called key-N are written.`,
		Example: `  kumoctl bench --connections 128 --versus 127.0.0.1:11212
  kumoctl bench --sets 0.1 --zipf 1.1 --size 100-4000 --rate 20000
  kumoctl bench --tls --tls-ca ca.pem --addr 127.0.0.1:11212 --versus 127.0.0.1:11211
  kumoctl bench --protocol binary --multi-get 100 --pid $(pgrep -d, kumo)`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.check(); err != nil {
				return &cli.UsageError{Err: err}
			}
			results, err := b.run(cmd.Context())
			if err != nil {
				return err
			}
			return g.print(cmd, results, func(w io.Writer) error { return printBench(w, results, len(results)/b.rounds) })
		},
	}
	b.flags(cmd.Flags())
	return cmd
}

func (b *bench) flags(f *pflag.FlagSet) {
	o := &b.o
	f.StringArrayVar(&b.addrs, "addr", b.addrs, "what to measure; repeatable")
	f.StringVar(&b.versus, "versus", "", "a second address to measure in turn, and to compare with")
	f.IntVar(&b.rounds, "rounds", b.rounds, "how often")
	f.StringVar(&o.Protocol, "protocol", o.Protocol, strings.Join(loadgen.Protocols, ", "))
	f.IntVar(&o.Connections, "connections", o.Connections, "how many")
	cli.SecondsVarP(f, &o.Time, "time", "", "how long")
	cli.SecondsVarP(f, &o.Warmup, "warm-up", "", "how long before that, not counted")
	f.Float64Var(&o.Rate, "rate", o.Rate, "operations to begin a second; 0: as many as are answered")
	f.IntVar(&o.Keys, "keys", o.Keys, "how many")
	f.Var(&o.KeySize, "key-size", "bytes of a key, if that is more than key-N has")
	f.Var(&o.Size, "size", "bytes of a value")
	f.Float64Var(&o.Zipf, "zipf", o.Zipf, "draw keys by zipf's law with this exponent, above 1; 0: evenly")
	f.Float64Var(&o.Sets, "sets", o.Sets, "share of sets, 0 to 1")
	f.IntVar(&o.MultiGet, "multi-get", o.MultiGet, "keys of a get")
	f.IntVar(&o.Pipeline, "pipeline", o.Pipeline, "requests sent before the first answer is read")
	f.BoolVar(&o.Fill, "fill", o.Fill, "set every key before")
	f.IntSliceVar(&b.pids, "pid", nil, "processes behind --addr: print their CPU time for an operation")
	f.BoolVar(&b.tls.addr, "tls", false, "speak to --addr with TLS")
	f.BoolVar(&b.tls.versus, "versus-tls", false, "speak to --versus with TLS")
	f.StringVar(&b.tls.ca, "tls-ca", "", "PEM file of authorities that may have signed the gateway's certificate (default: the system's)")
	f.StringVar(&b.tls.cert, "tls-cert", "", "PEM file of a certificate to show, where the gateway wants one")
	f.StringVar(&b.tls.key, "tls-key", "", "PEM file of its key")
	f.IntSliceVar(&b.versusPIDs, "versus-pid", nil, "processes behind --versus")
}

func (b *bench) check() error {
	switch {
	case b.rounds < 1 || b.rounds > 1000:
		return fmt.Errorf("%d rounds: want 1 to 1000", b.rounds)
	case len(b.addrs) == 0:
		return errors.New("--addr: want at least one")
	case len(b.addrs) > 1 && (b.versus != "" || len(b.pids) > 0):
		return errors.New("--versus and --pid go with one --addr")
	case b.versus == "" && (len(b.versusPIDs) > 0 || b.tls.versus):
		return errors.New("--versus-pid and --versus-tls go with --versus")
	case !b.tls.addr && !b.tls.versus && b.tls != benchTLS{}:
		return errors.New("--tls-ca, --tls-cert and --tls-key go with --tls or --versus-tls")
	}
	return b.o.Check()
}

// benchTLS says to whom to speak with TLS, and how.
type benchTLS struct {
	addr, versus  bool
	ca, cert, key string
}

func (b *benchTLS) config() (*tls.Config, error) {
	if !b.addr && !b.versus {
		return nil, nil
	}
	c := new(tls.Config)
	if b.ca != "" {
		text, err := os.ReadFile(b.ca)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--tls-ca: %s: no certificate in it", b.ca)
		}
	}
	if b.cert != "" || b.key != "" {
		pair, err := tls.LoadX509KeyPair(b.cert, b.key)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// run measures all addresses, what the others are compared with first.
func (b *bench) run(ctx context.Context) (results []loadgen.Result, err error) {
	type target struct {
		addr string
		pids []int
		tls  bool
	}
	var targets []target
	if b.versus != "" {
		targets = append(targets, target{b.versus, b.versusPIDs, b.tls.versus})
	}
	for _, a := range b.addrs {
		targets = append(targets, target{a, b.pids, b.tls.addr})
	}
	secure, err := b.tls.config()
	if err != nil {
		return nil, err
	}
	o := b.o
	for range b.rounds {
		for _, t := range targets {
			if o.Addr, o.PIDs, o.TLS = t.addr, t.pids, nil; t.tls {
				o.TLS = secure
			}
			r, err := loadgen.Run(ctx, o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.addr, err)
			}
			results = append(results, r)
		}
		o.Fill = false
	}
	return results, nil
}

// printBench prints results; every of-th is of the same address.
func printBench(w io.Writer, results []loadgen.Result, of int) error {
	t := columns(w)
	fmt.Fprintln(t, "ADDRESS\tOPS/S\tRATIO\tKEYS/S\tCPU\tP50\tP90\tP99\tP99.9\tMAX\tMISSES\tERRORS")
	cpu := func(us float64) string {
		if us == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1fµs", us)
	}
	us := func(n int64) string { return (time.Duration(n) * time.Microsecond).Round(time.Microsecond).String() }
	for i, r := range results {
		ratio := 0.0
		if first := results[i/of*of].PerSecond; first > 0 {
			ratio = r.PerSecond / first
		}
		l := r.Latency
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", r.Addr, r.PerSecond, ratio, r.KeysPerSec, cpu(r.CPU),
			us(l.P50), us(l.P90), us(l.P99), us(l.P999), us(l.Max), r.Misses, r.Errors)
	}
	for _, r := range results {
		if r.FirstError != "" {
			fmt.Fprintf(t, "%s\tfirst error: %s\n", r.Addr, r.FirstError)
		}
	}
	return t.Flush()
}
