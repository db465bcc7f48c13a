package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

// topFastest bounds how often top asks: servers tell how they are seven times a
// second.
const topFastest = 200 * time.Millisecond

func newTop(g *global) *cobra.Command {
	every, once, width, order := time.Second, false, 0, ""
	cmd := &cobra.Command{
		Use: "top", Args: cobra.NoArgs,
		Short: "Watch what the servers do, and how fast",
		Long: `Watch what the servers do, and how fast.

Columns that do not fit are left out: those that kumotop had, and more, are in
the detail view and in a wider terminal. CLOCK is how far a server's clock is
ahead of the leader's, LAG how many entries of its log its database lacks. Below
are the gateways, with what they answered in the last second or so: half of the
operations took p50 at most, and 99 of 100 p99, known to a factor of two.

  q quit            ↑ ↓ choose a server        enter  show all of it
  ← → sort by the column beside                r      the other way round`,
		Example: `  kumoctl mgr1 top
  kumoctl top --every 5 --sort qps
  kumoctl top --once | sort -k2
  kumoctl top --once -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < topFastest {
				return cli.Usagef("--every %s: want at least %s", every, topFastest)
			}
			m, err := newTopModel(order)
			if err != nil {
				return &cli.UsageError{Err: err}
			}
			if once || g.output != "table" {
				return g.topOnce(cmd, m, every, width)
			}
			return g.top(cmd, m, every)
		},
	}
	f := cmd.Flags()
	cli.SecondsVarP(f, &every, "every", "", "how often to look")
	f.BoolVar(&once, "once", false, "look twice and print one picture")
	f.IntVar(&width, "width", 0, "with --once: leave out columns beyond so many characters; 0: none")
	f.StringVar(&order, "sort", "address", "title of the column to sort by")
	return cmd
}

// topOnce prints one picture, with rates over the time between two looks.
func (g *global) topOnce(cmd *cobra.Command, m *topModel, every time.Duration, width int) error {
	c, err := g.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx := cmd.Context()
	for i := range 2 {
		if i > 0 {
			select {
			case <-ctx.Done():
				return errors.New("interrupted")
			case <-time.After(every):
			}
		}
		st, err := g.ask(ctx, c)
		if err != nil {
			return err
		}
		m.take(st)
	}
	rows := m.rows()
	return g.print(cmd, append(rows, m.gateways()...), func(w io.Writer) error {
		_, err := lipgloss.Fprintln(w, m.summary()+"\n"+tableOf(topColumns, rows, width).render()+m.gatewayList(width, 0))
		return err
	})
}

// top watches until q.
func (g *global) top(cmd *cobra.Command, m *topModel, every time.Duration) error {
	out, isFile := cmd.OutOrStdout().(*os.File)
	if !isFile || !term.IsTerminal(int(out.Fd())) {
		return cli.Usagef("top wants a terminal; --once prints one picture")
	}
	c, err := g.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	m.every = every
	m.ask = func() (*subjects.ClusterStatus, error) { return g.ask(ctx, c) }
	_, err = tea.NewProgram(m, tea.WithContext(ctx), tea.WithOutput(out), tea.WithInput(cmd.InOrStdin())).Run()
	if errors.Is(err, tea.ErrInterrupted) || cmd.Context().Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("run on the terminal: %w", err)
	}
	return nil
}
