package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// disk is the few calls of the log that can fail when a disk is full or
// breaks; tests replace them.
type disk struct {
	write    func(f *os.File, b []byte, off int64) (int, error)
	sync     func(f *os.File) error
	allocate func(f *os.File, size int64) error
	free     func(dir string) int64
	folder   func(dir string) error // syncs it
	lax      bool                   // nothing is synced: for tests in which only processes die
}

func (d *disk) writeAt(f *os.File, b []byte, off int64) error {
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
	switch {
	case d.sync != nil:
		return d.sync(f)
	case d.lax:
		return nil
	}
	return datasync(f)
}

// fullsync brings the file's size to disk as well, and its name.
func (d *disk) fullsync(f *os.File) error {
	if d.lax {
		return nil
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.Name()))
}

func (d *disk) preallocate(f *os.File, size int64) error {
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
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Truncate(int64(len(b)))
	}
	if err == nil && !d.lax {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

func (d *disk) replaceFile(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && !d.lax {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	if d.lax {
		return nil
	}
	return syncDir(filepath.Dir(path))
}

// syncFolder brings a folder's names to disk.
func (d *disk) syncFolder(dir string) error {
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
func setAside(path string) (string, error) {
	for n := 1; ; n++ {
		to := fmt.Sprintf("%s.damaged-%d", path, n)
		if _, err := os.Lstat(to); errors.Is(err, os.ErrNotExist) {
			if err := os.Rename(path, to); err != nil {
				return "", err
			}
			return to, syncDir(filepath.Dir(path))
		}
	}
}
