package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// process is a daemon as a process.
type process struct {
	cmd     *exec.Cmd
	done    chan struct{}
	stopped chan struct{} // holds something once the process was asked to end
	failed  error         // written before done is closed
}

// startProcess starts a program, with env beside the environment; its output goes
// to out. The process is in a group of its own, so that a Ctrl-C on the terminal
// does not reach it before we stop it in the right order; see attributes for what
// else.
func startProcess(program, args, env []string, out *os.File) (*process, error) {
	line := append(append([]string{}, program[1:]...), args...)
	cmd := exec.Command(program[0], line...) // #nosec G204 -- the program that runs, again
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(slices.DeleteFunc(os.Environ(), ours), env...)
	cmd.SysProcAttr = attributes()
	p := &process{cmd: cmd, done: make(chan struct{}), stopped: make(chan struct{}, 1)}
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		// For Linux the thread that starts a process is its parent: it must not
		// end before.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.failed = p.explain(cmd.Wait())
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", program[0], err)
	}
	return p, nil
}

// ours tells a variable that would set an option of a daemon: what this cluster's
// are told is what this process tells them.
func ours(variable string) bool { return strings.HasPrefix(variable, "KUMO_") }

// explain drops the error of a process that was meant to end.
func (p *process) explain(err error) error {
	select {
	case <-p.stopped:
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == -1 { // by a signal
			return nil
		}
	default:
		if err == nil {
			return errors.New("ended by itself")
		}
	}
	return err
}

func (p *process) pid() int               { return p.cmd.Process.Pid }
func (p *process) ended() <-chan struct{} { return p.done }
func (p *process) err() error             { <-p.done; return p.failed }
func (p *process) stop()                  { p.signal(syscall.SIGTERM) }

func (p *process) signal(s syscall.Signal) error {
	if s == syscall.SIGTERM || s == syscall.SIGKILL {
		select {
		case p.stopped <- struct{}{}:
		default:
		}
	}
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
