package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// leftEnv tells a process that it has left the terminal, and where it says that all
// is open.
const leftEnv = "KUMOFS_LEFT_TERMINAL"

// leaveTerminal starts this program again, in a session of its own, and waits until
// that says that it is open, or ends. In the process that is to go on, the first one
// if nothing is to be left, it returns what to call then; elsewhere nil, and why it
// did not come to that. (Go programs cannot fork, so that the second one begins anew.)
func leaveTerminal(ctx context.Context, path string) (opened func(silent bool) error, err error) {
	told := os.Getenv(leftEnv)
	switch {
	case path == "":
		return func(bool) error { return nil }, nil
	case told != "":
		os.Unsetenv(leftEnv)
		fd, err := strconv.Atoi(told)
		if err != nil {
			return nil, fmt.Errorf("%s=%s: want the number of a file", leftEnv, told)
		}
		unix.CloseOnExec(fd)
		return func(silent bool) error { return hasLeft(os.NewFile(uintptr(fd), leftEnv), silent) }, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	c := exec.Command(self, os.Args[1:]...)
	c.Args[0] = os.Args[0]
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.ExtraFiles = []*os.File{w}
	c.Env = append(os.Environ(), leftEnv+"=3")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = c.Start()
	w.Close()
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Process.Signal(syscall.SIGTERM) })
	defer stop()
	if n, _ := r.Read(make([]byte, 1)); n == 1 {
		return nil, nil
	}
	// It ended, and has said why.
	err = c.Wait()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) && ended.ExitCode() > 0 {
		return nil, &ExitError{ended.ExitCode()}
	}
	return nil, errors.Join(errors.New("the daemon ended before all was open"), err)
}

// hasLeft says that all is open. A silent daemon keeps no terminal open by its
// standard files.
func hasLeft(to *os.File, silent bool) error {
	if silent {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		for fd := range 3 {
			if err := dup(int(null.Fd()), fd); err != nil {
				return err
			}
		}
		null.Close()
	}
	_, err := to.Write([]byte{1})
	return errors.Join(err, to.Close())
}
