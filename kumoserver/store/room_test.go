package store

import "testing"

// After a full disk no log is kept for others until there is room for it.
func TestNothingIsRetainedAfterAFullDisk(t *testing.T) {
	o := small(t.TempDir())
	var free int64
	d := *o.disk
	d.free = func(string) int64 { return free }
	o.disk = &d
	s := open(t, o)
	all := s.opts.RetainBytes
	want := func(when string, bytes int64) {
		t.Helper()
		if got := s.retain(); got != bytes {
			t.Errorf("%s: %d bytes are retained, want %d", when, got, bytes)
		}
	}
	want("with a disk that never was full", all)
	s.logFull.Store(true)
	want("with a full disk", 0)
	s.logFull.Store(false)
	free = all + s.opts.SegmentBytes
	want("with a little room again", 0)
	free = all + spareSegments*s.opts.SegmentBytes
	want("with room", all)
	free = 0
	want("with little room, which was enough so far", all)
}
