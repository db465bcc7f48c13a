package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// endsWithin is how long a start waits for the process before it, which may have been
// killed a moment ago.
const endsWithin = 2 * time.Second

// writePID writes the file of -d and --pid-file; the function that it returns removes
// it, unless somebody has written something else meanwhile. The file is locked until
// then: a second start must not take it from a process that runs, and one that was
// killed leaves a file that can be written over.
func writePID(path string) (remove func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	pid := strconv.Itoa(os.Getpid())
	f, err := openPID(path)
	if err == nil {
		_, err = f.WriteString(pid + "\n")
	}
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, fmt.Errorf("write the file for the process's ID (-d, --pid-file): %w", err)
	}
	return func() {
		defer f.Close()
		if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == pid && isStill(f, path) {
			os.Remove(path)
		}
	}, nil
}

// openPID opens the file, empty and locked; what is no file, such as /dev/stderr, as
// it is.
func openPID(path string) (*os.File, error) {
	for began := time.Now(); ; {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644) // #nosec G302 G304 -- others are to read it
		if err != nil {
			return nil, err
		}
		if i, err := f.Stat(); err != nil || !i.Mode().IsRegular() {
			return f, err
		}
		// Some file systems know no locks: there it is as without one.
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			pid, _ := io.ReadAll(io.LimitReader(f, 32))
			f.Close()
			if time.Since(began) < endsWithin {
				time.Sleep(endsWithin / 100)
				continue
			}
			return nil, fmt.Errorf("%s is that of process %s, which runs: stop it first, or name another file", path, strings.TrimSpace(string(pid)))
		}
		if isStill(f, path) {
			return f, f.Truncate(0)
		}
		f.Close() // removed by the one before, who has just ended
	}
}

// isStill reports whether a file is still found at its path.
func isStill(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}
