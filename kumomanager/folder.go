package kumomanager

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

var (
	// ErrInUse says that another process has the folder.
	ErrInUse = errors.New("is in use by another process")
	// ErrNotManager: the folder holds something, but nothing of a manager.
	ErrNotManager = errors.New("not a manager's folder")
)

// The files of a manager's folder, beside the log.
const (
	lockFile     = "lock"
	identityFile = "manager.json"
)

// folder is a manager's folder, locked for this process.
type folder struct {
	dir  string
	lock *os.File
	mu   sync.Mutex
	id   identity // guarded by mu once it is open
}

// identity is what a folder keeps about itself.
type identity struct {
	ID      ring.NodeID      `json:"id"`
	Cluster subjects.Cluster `json:"cluster"`
	Name    string           `json:"name"` // under which it votes
	// Joined: it did not begin the cluster, and votes once others say so. Removed: it
	// was taken out for good.
	// ClusterID is known once there was a table: without a leader there is none.
	ClusterID ring.ClusterID `json:"cluster_id,omitempty"`
	Joined    bool           `json:"joined,omitempty"`
	Removed   bool           `json:"removed,omitempty"`
}

// openFolder locks a folder, making it if need be. A folder votes under one name
// in one cluster. A new one joins the managers of a cluster if it is told to.
func openFolder(dir string, cluster subjects.Cluster, name string, join bool) (_ *folder, err error) {
	if st, err := os.Stat(dir); err == nil && !st.IsDir() {
		return nil, fmt.Errorf("%s is a file; -s names a folder here", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the manager's folder: %w", err)
	}
	if !mayTake(dir) {
		return nil, fmt.Errorf("%s is not empty and is %w: name another folder, or an empty one", dir, ErrNotManager)
	}
	f := &folder{dir: dir}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.lock, err = os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("open the lock of folder %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("folder %s %w", dir, ErrInUse)
		}
		return nil, fmt.Errorf("lock folder %s: %w", dir, err)
	}
	if err := f.identify(cluster, name, join); err != nil {
		return nil, err
	}
	return f, nil
}

// mayTake reports whether a manager may take the folder: it has an identity, or
// nothing at all. A lock alone is what a start leaves that came no further.
func mayTake(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, identityFile)); err == nil {
		return true
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(list, func(e os.DirEntry) bool {
		return !slices.Contains([]string{lockFile, identityFile + ".tmp", "lost+found"}, e.Name())
	})
}

// identify reads the identity, or mints it in a new folder.
func (f *folder) identify(cluster subjects.Cluster, name string, join bool) error {
	path := filepath.Join(f.dir, identityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		f.id = identity{ID: ring.NodeID(random()), Cluster: cluster, Name: name, Joined: join}
		return f.write(path)
	}
	if err != nil {
		return fmt.Errorf("read the identity of folder %s: %w", f.dir, err)
	}
	if err := json.Unmarshal(data, &f.id); err != nil || f.id.ID == 0 {
		return fmt.Errorf("%s is damaged: %v", path, err)
	}
	switch {
	case f.id.Removed:
		return fmt.Errorf("folder %s is of a manager that was removed from its cluster: to come back it needs an empty folder and --join", f.dir)
	case f.id.Cluster != cluster:
		return fmt.Errorf("folder %s belongs to cluster %q, not to %q", f.dir, f.id.Cluster, cluster)
	case f.id.Name != name:
		return fmt.Errorf("folder %s belongs to manager %s, not to %s: the other managers know it by that address", f.dir, f.id.Name, name)
	}
	return nil
}

// identity is what the folder says of itself now.
func (f *folder) identity() identity {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.id
}

// belong notes which cluster the folder is of, once that is known.
func (f *folder) belong(id ring.ClusterID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.id.ClusterID == id {
		return nil
	}
	f.id.ClusterID = id
	return f.write(filepath.Join(f.dir, identityFile))
}

// retire notes that the manager was removed from its cluster.
func (f *folder) retire(from ring.ClusterID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.id.ClusterID != from {
		return fmt.Errorf("%w: folder %s is of cluster %s, not of %s", subjects.ErrRefused, f.dir, f.id.ClusterID, from)
	}
	f.id.Removed = true
	return f.write(filepath.Join(f.dir, identityFile))
}

// write makes the identity durable before anything else is in the folder.
func (f *folder) write(path string) error {
	data, err := json.Marshal(f.id)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	out, err := os.Create(tmp)
	if err != nil {
		return fmt.Errorf("write the identity of folder %s: %w", f.dir, err)
	}
	_, err = out.Write(append(data, '\n'))
	err = errors.Join(err, out.Sync(), out.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(f.dir)
	}
	if err != nil {
		return fmt.Errorf("write the identity of folder %s: %w", f.dir, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// close gives the folder back.
func (f *folder) close() {
	if f != nil && f.lock != nil {
		f.lock.Close() // ends the lock
		f.lock = nil
	}
}

// random draws an identity, never 0.
func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:]) | 1
}
