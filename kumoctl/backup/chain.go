package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/etolabo/kumofs/subjects"
)

// Chain is a full backup and incremental ones, each on top of the one before.
type Chain struct {
	sets []set // the full one first
}

type set struct {
	dir string
	m   *Manifest
}

// Open loads backups that belong together, in any order, and checks that nothing is
// missing between them. It does not read their records.
func Open(dirs ...string) (*Chain, error) {
	var rest []set
	for _, dir := range dirs {
		m, err := Load(dir)
		if err != nil {
			return nil, err
		}
		rest = append(rest, set{dir, m})
	}
	c := &Chain{}
	for base := ""; len(rest) > 0; {
		i := slices.IndexFunc(rest, func(s set) bool { return s.m.Base == base })
		switch {
		case i >= 0:
		case rest[0].m.Base == "":
			return nil, fmt.Errorf("%s is full, and so is %s: name one of them, and what is on top of it", rest[0].dir, c.sets[0].dir)
		case slices.ContainsFunc(c.sets, func(s set) bool { return s.m.Base == rest[0].m.Base }):
			return nil, fmt.Errorf("%s is on top of the backup with ID %s, and so is another that is named: name one of them", rest[0].dir, rest[0].m.Base)
		default:
			return nil, fmt.Errorf("%s is incremental, on top of the backup with ID %s: name that one, too", rest[0].dir, rest[0].m.Base)
		}
		next := rest[i]
		rest = slices.Delete(rest, i, i+1)
		if len(c.sets) > 0 && next.m.Table.Size() != c.Manifest().Table.Size() {
			return nil, fmt.Errorf("%s has %d partitions, its base has %d", next.dir, next.m.Table.Size(), c.Manifest().Table.Size())
		}
		c.sets = append(c.sets, next)
		if base = next.m.ID; base == "" {
			return nil, damaged(filepath.Join(next.dir, manifestName), "it has no ID")
		}
	}
	if len(c.sets) == 0 {
		return nil, errors.New("no backup is named")
	}
	for p := range c.Manifest().Parts {
		if _, err := c.sources(p); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Manifest is that of the newest backup.
func (c *Chain) Manifest() *Manifest { return c.sets[len(c.sets)-1].m }

// Files is how many bytes the chain's files with records have.
func (c *Chain) Files() (n int64) {
	for _, s := range c.sets {
		for i := range s.m.Parts {
			n += s.m.Parts[i].Size
		}
	}
	return n
}

// Verify reads and checks everything; see the function.
func (c *Chain) Verify(ctx context.Context, told func(bytes int64)) error {
	for _, s := range c.sets {
		if _, err := Verify(ctx, s.dir, told); err != nil {
			return err
		}
	}
	return nil
}

// source is where a range's records are.
type source struct{ set, at int }

// sources finds each range of a partition of the newest backup.
func (c *Chain) sources(p int) ([]source, error) {
	newest := c.Manifest().Parts[p].Ranges
	list := make([]source, len(newest))
	for i := range newest {
		at := i
		for n := len(c.sets) - 1; ; n-- {
			ranges := c.sets[n].m.Parts[p].Ranges
			if n < len(c.sets)-1 {
				var ok bool
				if at, ok = find(ranges, newest[i].From); !ok || !ranges[at].Same(&newest[i].KeyRange) {
					at = -1
				}
			}
			if at >= 0 && ranges[at].Stored {
				list[i] = source{n, at}
				break
			}
			if at < 0 || n == 0 {
				return nil, damaged(filepath.Join(c.sets[n].dir, manifestName), "partition %d lacks the range from %q", p, newest[i].From)
			}
		}
	}
	return list, nil
}

// find looks for the range that begins at a key.
func find(ranges []Range, from []byte) (int, bool) {
	return slices.BinarySearchFunc(ranges, from, func(r Range, from []byte) int { return bytes.Compare(r.From, from) })
}

// Part calls f with the records of a partition, as it was in the newest backup, in
// the order of their keys. They are checked on the way. raw is valid until f
// returns, and what rec holds aliases it.
func (c *Chain) Part(p int, f func(rec *subjects.Record, raw []byte) error) error {
	from, err := c.sources(p)
	if err != nil {
		return err
	}
	readers := make([]*fileReader, len(c.sets))
	defer func() {
		for _, r := range readers {
			if r != nil {
				r.close()
			}
		}
	}()
	for _, s := range from {
		r := readers[s.set]
		if r == nil {
			if r, err = openFile(c.sets[s.set].dir, &c.sets[s.set].m.Parts[p]); err != nil {
				return err
			}
			readers[s.set] = r
		}
		if err := r.seek(s.at, f); err != nil {
			return err
		}
	}
	for _, r := range readers {
		if r == nil {
			continue
		}
		if err := r.seek(len(r.part.Ranges), nil); err != nil {
			return err
		}
	}
	return nil
}

func pass(*subjects.Record, []byte) error { return nil }

// seek passes over ranges up to one, which f gets; the number of ranges ends the file.
func (r *fileReader) seek(at int, f func(*subjects.Record, []byte) error) error {
	for {
		to := pass
		if r.upcoming() == at {
			to = f
		}
		g, err := r.next(to)
		if err != nil || g == nil || r.at == at+1 {
			return err
		}
	}
}

// upcoming is the number of the range that next reads.
func (r *fileReader) upcoming() int {
	for r.at < len(r.part.Ranges) && !r.part.Ranges[r.at].Stored {
		r.at++
	}
	return r.at
}

// begin makes the folder in which a backup becomes complete, and keeps others from
// it until it is closed. What an interrupted one left there is replaced.
func begin(dir string) (partial string, lock *os.File, err error) {
	switch _, err := os.Stat(dir); {
	case err == nil:
		return "", nil, fmt.Errorf("%s is there already: name another folder", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return "", nil, err
	}
	partial = filepath.Clean(dir) + ".partial"
	if err := os.MkdirAll(partial, 0o700); err != nil {
		return "", nil, err
	}
	if lock, err = own(partial); err != nil {
		return "", nil, err
	}
	if err := empty(partial); err != nil {
		lock.Close()
		return "", nil, err
	}
	return partial, lock, nil
}

// own locks a folder.
func own(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another backup is being written to %s: %w", dir, err)
	}
	// Whoever had it may have given it its name meanwhile.
	mine, err := f.Stat()
	if err == nil {
		var now fs.FileInfo
		if now, err = os.Stat(dir); err == nil && !os.SameFile(mine, now) {
			err = fmt.Errorf("%s is another folder by now", dir)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// empty removes the files of a backup that is not complete.
func empty(partial string) error {
	old, err := filepath.Glob(filepath.Join(partial, "*"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if name := filepath.Base(path); name != manifestName && name != sumsName && filepath.Ext(name) != ".records" {
			return fmt.Errorf("%s is no part of a backup: remove it, or name another folder", path)
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// complete gives a backup that is on the disk as a whole its name.
func complete(m *Manifest, partial, dir string) error {
	if err := m.save(partial); err != nil {
		return err
	}
	if err := os.Rename(partial, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// Merge writes a chain as one full backup, with the ID of its newest: an incremental
// one on top of that fits on top of this. An error, or the end of ctx, leaves
// dir.partial, which the next attempt replaces.
func Merge(ctx context.Context, dir string, c *Chain, told func(bytes int64)) (*Manifest, error) {
	partial, lock, err := begin(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	m := *c.Manifest()
	m.Base, m.Parts = "", slices.Clone(m.Parts)
	for p := range m.Parts {
		part := &m.Parts[p]
		part.Ranges = slices.Clone(part.Ranges)
		for i := range part.Ranges {
			part.Ranges[i].Stored = true
		}
		w, err := createFile(partial, part.Partition)
		if err != nil {
			return nil, err
		}
		err = c.Part(p, func(_ *subjects.Record, raw []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return w.write(raw)
		})
		if err != nil {
			w.f.Close()
			return nil, err
		}
		if err := w.finish(part); err != nil {
			return nil, err
		}
		told(part.Size)
	}
	return &m, complete(&m, partial, dir)
}
