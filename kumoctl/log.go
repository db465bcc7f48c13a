package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/kumoctl/cli"
)

// logEvery is how often a file that is followed is looked at.
const logEvery = 200 * time.Millisecond

// maxLogLine bounds a line of a log; a longer one is an error.
const maxLogLine = 1 << 20

// logView is what of a log to show.
type logView struct {
	follow, tail, head bool
	lines              int
}

func newLog(g *global) *cobra.Command {
	v := logView{lines: 10}
	cmd := &cobra.Command{
		Use: "log FILE", Args: cobra.ExactArgs(1),
		Short: "Read a log of JSON lines, as -g of a daemon writes it",
		Long: `Read a log of JSON lines, as -g of a daemon writes it; "-" is standard input.

Without -t, -h and -n all of it is shown. A negative -n means all but so many
lines: the first ones with -t, the last ones with -h. Lines that are no JSON
are shown as they are.`,
		Example: `  kumoctl log -f /var/log/kumo-server.json
  kumoctl log -h -n 100 manager.json
  kumoctl log -t -n 20 -o json manager.json | jq -r .msg`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case v.head && (v.tail || v.follow):
				return cli.Usagef("-h does not go with -t and -f")
			case v.follow && args[0] == "-":
				return cli.Usagef("-f wants a file")
			case cmd.Flags().Changed("lines") && !v.head || v.follow:
				v.tail = true
			}
			show := func(line []byte) error { return printLogLine(cmd.OutOrStdout(), line, g.output == "table") }
			return v.run(cmd.Context(), args[0], cmd.InOrStdin(), show)
		},
	}
	f := cmd.Flags()
	f.Bool("help", false, "help for log") // -h is kumolog's
	f.BoolVarP(&v.follow, "follow", "f", false, "go on with what is appended")
	f.BoolVarP(&v.tail, "tail", "t", false, "the last lines")
	f.BoolVarP(&v.head, "head", "h", false, "the first lines")
	f.IntVarP(&v.lines, "lines", "n", v.lines, "how many lines, with -t, -h or -f")
	return cmd
}

// run shows a log, and follows it until ctx ends.
func (v logView) run(ctx context.Context, path string, stdin io.Reader, show func([]byte) error) error {
	in := stdin
	var f *os.File
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return fmt.Errorf("open the log: %w", err)
		}
		defer func() { f.Close() }()
		in = f
	}
	r := &lineReader{r: bufio.NewReader(in)}
	if err := v.first(r, show); err != nil || !v.follow {
		return err
	}
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := r.each(false, show); err != nil {
			return err
		}
		if next := replaced(f, path); next != nil {
			f.Close()
			f, r = next, &lineReader{r: bufio.NewReader(next)}
		}
	}
}

// first shows what is in the log now.
func (v logView) first(r *lineReader, show func([]byte) error) error {
	whole := !v.follow // a last line without an end is one; followed, it is to go on
	if !v.tail && !v.head {
		return r.each(whole, show)
	}
	n, kept := 0, [][]byte{}
	keep := max(v.lines, -v.lines)
	err := r.each(whole, func(line []byte) error {
		n++
		switch {
		case v.head && v.lines >= 0:
			if n > keep {
				return io.EOF
			}
			return show(line)
		case v.tail && v.lines < 0:
			if n <= keep {
				return nil
			}
			return show(line)
		}
		kept = append(kept, bytes.Clone(line)) // the last ones: to be shown, or not to be
		if len(kept) <= keep {
			return nil
		}
		oldest := kept[0]
		kept = slices.Delete(kept, 0, 1)
		if v.head {
			return show(oldest)
		}
		return nil
	})
	if err == io.EOF {
		err = nil
	}
	if v.tail {
		for _, line := range kept {
			if err == nil {
				err = show(line)
			}
		}
	}
	return err
}

// replaced opens the file anew if another is at its path by now, or it is shorter
// than what was read: a log that was rotated.
func replaced(f *os.File, path string) *os.File {
	now, err := os.Stat(path)
	if err != nil {
		return nil // it will come
	}
	was, err := f.Stat()
	if err != nil {
		return nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if os.SameFile(was, now) && (err != nil || now.Size() >= at) {
		return nil
	}
	next, err := os.Open(path)
	if err != nil {
		return nil
	}
	return next
}

// lineReader reads lines of a file that may grow.
type lineReader struct {
	r    *bufio.Reader
	part []byte // of a line that has no end yet
}

// each calls f with each line that has come; with whole also with one that has no
// end.
func (l *lineReader) each(whole bool, f func([]byte) error) error {
	for {
		chunk, err := l.r.ReadSlice('\n')
		l.part = append(l.part, chunk...)
		if len(l.part) > maxLogLine {
			return fmt.Errorf("a line of more than %d bytes: this is no log", maxLogLine)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && (!whole || len(l.part) == 0):
			return nil
		case err != nil && err != io.EOF:
			return fmt.Errorf("read the log: %w", err)
		}
		line := bytes.TrimRight(l.part, "\r\n")
		if err := f(line); err != nil {
			return err
		}
		l.part = l.part[:0]
		if err == io.EOF {
			return nil
		}
	}
}

// printLogLine prints a record for people, or as it is.
func printLogLine(w io.Writer, line []byte, people bool) error {
	var rec map[string]any
	if !people || json.Unmarshal(line, &rec) != nil {
		_, err := fmt.Fprintf(w, "%s\n", line)
		return err
	}
	take := func(key string) string {
		v, ok := rec[key]
		delete(rec, key)
		if !ok {
			return ""
		}
		return value(v)
	}
	at, level, msg := take("time"), take("level"), take("msg")
	if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
		at = t.Format("2006-01-02 15:04:05.000")
	}
	style := plainStyle
	switch level {
	case "DEBUG":
		style = faintStyle
	case "WARN":
		style = warnStyle
	case "ERROR":
		style = badStyle
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", at, style.Render(fmt.Sprintf("%-5s", level)), msg)
	for _, k := range slices.Sorted(maps.Keys(rec)) {
		text := value(rec[k])
		if strings.ContainsAny(text, " \"=") {
			text = fmt.Sprintf("%q", text)
		}
		b.WriteString(" " + faintStyle.Render(k+"=") + text)
	}
	_, err := lipgloss.Fprintln(w, b.String())
	return err
}
