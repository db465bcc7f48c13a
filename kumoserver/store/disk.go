package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"go.etcd.io/bbolt"
)

// disk is whatever the store does to its folder, in one place, so that tests can let
// each of it fail, or see what a machine's death would leave.
type disk struct {
	write    func(f *os.File, b []byte, off int64) (int, error)
	sync     func(f *os.File) error
	allocate func(f *os.File, size int64) error
	free     func(dir string) int64
	folder   func(dir string) error // syncs it
	lax      bool                   // nothing is synced: for tests in which only processes die

	// before is asked before anything is done; what it fails with, that fails with.
	before func(deed) error
	// bolt is told of each bbolt file that is opened, which writes past this.
	bolt func(path string, db *bbolt.DB)
}

// deed is one thing that is done to the folder.
type deed struct {
	what deedKind
	path string
	to   string // of a rename
	off  int64  // of a write
	data []byte // of a write
	size int64  // of an allocation or a cut
}

type deedKind uint8

const (
	deedCreate deedKind = iota + 1 // an empty file, or emptied
	deedWrite
	deedSize // makes a file so long
	deedSync // of a file
	deedSyncFolder
	deedRename
	deedRemove
	deedMakeFolder
)

func (k deedKind) String() string {
	return [...]string{"", "create", "write", "size", "sync", "sync folder", "rename", "remove", "make folder"}[k]
}

func (d *disk) ask(x deed) error {
	if d.before == nil {
		return nil
	}
	return d.before(x)
}

// shortWrite fails a write of which so many bytes are done.
type shortWrite int

func (n shortWrite) Error() string { return fmt.Sprintf("%d bytes written", int(n)) }

func (d *disk) writeAt(f *os.File, b []byte, off int64) error {
	if err := d.ask(deed{what: deedWrite, path: f.Name(), off: off, data: b}); err != nil {
		var short shortWrite
		if errors.As(err, &short) {
			f.WriteAt(b[:short], off)
		}
		return err
	}
	write := (*os.File).WriteAt
	if d.write != nil {
		write = d.write
	}
	n, err := write(f, b, off)
	if err == nil && n < len(b) {
		err = fmt.Errorf("%d of %d bytes written", n, len(b))
	}
	return err
}

func (d *disk) datasync(f *os.File) error {
	if err := d.ask(deed{what: deedSync, path: f.Name()}); err != nil {
		return err
	}
	switch {
	case d.sync != nil:
		return d.sync(f)
	case d.lax:
		return nil
	}
	return datasync(f)
}

// syncFile brings the file's size to disk as well.
func (d *disk) syncFile(f *os.File) error {
	if err := d.ask(deed{what: deedSync, path: f.Name()}); err != nil || d.lax {
		return err
	}
	return f.Sync()
}

// fullsync brings the file's size to disk as well, and its name.
func (d *disk) fullsync(f *os.File) error {
	if err := d.syncFile(f); err != nil {
		return err
	}
	return d.syncFolder(filepath.Dir(f.Name()))
}

// create opens a file for writing that is empty; with os.O_EXCL among the flags it
// must not be there.
func (d *disk) create(path string, flags int) (*os.File, error) {
	if err := d.ask(deed{what: deedCreate, path: path}); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC|flags, 0o600)
}

func (d *disk) cut(f *os.File, size int64) error {
	if err := d.ask(deed{what: deedSize, path: f.Name(), size: size}); err != nil {
		return err
	}
	return f.Truncate(size)
}

func (d *disk) rename(from, to string) error {
	if err := d.ask(deed{what: deedRename, path: from, to: to}); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (d *disk) remove(path string) error {
	if _, err := os.Lstat(path); err != nil {
		return err
	}
	if err := d.ask(deed{what: deedRemove, path: path}); err != nil {
		return err
	}
	return os.Remove(path)
}

func (d *disk) makeFolder(path string) error {
	if err := d.ask(deed{what: deedMakeFolder, path: path}); err != nil {
		return err
	}
	return os.MkdirAll(path, 0o700)
}

func (d *disk) preallocate(f *os.File, size int64) error {
	if err := d.ask(deed{what: deedSize, path: f.Name(), size: size}); err != nil {
		return err
	}
	if d.allocate != nil {
		return d.allocate(f, size)
	}
	return preallocate(f, size)
}

// freeIn is how many bytes there is room for in a folder; a lot if nobody knows.
func (d *disk) freeIn(dir string) int64 {
	if d.free != nil {
		return d.free(dir)
	}
	return freeBytes(dir)
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, ErrNoSpace)
}

// writeFile replaces a file: the old or the new content is there after a crash at
// any moment. With a full disk a small one is written in place: it has its
// block, and whoever reads it knows when it is torn.
func (d *disk) writeFile(path string, b []byte) error {
	err := d.replaceFile(path, b)
	if isNoSpace(err) && len(b) <= 512 {
		err = d.overwriteFile(path, b)
	}
	return err
}

func (d *disk) overwriteFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = d.writeAt(f, b, 0)
	if err == nil {
		err = d.cut(f, int64(len(b)))
	}
	if err == nil {
		err = d.syncFile(f)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

func (d *disk) replaceFile(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := d.create(tmp, 0)
	if err != nil {
		return err
	}
	err = d.writeAt(f, b, 0)
	if err == nil {
		err = d.syncFile(f)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = d.rename(tmp, path)
	}
	if err != nil {
		d.remove(tmp)
		return err
	}
	return d.syncFolder(filepath.Dir(path))
}

// syncFolder brings a folder's names to disk.
func (d *disk) syncFolder(dir string) error {
	if err := d.ask(deed{what: deedSyncFolder, path: dir}); err != nil {
		return err
	}
	switch {
	case d.folder != nil:
		return d.folder(dir)
	case d.lax:
		return nil
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// setAside renames a file so that nothing reads it and nothing is destroyed.
func (d *disk) setAside(path string) (string, error) {
	for n := 1; ; n++ {
		to := fmt.Sprintf("%s.damaged-%d", path, n)
		if _, err := os.Lstat(to); errors.Is(err, os.ErrNotExist) {
			if err := d.rename(path, to); err != nil {
				return "", err
			}
			return to, d.syncFolder(filepath.Dir(path))
		}
	}
}
