package backup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/digest"
	"github.com/etolabo/kumofs/subjects/ring"
)

// small writes a backup of one partition with one key.
func small(t testing.TB, id, base string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "b")
	partial, lock, err := begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	w, err := createFile(partial, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw := digest.Append(nil, &subjects.Record{Key: []byte("key"), Value: []byte("value")})
	cut := digest.NewCutter(nil)
	cut.Add([]byte("key"), raw)
	part := Part{Ranges: []Range{{cut.End(nil), true}}}
	if err := w.write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.finish(&part); err != nil {
		t.Fatal(err)
	}
	m := &Manifest{Format: format, ID: id, Base: base, Table: &ring.Table{Partitions: make([]ring.Config, 1)}, Parts: []Part{part}}
	if err := complete(m, partial, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Two that write to one folder would give it its name with files of both.
func TestAFolderIsWrittenByOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "b")
	partial, lock, err := begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := createFile(partial, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := begin(dir); err == nil || !strings.Contains(err.Error(), "another backup") {
		t.Errorf("a second one: %v", err)
	}
	if _, err := os.Stat(filepath.Join(partial, fileName(0))); err != nil {
		t.Error(err)
	}
	lock.Close()
	_, lock, err = begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	if _, err := os.Stat(filepath.Join(partial, fileName(0))); !os.IsNotExist(err) {
		t.Errorf("what was left is there still: %v", err)
	}
}

func TestChainsThatAreNone(t *testing.T) {
	full, other := small(t, "A", ""), small(t, "B", "")
	one, two := small(t, "C", "A"), small(t, "D", "A")
	if c, err := Open(one, full); err != nil || c.Manifest().ID != "C" {
		t.Fatal(err)
	}
	for _, x := range []struct {
		dirs []string
		want string
	}{
		{[]string{full, full}, "is full, and so is"},
		{[]string{full, other}, "is full, and so is"},
		{[]string{one}, "with ID A: name that one, too"},
		{[]string{one, other}, "with ID A: name that one, too"},
		{[]string{one, two, full}, "and so is another"},
	} {
		if _, err := Open(x.dirs...); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v: %v, want %s", x.dirs, err, x.want)
		}
	}
}

// Reading and merging end when they are interrupted, and leave no backup.
func TestInterrupted(t *testing.T) {
	dir := small(t, "A", "")
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	told := func(int64) {}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Verify(ctx, told); err != nil {
		t.Error(err)
	}
	cancel()
	if err := c.Verify(ctx, told); !errors.Is(err, context.Canceled) {
		t.Errorf("verify: %v", err)
	}
	merged := dir + "-merged"
	if _, err := Merge(ctx, merged, c, told); !errors.Is(err, context.Canceled) {
		t.Errorf("merge: %v", err)
	}
	if _, err := os.Stat(merged); !os.IsNotExist(err) {
		t.Errorf("half a backup has a name: %v", err)
	}
	if _, err := Merge(t.Context(), merged, c, told); err != nil {
		t.Error(err)
	}
	if _, err := Verify(t.Context(), merged, told); err != nil {
		t.Error(err)
	}
}

// A slow backup has its copies stay frozen while it waits.
func TestSlowBackupsKeepCopiesFrozen(t *testing.T) {
	tk := taker{pace: rate.NewLimiter(1e9, 10), o: Options{Told: func(int, int64, int64) {}}}
	n := 0
	if err := tk.told(t.Context(), func(context.Context) error { n++; return nil }, 1, 95); err != nil || n != 10 {
		t.Errorf("touched %d times: %v", n, err)
	}
}

// What fails soon may be tried again, what fails late a few times: a partition that
// changes faster than it is read would be read for ever.
func TestAttemptsEnd(t *testing.T) {
	a := attempts{patience: time.Minute}
	for i := range 100 {
		if err := a.ended(time.Second, subjects.ErrBusy); !errors.Is(err, subjects.ErrBusy) {
			t.Fatalf("short attempt %d: %v", i, err)
		}
	}
	for i := range maxLong {
		if err := a.ended(time.Hour, subjects.ErrBusy); errors.Is(err, subjects.ErrBusy) != (i+1 < maxLong) {
			t.Errorf("long attempt %d: %v", i, err)
		}
	}
	if err := a.ended(time.Hour, nil); err != nil {
		t.Error(err)
	}
}

// Every end that is missing from the sums is noticed, and named.
func TestSumsThatEnd(t *testing.T) {
	dir := small(t, "A", "")
	path := filepath.Join(dir, sumsName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := []string{strings.Repeat("x", 1<<20)}
	for i := range text {
		bad = append(bad, string(text[:i]))
	}
	for _, b := range bad {
		if err := os.WriteFile(path, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), dir) {
			t.Fatalf("%d bytes of %d: %v", len(b), len(text), err)
		}
	}
}
