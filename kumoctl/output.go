package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/spf13/cobra"
)

// lined is what has a list that matters, of which ndjson is a line for each element.
type lined interface{ lines() any }

// print writes v as JSON, or lets table write it for people. With ndjson a list is
// a line for each of its elements.
func (g *global) print(cmd *cobra.Command, v any, table func(io.Writer) error) error {
	w := cmd.OutOrStdout()
	enc := json.NewEncoder(w)
	switch g.output {
	case "json":
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "ndjson":
		if l, ok := v.(lined); ok {
			v = l.lines()
		}
		list := reflect.ValueOf(v)
		if list.Kind() != reflect.Slice {
			return enc.Encode(v)
		}
		for i := range list.Len() {
			if err := enc.Encode(list.Index(i).Interface()); err != nil {
				return err
			}
		}
		return nil
	}
	return table(w)
}

// columns returns a writer that aligns cells separated by tabs.
func columns(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// The colours of tables, which are left out where nobody looks at a terminal, and
// with NO_COLOR.
var (
	plainStyle = lipgloss.NewStyle()
	headStyle  = plainStyle.Bold(true)
	faintStyle = plainStyle.Faint(true)
	goodStyle  = plainStyle.Foreground(lipgloss.Green)
	warnStyle  = plainStyle.Foreground(lipgloss.Yellow)
	badStyle   = plainStyle.Foreground(lipgloss.Red).Bold(true)
)

// grid is a table with a line of titles. Numbers stand to the right.
type grid struct {
	titles []string
	rows   [][]string
	style  func(row, column int) lipgloss.Style // nil: plain
}

// render draws the table without an end of line.
func (t *grid) render() string {
	right := make([]bool, len(t.titles))
	for i := range right {
		any, all := false, true
		for _, r := range t.rows {
			any, all = any || strings.ContainsAny(r[i], "0123456789"), all && number.MatchString(r[i])
		}
		right[i] = any && all
	}
	text := table.New().Border(lipgloss.HiddenBorder()).BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderHeader(false).BorderColumn(false).Headers(t.titles...).Rows(t.rows...).Wrap(false).
		StyleFunc(func(row, col int) lipgloss.Style {
			s := plainStyle
			switch {
			case row == table.HeaderRow:
				s = headStyle
			case t.style != nil:
				s = t.style(row, col)
			}
			if right[col] {
				s = s.Align(lipgloss.Right)
			}
			if col < len(t.titles)-1 {
				s = s.PaddingRight(2)
			}
			return s
		}).Render()
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// print draws the table.
func (t *grid) print(w io.Writer) error {
	_, err := lipgloss.Fprintln(w, t.render())
	return err
}

// number is a number, with a unit perhaps, a time as 1h2m3s, or none.
var number = regexp.MustCompile(`^([+-]?\d+(\.\d+)?( ?[A-Za-zµ%]+(/s)?)?|(\d+(\.\d+)?[a-zµ]+)+|-?)$`)

// size prints bytes with a binary unit.
func size(n uint64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f /= 1 << 10; f < 1<<10 {
			return fmt.Sprintf("%.1f %s", f, unit)
		}
	}
	return fmt.Sprintf("%.1f PiB", f/(1<<10))
}

// uptime prints seconds as people say them.
func uptime(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	if d >= 48*time.Hour {
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	}
	return d.String()
}
