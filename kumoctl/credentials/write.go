package credentials

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// newInfix and oldSuffix are in the names of folders while others take their places.
const (
	newInfix  = "-new-"
	oldSuffix = "-old"
)

// putBack brings a folder back that writeFolder has moved away for another, and was
// ended before that one had its name.
func putBack(path string) error {
	if exists(path) {
		return nil
	}
	olds, err := filepath.Glob(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+newInfix+"*"+oldSuffix))
	if err != nil || len(olds) != 1 {
		return err // which of several it would be nobody knows
	}
	return os.Rename(olds[0], path)
}

// writeFolder makes a folder of these files, in place of what there was of it: whole,
// or not at all.
func writeFolder(path string, files map[string][]byte) (err error) {
	next, err := os.MkdirTemp(filepath.Dir(path), "."+filepath.Base(path)+newInfix) // with mode 0700
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(next)
		}
	}()
	for name, text := range files {
		if err := writeFile(filepath.Join(next, name), text); err != nil {
			return err
		}
	}
	old := next + oldSuffix
	err = os.Rename(path, old)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	had := err == nil
	if err := os.Rename(next, path); err != nil {
		if had {
			err = errors.Join(err, os.Rename(old, path))
		}
		return err
	}
	if !had {
		return nil
	}
	return os.RemoveAll(old)
}

// writeFile writes a file that only its owner can read: whole, or not at all.
func writeFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+newInfix) // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
