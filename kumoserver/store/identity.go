package store

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/etolabo/kumofs/subjects/ring"
)

const (
	format       = 2 // 2: values have tokens of their own
	lockName     = "LOCK"
	identityName = "store.json"
	runName      = "run.json"
	dataName     = "data.db"
	logDir       = "log"
	damagedName  = "data.db.is-damaged" // left by a process that found it so
)

// identity is who the store is.
type identity struct {
	Format  int            `json:"format"`
	ID      ring.NodeID    `json:"id"`
	Cluster ring.ClusterID `json:"cluster,omitempty"`
	// Ready tells that data.db was made: from then on a missing one is a loss.
	Ready bool `json:"ready"`
}

// run tells how a process left the store.
type run struct {
	OSBoot string `json:"os_boot"`
	Sync   string `json:"sync"`
	Clean  bool   `json:"clean"`
	// Unclean: a write or sync failed, or what is found at the next start tells
	// that something is missing. The log may lack entries that this store has
	// acknowledged, and what can be read of it need not be on the disk. It stays
	// until the copies themselves say so.
	Unclean bool `json:"unclean,omitempty"`
	// Grant is how long what a process of this store grants may bind, in
	// nanoseconds: the longest that may still be out.
	Grant int64 `json:"grant,omitempty"`
	// Starts counts the store's processes, so that they can be told in their order.
	Starts uint64 `json:"starts,omitempty"`
}

// lockFolder makes the folder if need be and takes its lock.
func lockFolder(dir string) (*os.File, error) {
	if fi, err := os.Stat(dir); err == nil && !fi.IsDir() {
		return nil, fmt.Errorf("%s is a file; -s names a folder here", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockName)
	_, err := os.Lstat(path)
	foreign := errors.Is(err, os.ErrNotExist) && !emptyButOurs(dir)
	if foreign {
		return nil, fmt.Errorf("%s is not empty and is %w: name another folder, or an empty one", dir, ErrNotStore)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w%s", dir, ErrInUse, holder(f))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	pid := fmt.Appendf(nil, "%d\n", os.Getpid())
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt(pid, 0)
		if err != nil && !isNoSpace(err) {
			f.Close()
			return nil, fmt.Errorf("write %s: %w", path, err)
		}
	}
	return f, nil
}

func holder(f *os.File) string {
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0)
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return " by process " + pid
	}
	return ""
}

// emptyButOurs reports whether the folder is one that a store may take: it has
// an identity, or nothing at all.
func emptyButOurs(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, identityName)); err == nil {
		return true
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range list {
		switch e.Name() {
		case lockName, identityName + ".tmp", "lost+found":
		default:
			return false
		}
	}
	return true
}

// loadIdentity reads who the store is, or makes it someone.
func loadIdentity(d *disk, dir string) (identity, error) {
	var id identity
	path := filepath.Join(dir, identityName)
	found, err := readJSON(path, &id)
	if err != nil {
		return id, err
	}
	if !found {
		if !emptyButOurs(dir) {
			return id, fmt.Errorf("%s is not empty and is %w: name another folder, or an empty one", dir, ErrNotStore)
		}
		id = identity{Format: format, ID: ring.NodeID(random())}
		return id, d.saveJSON(path, id)
	}
	if id.Format != format {
		return id, fmt.Errorf("%s: %w: it has format %d, this program reads %d; use the program that made it, or another folder", dir, ErrFormat, id.Format, format)
	}
	if id.ID == 0 {
		return id, fmt.Errorf("%s holds no identity; the store cannot be told apart from others", path)
	}
	return id, nil
}

func random() uint64 {
	var b [8]byte
	for {
		rand.Read(b[:])
		if v := binary.LittleEndian.Uint64(b[:]); v != 0 {
			return v
		}
	}
}

func readJSON(path string, v any) (found bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return true, nil
}

func (d *disk) saveJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := d.writeFile(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// judgeRun tells whether what the last process left may lack entries that it
// acknowledged: the machine stopped, and not all was on disk.
func judgeRun(last run, found, ready bool, boot string) bool {
	if !found {
		return ready // the note of a store that was in use is gone
	}
	return last.Unclean || !last.Clean && last.OSBoot != boot && last.Sync != SyncAlways.String()
}
