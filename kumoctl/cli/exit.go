package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/etolabo/kumofs/subjects"
)

// The exit codes of every command.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitUnreachable = 3
	ExitTimedOut    = 4
)

// UsageError is a command line that makes no sense.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *UsageError) Unwrap() error { return e.Err }

// ExitError ends a command that has said all there is to say with an exit code of
// its own.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// Usagef returns a *UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// ExitCode maps an error to the process's exit code.
func ExitCode(err error) int {
	var usage *UsageError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &usage):
		return ExitUsage
	case errors.Is(err, subjects.ErrUnavailable):
		return ExitUnreachable
	case errors.Is(err, subjects.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return ExitTimedOut
	}
	return ExitFailed
}

// Main runs a command line, given without the program's name, and returns the
// exit code. The first SIGINT or SIGTERM, or the end of the terminal, ends the
// command's context; the second ends the process.
func Main(cmd *cobra.Command, args []string) int {
	if signal.Ignored(syscall.SIGHUP) { // as nohup has it
		return main(cmd, args, os.Interrupt, syscall.SIGTERM)
	}
	return main(cmd, args, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// DaemonMain is Main for a daemon, which Serve has heed SIGHUP.
func DaemonMain(cmd *cobra.Command, args []string) int {
	return main(cmd, args, os.Interrupt, syscall.SIGTERM)
}

func main(cmd *cobra.Command, args []string, signals ...os.Signal) int {
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	context.AfterFunc(ctx, stop)
	return Execute(ctx, cmd, args, os.Stderr)
}

// Execute is Main with a context and a place for error messages of the
// caller's choice.
func Execute(ctx context.Context, cmd *cobra.Command, args []string, stderr io.Writer) int {
	cmd.SilenceErrors = true
	cmd.SilenceUsage = true
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &UsageError{plainValue(err)} })
	cmd.SetArgs(Translate(args))
	ran := false
	before := cmd.PersistentPreRunE
	cmd.PersistentPreRunE = func(c *cobra.Command, args []string) error {
		ran = true
		if before != nil {
			return before(c, args)
		}
		return nil
	}
	c, err := cmd.ExecuteContextC(ctx)
	if err == nil {
		return ExitDone
	}
	if own := (*ExitError)(nil); errors.As(err, &own) {
		return own.Code
	}
	code := ExitCode(err)
	if !ran { // cobra found fault with the command line
		code = ExitUsage
	}
	fmt.Fprintf(stderr, "%s: %v\n", c.CommandPath(), err)
	if code == ExitUsage {
		fmt.Fprintf(stderr, "Run '%s --help' for usage.\n", c.CommandPath())
	}
	return code
}
