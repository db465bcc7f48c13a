//go:build !linux

package store

import "os"

func datasync(f *os.File) error { return f.Sync() }

func preallocate(f *os.File, size int64) error { return f.Truncate(size) }

func writtenUpTo(_ *os.File, size int64) int64 { return size }
