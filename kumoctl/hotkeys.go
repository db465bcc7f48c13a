package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

// hotReport is what the gateways together say of their most frequent keys.
type hotReport struct {
	Gateways  []string `json:"gateways"` // that were asked
	PerSecond float64  `json:"per_second"`
	Samples   uint64   `json:"samples"`
	Keys      []hotKey `json:"keys"`
}

// hotKey is a key with its operations a second at all gateways, by their samples:
// AtLeast to PerSecond of them.
type hotKey struct {
	Key       string   `json:"key"`
	PerSecond float64  `json:"per_second"`
	AtLeast   float64  `json:"at_least"`
	Writes    float64  `json:"writes_per_second"`
	Share     float64  `json:"share"`    // of all operations
	Gateways  []string `json:"gateways"` // where it is among the most frequent
}

func (r hotReport) lines() any { return r.Keys }

func newHotKeys(g *global) *cobra.Command {
	top := 20
	cmd := &cobra.Command{
		Use: "hotkeys", Args: cobra.NoArgs,
		Short: "Show the keys that are asked for most, at all gateways together",
		Long: `Show the keys that are asked for most, at all gateways together, in the last
half minute to minute. Gateways count a sample, one operation of 32 on average,
in bounded memory: AT LEAST and PER SECOND bound what the sample says, which
itself is a guess where it is small.`,
		Example: `  kumoctl hotkeys
  kumoctl hotkeys --top 5 -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if top < 1 {
				return cli.Usagef("--top %d: want at least 1", top)
			}
			return g.with(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
				answers, err := askGateways[subjects.HotKeys](ctx, c, "", subjects.NodeHotKeys, nil)
				if err != nil && len(answers) == 0 {
					return err
				}
				rep := mergeHot(answers, top)
				return errors.Join(g.print(cmd, rep, func(w io.Writer) error { return printHot(w, &rep) }), err)
			})
		},
	}
	cmd.Flags().IntVar(&top, "top", top, "how many keys")
	return cmd
}

// mergeHot adds the gateways up. Who does not list a key may have had as many
// operations on it as its floor.
func mergeHot(answers []fromGateway[subjects.HotKeys], top int) hotReport {
	rep := hotReport{Gateways: []string{}, Keys: []hotKey{}}
	keys := map[string]*hotKey{}
	for _, a := range answers {
		rep.Gateways = append(rep.Gateways, a.Gateway)
		rep.Samples += a.Answer.Samples
		rep.PerSecond += rate(&a.Answer, a.Answer.Samples)
		for _, k := range a.Answer.Keys {
			if keys[k.Key] == nil {
				keys[k.Key] = &hotKey{Key: k.Key}
			}
		}
	}
	for _, a := range answers {
		listed := map[string]bool{}
		for _, k := range a.Answer.Keys {
			listed[k.Key] = true
			h := keys[k.Key]
			h.PerSecond += rate(&a.Answer, k.Count)
			h.AtLeast += rate(&a.Answer, k.Count-k.Error)
			h.Writes += rate(&a.Answer, k.Writes)
			h.Gateways = append(h.Gateways, a.Gateway)
		}
		for key, h := range keys {
			if !listed[key] {
				h.PerSecond += rate(&a.Answer, a.Answer.Floor)
			}
		}
	}
	for _, h := range keys {
		if rep.PerSecond > 0 {
			h.Share = h.PerSecond / rep.PerSecond
		}
		rep.Keys = append(rep.Keys, *h)
	}
	slices.SortFunc(rep.Keys, func(a, b hotKey) int {
		return cmp.Or(cmp.Compare(b.PerSecond, a.PerSecond), cmp.Compare(b.AtLeast, a.AtLeast), strings.Compare(a.Key, b.Key))
	})
	rep.Keys = rep.Keys[:min(top, len(rep.Keys))]
	return rep
}

// rate is operations a second of so many samples.
func rate(h *subjects.HotKeys, samples uint64) float64 {
	if h.Seconds <= 0 {
		return 0
	}
	return float64(samples) * float64(h.Every) / h.Seconds
}

func printHot(w io.Writer, rep *hotReport) error {
	t := columns(w)
	fmt.Fprintln(t, "KEY\tPER SECOND\tAT LEAST\tWRITES\tSHARE\tGATEWAYS")
	for _, k := range rep.Keys {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.1f%%\t%d of %d\n",
			k.Key, k.PerSecond, k.AtLeast, k.Writes, 100*k.Share, len(k.Gateways), len(rep.Gateways))
	}
	return t.Flush()
}
