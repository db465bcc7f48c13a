package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/bubbles/v2/progress"
	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/etolabo/kumofs/kumoctl/admin"
	"github.com/etolabo/kumofs/kumoctl/cli"
	"github.com/etolabo/kumofs/subjects"
)

const (
	watchEvery = 200 * time.Millisecond
	// Where nobody looks at a terminal there is a line so often.
	lineEvery = 5 * time.Second
	// Without an answer for so long, waiting ends.
	giveUpAfter = time.Minute
)

// waiting is the flag --wait[=LIMIT].
type waiting struct {
	on    bool
	limit time.Duration // 0: for ever
}

func (w *waiting) flag(cmd *cobra.Command) {
	cmd.Flags().Var(w, "wait", "show progress until everything is where it should be, or --wait=10m for so long")
	cmd.Flags().Lookup("wait").NoOptDefVal = "0"
}

// String implements pflag.Value.
func (w *waiting) String() string {
	if w.limit == 0 {
		return ""
	}
	return w.limit.String()
}

// Type implements pflag.Value.
func (w *waiting) Type() string { return "time" }

// Set implements pflag.Value.
func (w *waiting) Set(text string) error {
	w.on = true
	return (*cli.Seconds)(&w.limit).Set(text)
}

// wait shows the progress of moves until there is nothing left to move. Moves go
// on when it is interrupted: nothing but the partition table drives them.
func (g *global) wait(ctx context.Context, talk io.Writer, o waiting) error {
	if o.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.limit)
		defer cancel()
	}
	c, err := g.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	p := newProgressTalk(talk)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	answered := time.Now()
	for {
		st, err := g.ask(ctx, c)
		switch {
		case err == nil:
			answered = time.Now()
			if st.Moves.Settled() && st.Partitions.Down == 0 {
				return p.done(st)
			}
			p.show(st)
		case ctx.Err() == nil && time.Since(answered) > giveUpAfter:
			p.end()
			return fmt.Errorf("moves go on if the cluster does, but nobody answers: %w", err)
		case ctx.Err() == nil:
			p.say("no answer: " + err.Error())
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		p.end()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("not done within %s; the moves go on (kumoctl status shows them): %w", o.limit, subjects.ErrTimeout)
		}
		return errors.New("interrupted; the moves go on (kumoctl status shows them, kumoctl pause holds them)")
	}
}

func (g *global) ask(ctx context.Context, c *admin.Client) (*subjects.ClusterStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	return c.Status(ctx)
}

// progressTalk tells how far moves are: a bar on a terminal, lines otherwise.
type progressTalk struct {
	w     io.Writer
	bar   *progress.Model // nil: lines
	cells int             // of the line on the terminal
	began time.Time
	said  time.Time // the last line
	last  string

	items  int64 // the most that there were to be sent
	copies int
	sent   uint64 // when it began
	asked  bool
}

func newProgressTalk(w io.Writer) *progressTalk {
	p := &progressTalk{w: w, began: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		bar := progress.New(progress.WithWidth(30), progress.WithDefaultBlend())
		p.bar = &bar
		if p.cells, _, _ = term.GetSize(int(f.Fd())); p.cells < 40 {
			p.cells = 80
		}
	}
	return p
}

// part is how much is done, 0 to 1.
func (p *progressTalk) part(m subjects.Moves) float64 {
	left := m.Pending + m.Surplus + m.Leads - m.Held
	if !p.asked {
		p.asked, p.sent = true, m.Sent
	}
	p.items, p.copies = max(p.items, m.Items), max(p.copies, left)
	switch {
	case p.items > 0 && m.Items > 0:
		return 1 - float64(m.Items)/float64(p.items)
	case p.copies > 0:
		return max(0, 1-float64(left)/float64(p.copies))
	}
	return 0
}

func (p *progressTalk) show(st *subjects.ClusterStatus) {
	part := p.part(st.Moves)
	text := progressText(st, p.sent)
	if p.bar != nil {
		p.line(p.bar.ViewAs(part) + "  " + text)
		return
	}
	p.say(fmt.Sprintf("%3.0f%%  %s", 100*part, text))
}

// progressText says in words what is to be done.
func progressText(st *subjects.ClusterStatus, sent uint64) string {
	m := st.Moves
	words := []string{leftText(m)}
	if m.Sent >= sent && m.Items > 0 {
		words = append(words, fmt.Sprintf("%s of %s", size(m.Sent-sent), size(m.Sent-sent+uint64(max(0, m.Bytes)))))
	}
	switch {
	case st.Paused:
		words = append(words, "paused")
	case m.Rate > 0:
		words = append(words, size(uint64(m.Rate))+"/s")
		if m.Left > 0 {
			words = append(words, uptime(m.Left)+" left")
		}
	}
	return strings.Join(words, ", ")
}

// leftText counts what is not where it should be.
func leftText(m subjects.Moves) string {
	switch {
	case m.Pending+m.Active > 0:
		return fmt.Sprintf("%d copies to go, %d under way", m.Pending, m.Active)
	case m.Surplus > 0:
		return fmt.Sprintf("%d surplus copies to go", m.Surplus)
	case m.Leads > 0:
		return fmt.Sprintf("%d partitions to be led by others", m.Leads)
	}
	return "none"
}

// say prints a line, unless it is the last one's or comes soon after it.
func (p *progressTalk) say(text string) {
	if p.bar != nil {
		p.line(text)
		return
	}
	if text == p.last || time.Since(p.said) < lineEvery {
		return
	}
	p.said, p.last = time.Now(), text
	fmt.Fprintln(p.w, text)
}

// line writes over the line on the terminal.
func (p *progressTalk) line(text string) {
	lipgloss.Fprint(p.w, "\r"+lipgloss.NewStyle().MaxWidth(p.cells-1).Render(text)+"\x1b[K")
}

// end leaves the line on the terminal.
func (p *progressTalk) end() {
	if p.bar != nil {
		fmt.Fprintln(p.w)
	}
}

// done tells that nothing moves any more. What waits for a server that is down may
// be what a server was to lose, so that it is not done for whoever goes on then.
func (p *progressTalk) done(st *subjects.ClusterStatus) error {
	if st.Moves.Held > 0 {
		p.end()
		return fmt.Errorf("not done: %d partitions wait for servers that are down (kumoctl status); the others took %s", st.Moves.HeldPartitions, time.Since(p.began).Round(100*time.Millisecond))
	}
	text := fmt.Sprintf("all copies are where they should be, after %s", time.Since(p.began).Round(100*time.Millisecond))
	if p.bar != nil {
		p.line(p.bar.ViewAs(1) + "  " + text)
		p.end()
		return nil
	}
	fmt.Fprintln(p.w, text)
	return nil
}
