package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

func newEvents(g *global) *cobra.Command {
	since, follow, kinds := "1h", false, []string(nil)
	cmd := &cobra.Command{
		Use: "events", Args: cobra.NoArgs,
		Short: "Show what happened: nodes up and down, moves, new leaders, damage",
		Long: `Show what happened: nodes up and down, moves, new leaders, damage.

The leader of the managers is asked. Each manager remembers a thousand events that
it heard, the last of each kind, and begins with those of the leader, if another
leads.
With --follow, what happens from now on is shown, too.`,
		Example: `  kumoctl events --since 10m
  kumoctl events -f
  kumoctl events --since 2026-03-01T12:00:00Z --kind node-down -o json
  kumoctl events -f -o ndjson | jq -r .text`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return &cli.UsageError{Err: err}
			}
			for _, kind := range kinds {
				if !slices.Contains(subjects.EventKinds, kind) {
					return cli.Usagef("--kind %s: there are %s", kind, strings.Join(subjects.EventKinds, ", "))
				}
			}
			wanted := func(e subjects.Event) bool { return len(kinds) == 0 || slices.Contains(kinds, e.Kind) }
			if follow {
				return g.followEvents(cmd, from, wanted)
			}
			return g.with(cmd.Context(), func(ctx context.Context, c *admin.Client) error {
				list, err := c.Events(ctx, from)
				if err != nil {
					return err
				}
				list = slices.DeleteFunc(list, func(e subjects.Event) bool { return !wanted(e) })
				return g.print(cmd, list, func(w io.Writer) error {
					for _, e := range list {
						printEvent(w, e)
					}
					return nil
				})
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", since, "how long ago, or a time as 2026-03-01T12:00:00Z")
	f.BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	f.StringSliceVar(&kinds, "kind", nil, "only these kinds")
	return cmd
}

// parseSince reads a time, or how long ago it was.
func parseSince(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	var ago time.Duration
	if err := (*cli.Seconds)(&ago).Set(text); err != nil {
		return time.Time{}, fmt.Errorf("--since: %w, nor a time such as 2026-03-01T12:00:00Z", err)
	}
	return now.Add(-ago), nil
}

// followWaiting bounds the events that wait to be printed; more are lost.
const followWaiting = 1024

// followEvents prints what was told, and then what is told, until the context ends.
func (g *global) followEvents(cmd *cobra.Command, from time.Time, wanted func(subjects.Event) bool) (err error) {
	ctx := cmd.Context()
	c, err := g.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	fresh := make(chan subjects.Event, followWaiting)
	stop, err := c.Follow(func(e subjects.Event) {
		select {
		case fresh <- e:
		default:
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	asking, cancel := context.WithTimeout(ctx, g.timeout)
	list, err := c.Events(asking, from)
	cancel()
	if err != nil {
		return err
	}
	show := func(e subjects.Event) error {
		if !wanted(e) {
			return nil
		}
		if g.output == "table" {
			printEvent(cmd.OutOrStdout(), e)
			return nil
		}
		return json.NewEncoder(cmd.OutOrStdout()).Encode(e)
	}
	known := map[string]bool{} // told twice: by the leader, and as it happened
	for _, e := range list {
		known[eventKey(e)] = true
		if err := show(e); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-fresh:
			if known != nil && known[eventKey(e)] {
				continue
			}
			if len(fresh) == 0 {
				known = nil // what comes now is new
			}
			if err := show(e); err != nil {
				return err
			}
		}
	}
}

func eventKey(e subjects.Event) string { return fmt.Sprint(e.Time, e.Kind, e.Node, e.Text) }

func printEvent(w io.Writer, e subjects.Event) {
	style := plainStyle
	switch e.Kind {
	case subjects.EventNodeDown, subjects.EventPossibleLoss, subjects.EventDamage, subjects.EventDisk, subjects.EventRefused:
		style = badStyle
	case subjects.EventNodeUp, subjects.EventAttached:
		style = goodStyle
	case subjects.EventEpoch, subjects.EventMove:
		style = faintStyle
	}
	at := time.UnixMilli(e.Time).Format("2006-01-02 15:04:05.000")
	lipgloss.Fprintf(w, "%s  %s  %s\n", at, style.Render(fmt.Sprintf("%-13s", e.Kind)), e.Text)
}
