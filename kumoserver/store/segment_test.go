package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// What was never written to a segment is not read, and what was written
// anywhere in it is.
func TestReadSegment(t *testing.T) {
	const size = 8 << 20
	path := filepath.Join(t.TempDir(), "a.wal")
	d := &disk{}
	g, err := createSegment(d, path, size, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.file.Close()
	want := make([]byte, size)
	check := func() (written int64) {
		t.Helper()
		b, written, err := readSegment(path)
		if err != nil || !bytes.Equal(b, want) {
			t.Fatalf("%d bytes, not what was written: %v", len(b), err)
		}
		if !allZero(want[written:]) {
			t.Fatalf("bytes after %d were taken for zeros", written)
		}
		return written
	}
	check()
	for _, at := range []int64{0, 100, 1 << 20, 5<<20 + 17, size - 3} {
		copy(want[at:], "abc")
		if _, err := g.file.WriteAt([]byte("abc"), at); err != nil {
			t.Fatal(err)
		}
		if written := check(); written < at+3 {
			t.Errorf("written up to %d, there is something at %d", written, at)
		}
	}
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	want = want[:1<<20]
	check()
}

// A segment is filled as long as nobody waits for it, and is zeros either way.
func TestFillSegment(t *testing.T) {
	for steps, want := range map[int]int64{0: 0, 1: fillStep, 3: fillStep + 1000} {
		path := filepath.Join(t.TempDir(), "a.wal")
		left := steps
		g, err := createSegment(&disk{}, path, fillStep+1000, func() bool { left--; return left >= 0 })
		if err != nil {
			t.Fatal(err)
		}
		b, written, err := readSegment(path)
		if err != nil || int64(len(b)) != g.size || !allZero(b) {
			t.Errorf("%d steps: %d bytes, %v", steps, len(b), err)
		}
		// File systems without holes say that all was written.
		if written < want || written > (want+4095)/4096*4096 && written != g.size {
			t.Errorf("%d steps: %d bytes written, want %d", steps, written, want)
		}
		g.file.Close()
	}
}
