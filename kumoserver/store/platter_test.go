package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"go.etcd.io/bbolt"
)

// platter is the disk below a store's folder: it knows what of it would be there
// after a loss of power. It may let anything fail.
type platter struct {
	t   *testing.T
	dir string

	mu    sync.Mutex // guards all below
	names map[string]*inode
	kept  map[string]*inode // names that are on disk
	since []naming          // that are not yet, in their order
	done  int
	fail  func(n int, d deed) error // asked about each deed; nil: none fails

	unsynced *inode // of which a sync failed last

	power *power // nil: it does not fail
}

// power is what disks share; it fails after a number of deeds on all of them.
type power struct{ left atomic.Int64 }

// use reports whether there is power for one more deed.
func (w *power) use() bool { return w == nil || w.left.Add(-1) >= 0 }

// inode is a file, whatever it is called.
type inode struct {
	disk  []byte // what is on disk
	since []deed // what was written since the last sync
}

// naming gives a name to a file, or to none.
type naming struct {
	path string
	file *inode
}

var errPower = errors.New("there is no power")

// newPlatter is the disk of a folder, of which everything is on disk.
func newPlatter(t *testing.T, dir string) *platter {
	p := &platter{t: t, dir: dir, names: map[string]*inode{}, kept: map[string]*inode{}}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		p.names[path] = &inode{disk: b}
		p.kept[path] = p.names[path]
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return p
}

// disk is the store's way to it.
func (p *platter) disk() *disk { return &disk{lax: true, before: p.before, bolt: p.bolt} }

func (p *platter) before(d deed) error { return p.do(d, nil) }

// do notes what is done, to a file whose name may have changed if it is given.
func (p *platter) do(d deed, file *inode) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.power.use() {
		return errPower
	}
	p.done++
	if p.fail != nil {
		if err := p.fail(p.done-1, d); err != nil {
			var short shortWrite
			if errors.As(err, &short) && d.what == deedWrite {
				d.data = d.data[:short]
				p.note(d, file)
			}
			if d.what == deedSync {
				if p.unsynced = file; file == nil {
					p.unsynced = p.names[d.path]
				}
			}
			return err
		}
	}
	p.note(d, file)
	return nil
}

func (p *platter) note(d deed, file *inode) {
	if file == nil {
		file = p.names[d.path]
	}
	switch d.what {
	case deedCreate:
		p.name(d.path, &inode{})
	case deedRename:
		p.name(d.to, file)
		p.name(d.path, nil)
	case deedRemove:
		p.name(d.path, nil)
	case deedWrite, deedSize:
		d.data = bytes.Clone(d.data)
		file.since = append(file.since, d)
	case deedSync:
		for _, x := range file.since {
			file.apply(x)
		}
		file.since = nil
	case deedSyncFolder:
		p.since = slices.DeleteFunc(p.since, func(n naming) bool {
			if filepath.Dir(n.path) != d.path {
				return false
			}
			n.apply(p.kept)
			return true
		})
	}
}

func (p *platter) name(path string, file *inode) {
	n := naming{path, file}
	n.apply(p.names)
	p.since = append(p.since, n)
}

func (n naming) apply(names map[string]*inode) {
	if n.file == nil {
		delete(names, n.path)
	} else {
		names[n.path] = n.file
	}
}

func (f *inode) apply(d deed) {
	if d.what == deedSize {
		f.grow(d.size)
		f.disk = f.disk[:d.size]
		return
	}
	f.grow(d.off + int64(len(d.data)))
	copy(f.disk[d.off:], d.data)
}

func (f *inode) grow(size int64) {
	if more := size - int64(len(f.disk)); more > 0 {
		f.disk = append(f.disk, make([]byte, more)...)
	}
}

// bolt has bbolt write through this as well. What it does when it begins a file,
// and that it syncs before and after it writes down which state of the file counts
// (one of the first two pages), is taken for granted.
func (p *platter) bolt(path string, db *bbolt.DB) {
	b, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	file := p.names[path]
	file.disk, file.since = b, nil
	p.mu.Unlock()
	at := (*func([]byte, int64) (int, error))(unsafe.Pointer(
		reflect.ValueOf(db).Elem().FieldByName("ops").FieldByName("writeAt").UnsafeAddr()))
	write, size := *at, int64(db.Info().PageSize)
	*at = func(b []byte, off int64) (int, error) {
		if off >= 2*size {
			return p.boltWrite(file, write, b, off)
		}
		if err := p.do(deed{what: deedSync, path: path}, file); err != nil {
			return 0, err
		}
		n, err := p.boltWrite(file, write, b, off)
		if err == nil {
			err = p.do(deed{what: deedSync, path: path}, file)
		}
		return n, err
	}
}

func (p *platter) boltWrite(file *inode, write func([]byte, int64) (int, error), b []byte, off int64) (int, error) {
	if err := p.do(deed{what: deedWrite, path: dataName, off: off, data: b}, file); err != nil {
		var short shortWrite
		if errors.As(err, &short) {
			write(b[:short], off)
		}
		return 0, err
	}
	return write(b, off)
}

// sector is what a disk writes as a whole.
const sector = 512

// after makes the folder what a loss of power has left: of what was not synced
// nothing, all, or some, in any order; of names that were not, the first few.
func (p *platter) after(rnd *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.since[:survive(rnd, len(p.since))] {
		n.apply(p.kept)
	}
	sizes := map[*inode]int64{}
	for path, f := range p.names {
		if fi, err := os.Stat(path); err == nil {
			sizes[f] = fi.Size()
		}
	}
	if err := os.RemoveAll(p.dir); err != nil {
		p.t.Fatal(err)
	}
	lucky := rnd.IntN(3) // 0: nothing survives, 1: all, 2: some
	done := map[*inode]bool{}
	for path, f := range p.kept {
		if !done[f] {
			done[f] = true
			f.lose(rnd, lucky)
			if strings.HasPrefix(filepath.Base(path), dataName) {
				f.grow(sizes[f]) // bbolt syncs the size first
			}
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(path, f.disk, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

// forget has the file of which a sync failed lose what it had not synced, or some of
// it: the kernel may drop that, and reports it once.
func (p *platter) forget(rnd *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for path, f := range p.names {
		if f != p.unsynced {
			continue
		}
		fi, err := os.Stat(path)
		if err != nil {
			p.t.Fatal(err)
		}
		f.lose(rnd, rnd.IntN(3))
		f.grow(fi.Size())
		if err := os.WriteFile(path, f.disk, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

func survive(rnd *rand.Rand, n int) int {
	switch rnd.IntN(3) {
	case 0:
		return 0
	case 1:
		return n
	}
	return rnd.IntN(n + 1)
}

// lose applies what of the unsynced survives.
func (f *inode) lose(rnd *rand.Rand, lucky int) {
	for _, d := range f.since {
		if d.what == deedSize {
			if lucky == 1 || lucky == 2 && rnd.IntN(2) == 0 {
				f.apply(d)
			}
			continue
		}
		for at := int64(0); at < int64(len(d.data)); {
			n := min(sector-(d.off+at)%sector, int64(len(d.data))-at)
			if lucky == 1 || lucky == 2 && rnd.IntN(2) == 0 {
				f.apply(deed{what: deedWrite, off: d.off + at, data: d.data[at : at+n]})
			}
			at += n
		}
	}
	f.since = nil
}
