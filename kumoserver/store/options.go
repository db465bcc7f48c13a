package store

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// SyncMode says when the log is on disk and not only with the operating system.
type SyncMode uint8

// The sync modes. Promises, cuts, resets and drops are synced before they count
// in each of them.
const (
	SyncInterval SyncMode = iota // within SyncEvery of the write
	SyncAlways                   // before Flush reports done
	SyncNone                     // when the operating system likes, or bbolt needs it
)

var syncNames = [...]string{"interval", "always", "none"}

func (m SyncMode) String() string {
	if int(m) < len(syncNames) {
		return syncNames[m]
	}
	return fmt.Sprintf("sync mode %d", uint8(m))
}

// ParseSyncMode reads what String gives.
func ParseSyncMode(s string) (SyncMode, error) {
	for i, n := range syncNames {
		if n == s {
			return SyncMode(i), nil
		}
	}
	return 0, fmt.Errorf("sync mode %q is none of %s", s, strings.Join(syncNames[:], ", "))
}

// Options of a store. The zero value of every field but Dir is its default.
type Options struct {
	Dir string // the folder; made when missing

	Sync      SyncMode
	SyncEvery time.Duration // of SyncInterval; 100 ms

	SegmentBytes int64 // size of a log segment, preallocated; 64 MiB
	RetainBytes  int64 // of applied log that is kept for replicas that lag; 256 MiB; -1: none

	// MemtableBytes is what may wait in memory for bbolt. The store accepts more
	// (an acknowledged entry cannot be refused); the caller compares Backlog with
	// it and slows its clients down. 128 MiB.
	MemtableBytes int64
	// CacheBytes is what records may take in memory that are read often; 64 MiB;
	// -1: none.
	CacheBytes int64
	// ApplyAfter is how long a committed value waits for company before it goes
	// to bbolt, when memory is not short; 2 s.
	ApplyAfter time.Duration

	// Grant is how long leases bind that the process grants; see Store.Grant.
	Grant time.Duration

	// OSBoot identifies this boot of the machine; "" takes the kernel's.
	OSBoot string

	// ScrubRate is how many bytes a second are read to find damage that nobody
	// meets; 2 MiB; -1: none. ScrubEvery is how long after a pass the next begins; 1 h.
	ScrubRate  int64
	ScrubEvery time.Duration

	// OnDamage is told of damage that is found while the store is open, each once,
	// on any goroutine. It must not block, nor call the store.
	OnDamage func(Damage)

	// Timed is told how long things took.
	Timed Timed

	Log *slog.Logger // nil: silent

	disk    *disk // faults, in tests
	batch   int   // calmBatch, in tests
	compact compactOptions
}

// Timed takes how long each of these took, on any goroutine; nil ones nobody
// wants to know.
type Timed struct {
	Write Observer // of the log's buffer to its file
	Sync  Observer // of one file of the log
	Apply Observer // of one transaction of bbolt
}

// Observer takes times, such as a histogram of Prometheus does.
type Observer interface{ Observe(seconds float64) }

func observe(o Observer, d time.Duration) {
	if o != nil {
		o.Observe(d.Seconds())
	}
}

const (
	minSegment = 4 << 10
	maxSegment = 1 << 30 // offsets in a segment have 32 bits
)

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, fmt.Errorf("store: no folder given")
	}
	if o.Sync > SyncNone {
		return o, fmt.Errorf("store: %v is unknown", o.Sync)
	}
	defaultTo(&o.SyncEvery, 100*time.Millisecond)
	defaultTo(&o.SegmentBytes, 64<<20)
	defaultTo(&o.RetainBytes, 256<<20)
	defaultTo(&o.MemtableBytes, 128<<20)
	defaultTo(&o.CacheBytes, 64<<20)
	defaultTo(&o.ApplyAfter, 2*time.Second)
	defaultTo(&o.ScrubRate, 2<<20)
	defaultTo(&o.ScrubEvery, time.Hour)
	if o.RetainBytes < 0 {
		o.RetainBytes = 0
	}
	if o.SegmentBytes < minSegment || o.SegmentBytes > maxSegment {
		return o, fmt.Errorf("store: a log segment has %d to %d bytes, not %d", minSegment, maxSegment, o.SegmentBytes)
	}
	if o.OSBoot == "" {
		o.OSBoot = MachineBoot()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	defaultTo(&o.batch, calmBatch)
	o.compact.withDefaults()
	if o.disk == nil {
		o.disk = &disk{}
	}
	return o, nil
}

func defaultTo[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// MachineBoot returns the kernel's identity of this boot of the machine, ""
// where there is none. A process that died leaves what it wrote with the
// kernel; a machine that died does not.
func MachineBoot() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
