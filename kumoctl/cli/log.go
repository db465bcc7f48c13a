package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// The words of --log-format.
const (
	LogAuto = "auto" // text on a terminal and in the file of -o, JSON otherwise
	LogText = "text"
	LogJSON = "json"
)

// Logging says where a daemon's log goes.
type Logging struct {
	File    string // -o: "" is standard error, "-" standard output
	Format  string // LogAuto, also if empty, LogText or LogJSON; of File
	JSON    string // -g: JSON lines, beside the other
	Verbose bool   // -v: debug messages too
}

// Log is an open log.
type Log struct {
	*slog.Logger
	level slog.LevelVar
	files []*logFile
}

// Open opens the log. On a terminal lines are coloured, unless NO_COLOR is set.
func (l Logging) Open() (*Log, error) {
	log := &Log{}
	log.SetVerbose(l.Verbose)
	opts := &slog.HandlerOptions{Level: &log.level}
	var out io.Writer
	terminal, format := false, l.Format
	switch l.File {
	case "":
		out, terminal = os.Stderr, isTerminal(os.Stderr)
	case "-":
		out, terminal = os.Stdout, isTerminal(os.Stdout)
	default:
		f, err := log.open(l.File)
		if err != nil {
			return nil, fmt.Errorf("open log (-o): %w", err)
		}
		out = f
	}
	if format == "" || format == LogAuto {
		if format = LogJSON; terminal || len(log.files) > 0 {
			format = LogText
		}
	}
	var handlers []slog.Handler
	switch {
	case format == LogJSON:
		handlers = append(handlers, slog.NewJSONHandler(out, opts))
	case terminal:
		handlers = append(handlers, tint.NewTextHandler(out, &tint.Options{Level: opts.Level, TimeFormat: "15:04:05.000", NoColor: os.Getenv("NO_COLOR") != ""}))
	default:
		handlers = append(handlers, slog.NewTextHandler(out, opts))
	}
	if l.JSON != "" {
		f, err := log.open(l.JSON)
		if err != nil {
			log.Close()
			return nil, fmt.Errorf("open structured log (-g): %w", err)
		}
		handlers = append(handlers, slog.NewJSONHandler(f, opts))
	}
	log.Logger = slog.New(handlers[0])
	if len(handlers) > 1 {
		log.Logger = slog.New(slog.NewMultiHandler(handlers...))
	}
	return log, nil
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Check says what of the options cannot be.
func (l Logging) Check() error {
	switch l.Format {
	case "", LogAuto, LogText, LogJSON:
		return nil
	}
	return Usagef("--log-format %s: want %s, %s or %s", l.Format, LogAuto, LogText, LogJSON)
}

// SetVerbose says whether debug messages are logged too.
func (l *Log) SetVerbose(verbose bool) {
	l.level.Set(slog.LevelInfo)
	if verbose {
		l.level.Set(slog.LevelDebug)
	}
}

// Reopen opens the files again by their names, after they were moved away. One
// that cannot be opened goes on where it was.
func (l *Log) Reopen() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.reopen())
	}
	return errors.Join(errs...)
}

// Close closes the files; it may be called twice.
func (l *Log) Close() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (l *Log) open(path string) (*logFile, error) {
	f := &logFile{path: path}
	if err := f.reopen(); err != nil {
		return nil, err
	}
	l.files = append(l.files, f)
	return f, nil
}

// logFile is a file that may be moved away while it is written to.
type logFile struct {
	path string

	mu     sync.Mutex
	file   *os.File // nil: not open yet, or closed
	closed bool
}

func (f *logFile) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return 0, os.ErrClosed
	}
	return f.file.Write(b)
}

func (f *logFile) reopen() error {
	next, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) // #nosec G302 -- whoever gathers logs reads it; no value or password is in it
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return next.Close()
	}
	was := f.file
	f.file = next
	if was != nil {
		return was.Close()
	}
	return nil
}

func (f *logFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.file
	f.file, f.closed = nil, true
	if was == nil {
		return nil
	}
	return was.Close()
}
