package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// Logging says where a daemon's log goes.
type Logging struct {
	File    string // -o: lines of text; "" is standard error, "-" standard output
	JSON    string // -g: JSON lines, beside the other
	Verbose bool   // -v: debug messages too
}

// Open returns the logger and what closes its files. On a terminal lines are
// coloured, unless NO_COLOR is set.
func (l Logging) Open() (*slog.Logger, io.Closer, error) {
	level := slog.LevelInfo
	if l.Verbose {
		level = slog.LevelDebug
	}
	opts := &slog.HandlerOptions{Level: level}
	files := &logFiles{}

	var handlers []slog.Handler
	switch l.File {
	case "":
		handlers = append(handlers, terminalHandler(os.Stderr, opts))
	case "-":
		handlers = append(handlers, terminalHandler(os.Stdout, opts))
	default:
		f, err := files.open(l.File)
		if err != nil {
			return nil, nil, fmt.Errorf("open log (-o): %w", err)
		}
		handlers = append(handlers, slog.NewTextHandler(f, opts))
	}
	if l.JSON != "" {
		f, err := files.open(l.JSON)
		if err != nil {
			files.Close()
			return nil, nil, fmt.Errorf("open structured log (-g): %w", err)
		}
		handlers = append(handlers, slog.NewJSONHandler(f, opts))
	}
	if len(handlers) == 1 {
		return slog.New(handlers[0]), files, nil
	}
	return slog.New(slog.NewMultiHandler(handlers...)), files, nil
}

func terminalHandler(f *os.File, opts *slog.HandlerOptions) slog.Handler {
	if !term.IsTerminal(int(f.Fd())) {
		return slog.NewTextHandler(f, opts)
	}
	return tint.NewTextHandler(f, &tint.Options{Level: opts.Level, TimeFormat: "15:04:05.000", NoColor: os.Getenv("NO_COLOR") != ""})
}

// logFiles are the files of one log.
type logFiles struct {
	once sync.Once
	list []*os.File
	err  error
}

func (l *logFiles) open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		l.list = append(l.list, f)
	}
	return f, err
}

// Close closes the files; it may be called twice.
func (l *logFiles) Close() error {
	l.once.Do(func() {
		for _, f := range l.list {
			if err := f.Close(); l.err == nil {
				l.err = err
			}
		}
	})
	return l.err
}
