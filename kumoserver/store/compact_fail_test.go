package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/etolabo/kumofs/subjects"
)

// told is a log that a test reads.
type told struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *told) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *told) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), what)
}

const cannot = "cannot be compacted now"

func hasNewFile(o Options) bool {
	_, err := os.Stat(filepath.Join(o.Dir, newDataName))
	return err == nil
}

// A compaction that cannot go on leaves everything as it was, says so once, and is
// tried again.
func TestCompactionIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		stage string
		begin func(s *Store, free *atomic.Int64)
		end   func(s *Store, free *atomic.Int64)
	}{
		"no room to begin": {
			"", func(_ *Store, free *atomic.Int64) { free.Store(100 << 10) },
			func(_ *Store, free *atomic.Int64) { free.Store(math.MaxInt64) },
		},
		"no room any more": {
			"began", func(_ *Store, free *atomic.Int64) { free.Store(100 << 10) },
			func(_ *Store, free *atomic.Int64) { free.Store(math.MaxInt64) },
		},
		"the log has no room": {
			"began", func(s *Store, _ *atomic.Int64) { s.logFull.Store(true) },
			func(s *Store, _ *atomic.Int64) { s.logFull.Store(false) },
		},
		"the new file cannot grow": {
			"began", func(s *Store, _ *atomic.Int64) { s.applier.compaction.db.MaxSize = 1 },
			func(*Store, *atomic.Int64) {},
		},
		"the new file cannot follow": {
			"copied", func(s *Store, _ *atomic.Int64) { s.applier.compaction.db.MaxSize = 1 },
			func(*Store, *atomic.Int64) {},
		},
		"memory is short": {
			"began", func(s *Store, _ *atomic.Int64) { s.backlog.Add(s.opts.MemtableBytes) },
			func(s *Store, _ *atomic.Int64) { s.backlog.Add(-s.opts.MemtableBytes) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			var free atomic.Int64
			free.Store(math.MaxInt64)
			l := &told{}
			o := small(t.TempDir())
			o.disk = &disk{lax: true, free: func(string) int64 { return free.Load() }}
			o.compact, o.Log = always, slog.New(slog.NewTextHandler(l, nil))
			g := newGate(t, &o)
			s := open(t, o)
			logs := sparse(t, s)
			g.until(t, "switched") // so that none has failed just before
			if c.stage != "" {
				g.goOn <- struct{}{}
				g.until(t, c.stage)
			}
			c.begin(s, &free)
			if c.stage == "copied" {
				logs[0].put(t, s, keyOf(0), strings.Repeat("large", 9000))
				logs[0].put(t, s, keyOf(0), sparseValue(0, 0, 0))
				flush(t, s)
				s.Commit(0, logs[0].tail.Seq-1)
				s.applier.kickNow()
				eventually(t, "applied to the old file", func() bool { return s.Stats().Waiting == 0 })
				s.Commit(0, logs[0].tail.Seq)
			}
			said, done := l.count(cannot), s.Stats().Compactions
			g.release()
			eventually(t, "given up", func() bool { return l.count(cannot) == said+1 })
			if c.stage != "copied" { // that is tried again already
				eventually(t, "the new file is gone", func() bool { return !hasNewFile(o) })
			}
			checkSparse(t, s, 0)
			c.end(s, &free)
			eventually(t, "done later", func() bool { return s.Stats().Compactions > done+1 })
			checkSparse(t, s, 0)
			if got := l.count(cannot); got != said+1 {
				t.Errorf("said %d times", got-said)
			}
			if err := s.failedWith(); err != nil {
				t.Error(err)
			}
		})
	}
}

// When the new name may or may not be on the disk, nothing may be written to
// either file: the store ends, and the next start finds one that is whole.
func TestFolderCannotBeSynced(t *testing.T) {
	var bad atomic.Bool
	o := small(t.TempDir())
	o.disk = &disk{lax: true, folder: func(dir string) error {
		if bad.Load() && dir == o.Dir {
			return syscall.EIO
		}
		return nil
	}}
	o.compact, o.RetainBytes = always, -1
	g := newGate(t, &o)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	logs := sparse(t, s)
	g.until(t, "written")
	bad.Store(true)
	for p := range logs {
		logs[p].put(t, s, keyOf(0), sparseValue(p, 0, 1))
	}
	for i := range 100 { // several segments, which go once they are applied
		logs[0].put(t, s, fmt.Sprint("more", i), strings.Repeat("m", 1000))
		flush(t, s)
	}
	for p := range logs {
		s.Commit(logs[p].p, logs[p].tail.Seq)
	}
	s.applier.kickNow() // and has to wait
	g.release()
	if err := <-s.Failed(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if err := s.Close(); err == nil {
		t.Error("closed cleanly")
	}
	s = open(t, small(o.Dir))
	for p := range logs {
		s.Commit(logs[p].p, logs[p].tail.Seq)
		want(t, s, logs[p].p, keyOf(0), sparseValue(p, 0, 1))
		logs[p].put(t, s, keyOf(0), sparseValue(p, 0, 0))
	}
	for i := range 100 {
		want(t, s, 0, fmt.Sprint("more", i), strings.Repeat("m", 1000))
		if err := s.Append(logs[0].entry(subjects.EntryDelete, fmt.Sprint("more", i), "")); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, s)
	for p := range logs {
		s.Commit(logs[p].p, logs[p].tail.Seq)
	}
	eventually(t, "applied", applied(s))
	checkSparse(t, s, 0)
}

// rottenDuringCompaction is a store whose file is spoiled when its compaction has
// begun and has copied nothing.
func rottenDuringCompaction(t *testing.T) (*rotten, *gate) {
	var g *gate
	r := newRotten(t, func(o *Options) {
		o.compact = always
		g = newGate(t, o)
	})
	g.until(t, "began")
	return r, g
}

// A damaged record is told of, and is no better for being copied.
func TestDamagedRecordIsCompacted(t *testing.T) {
	r, g := rottenDuringCompaction(t)
	replace(t, r.data(), valueOf(7), strings.ToUpper(valueOf(7)))
	n := r.Stats().Compactions
	g.release()
	eventually(t, "copied, twice", func() bool { return r.Stats().Compactions > n+2 })
	if d := r.one(); d.Partition != 2 || string(d.Key) != keyOf(7) || d.File {
		t.Fatalf("%+v", d)
	}
	for i := range rotKeys {
		if i != 7 {
			want(t, r.Store, 2, keyOf(i), valueOf(i))
		} else if _, found, err := r.Get(2, []byte(keyOf(i))); found || !isCorrupt(err) {
			t.Fatal(found, err)
		}
	}
	m := &maker{p: 2, e: 1, tail: r.State(2).Tail}
	m.put(t, r.Store, keyOf(7), "new")
	flush(t, r.Store)
	r.Commit(2, m.tail.Seq)
	eventually(t, "mended", func() bool { n, _ := r.BadKeys(0); return n == 0 })
	n = r.Stats().Compactions
	eventually(t, "copied again", func() bool { return r.Stats().Compactions > n+1 })
	want(t, r.Store, 2, keyOf(7), "new")
}

// Where keys may be missing the old file stays, as the best there is.
func TestDamagedFileIsNotCompacted(t *testing.T) {
	for name, c := range map[string]struct {
		rot  func(r *rotten)
		want func(d Damage) bool
	}{
		"way to a leaf": {
			func(r *rotten) {
				at, b := r.root()
				key, size, _ := branch(b, 1)
				write(r.t, r.data(), at+key+size-1, []byte{b[key+size-1] + 3})
			},
			func(d Damage) bool { return d.File },
		},
		"number of keys in a leaf": {
			func(r *rotten) {
				_, b := r.root()
				_, _, child := branch(b, 1)
				at, leaf := r.page(child)
				write(r.t, r.data(), at+10, binary.LittleEndian.AppendUint16(nil, binary.LittleEndian.Uint16(leaf[10:])-1))
			},
			func(d Damage) bool { return d.File },
		},
		"page": {
			func(r *rotten) {
				_, b := r.root()
				_, _, child := branch(b, 1)
				at, _ := r.page(child)
				write(r.t, r.data(), at+8, bytes.Repeat([]byte{0xff}, 64))
			},
			func(d Damage) bool { return d.File },
		},
		"a key that is another's": {
			func(r *rotten) { replace(r.t, r.data(), keyOf(99), keyOf(7)) },
			func(d Damage) bool { return d.File || d.Partition == 2 && string(d.Key) == keyOf(7) },
		},
		"state of a copy": {
			func(r *rotten) {
				var state []byte
				if err := r.db.Load().View(func(tx *bbolt.Tx) error {
					state = bytes.Clone(tx.Bucket(bucketMeta).Get(metaKey(2)))
					return nil
				}); err != nil {
					r.t.Fatal(err)
				}
				spoilt := bytes.Clone(state)
				spoilt[3] ^= 1
				replace(r.t, r.data(), string(state), string(spoilt))
			},
			func(d Damage) bool { return d.File },
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, g := rottenDuringCompaction(t)
			c.rot(r)
			old, n := r.db.Load(), r.Stats().Compactions
			g.release()
			eventually(t, "given up", func() bool { return len(r.damage()) > 0 && !hasNewFile(r.o) })
			if list := r.damage(); !c.want(list[0]) {
				t.Fatalf("%+v", list)
			}
			if r.db.Load() != old || r.Stats().Compactions != n {
				t.Error("the file was replaced")
			}
			want(t, r.Store, 3, "other", "value of the other")
		})
	}
}

// A new file that ceases to follow when all has been copied is given up like any
// other: that it has not what the old one has says nothing of the old one.
func TestCompleteFileCannotFollow(t *testing.T) {
	var found atomic.Int64
	l := &told{}
	o := small(t.TempDir())
	o.OnDamage = func(Damage) { found.Add(1) }
	o.compact, o.Log = always, slog.New(slog.NewTextHandler(l, nil))
	g := newGate(t, &o)
	s := open(t, o)
	logs := sparse(t, s)
	g.until(t, "switched")
	for g.goOn <- struct{}{}; ; g.goOn <- struct{}{} {
		g.until(t, "copied")
		if s.applier.compaction.whole {
			break
		}
	}
	s.applier.compaction.db.MaxSize = 1
	for _, key := range []string{"is too large", "is not tried"} {
		logs[0].put(t, s, key, strings.Repeat("large", 9000))
		flush(t, s)
		s.Commit(0, logs[0].tail.Seq)
		eventually(t, "applied to the old file", func() bool { return s.Stats().Waiting == 0 })
	}
	said := l.count(cannot)
	g.release()
	eventually(t, "given up", func() bool { return l.count(cannot) > said })
	if n := found.Load(); n != 0 || s.Bad(0) != 0 {
		t.Errorf("damage was told of %d times, %d records are taken for bad", n, s.Bad(0))
	}
}

// On a full disk what just fits is copied: it makes room. With room to spare the log's comes first.
func TestCompactionMakesRoom(t *testing.T) {
	l := &told{}
	o := small(t.TempDir())
	o.RetainBytes = 1 << 30
	o.disk = &disk{lax: true, free: func(string) int64 { return 64 << 20 }}
	o.compact, o.Log = always, slog.New(slog.NewTextHandler(l, nil))
	s := open(t, o)
	sparse(t, s)
	eventually(t, "there is no room for the log beside a copy", func() bool { return l.count(cannot) > 0 })
	if n := s.Stats().Compactions; n > 0 {
		t.Fatalf("%d compactions", n)
	}
	s.logFull.Store(true)
	eventually(t, "room is made", func() bool { return s.Stats().Compactions > 0 })
	s.logFull.Store(false)
	checkSparse(t, s, 0)
}
