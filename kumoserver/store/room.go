package store

import "time"

// Room is how much a store can still take.
type Room uint8

// With a Full disk no values are taken, but what makes none: deletes, flushes,
// answers. When the reserve for those is used up the log is Dry: what is left of
// it is for promises, cuts, resets and drops.
const (
	Roomy Room = iota
	Full
	Dry
)

func (r Room) String() string { return [...]string{"ok", "full", "dry"}[r] }

// dryBytes is what of the log is left for what must always be possible.
const dryBytes = 256 << 10

// Admit settles what Append and Range take until it is called again, so that a
// turn of the core loop that looked at it first meets no surprise.
func (s *Store) Admit() Room {
	switch {
	case !s.Full():
		s.room = Roomy
	case s.wal.room < min(dryBytes, s.opts.SegmentBytes/4) && !s.prep.hasMore():
		s.room = Dry
	default:
		s.room = Full
	}
	return s.room
}

// Full reports that the disk is, as far as it is known from trying.
func (s *Store) Full() bool {
	return s.logFull.Load() || s.boltFull.Load() ||
		s.isBroken.Load() && s.backlog.Load() > s.opts.MemtableBytes
}

// onFull takes from the preparer that the log cannot grow, or can again.
func (s *Store) onFull(full bool) {
	s.logFull.Store(full)
	if full {
		s.applier.kickNow() // retained segments can go now
	}
}

// spareSegments is how many log segments must fit beside what is retained before
// anything is retained again.
const spareSegments = 4

// retain is how many bytes of log are kept that bbolt reflects. Once the disk was
// full it is none until there is room for them and more: else they would fill it
// again, and the managers would take its leads away, and give them back, without
// end.
func (s *Store) retain() int64 {
	switch {
	case s.Full():
		s.lean.Store(true)
		return 0
	case s.lean.Load() && s.opts.disk.freeIn(s.opts.Dir) < s.opts.RetainBytes+spareSegments*s.opts.SegmentBytes:
		return 0
	}
	s.lean.Store(false)
	return s.opts.RetainBytes
}

// What a sync may take before it counts as a stall: a disk under load takes
// seconds at times, and where nobody waits for it that harms nobody.
const (
	slowSync     = time.Second
	slowLazySync = 4 * time.Second
)

// Held is for how long what is to be acknowledged has waited for the disk: a write of
// the log, and where each is synced, its sync; 0: nothing waits.
func (s *Store) Held() time.Duration {
	if s.opts.Sync == SyncAlways {
		return max(s.wal.writing.since(), s.wal.syncing.since())
	}
	return s.wal.writing.since()
}

// Stalled is for how long a write of the log has not returned, or a sync beyond
// what one may take; 0: none is under way.
func (s *Store) Stalled() time.Duration {
	slow := slowLazySync
	if s.opts.Sync == SyncAlways {
		slow = slowSync
	}
	return max(s.wal.writing.since(), s.wal.syncing.since()-slow)
}
