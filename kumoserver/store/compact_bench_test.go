package store

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const compactBenchKeys = 48_000 // of 1 KiB

// benchApplied is a store whose values are all in the file.
func benchApplied(b *testing.B, c compactOptions) *Store {
	o := benchOptions(b)
	o.compact = c
	s := open(b, o)
	value := strings.Repeat("v", 1024)
	var tails [benchPartitions]subjects.Version
	for i := range compactBenchKeys {
		p := i % benchPartitions
		m := &maker{p: ring.Partition(p), e: 1, tail: tails[p]}
		m.put(b, s, keyOf(i), value)
		tails[p] = m.tail
		if i%128 == 0 {
			flush(b, s)
		}
	}
	flush(b, s)
	for p, v := range tails {
		s.Commit(ring.Partition(p), v.Seq)
	}
	s.applier.kickNow()
	eventually(b, "applied", applied(s))
	return s
}

// BenchmarkGetDuringCompaction reads single keys from the file, without and with
// a compaction that begins again when it ends, at the usual pace.
func BenchmarkGetDuringCompaction(b *testing.B) {
	for name, c := range map[string]compactOptions{"without": {}, "with": {every: time.Millisecond, floor: 1, share: -1}} {
		b.Run(name, func(b *testing.B) {
			s := benchApplied(b, c)
			keys := make([][]byte, compactBenchKeys)
			for i := range keys {
				keys[i] = []byte(keyOf(i))
			}
			if c.every > 0 {
				eventually(b, "it runs", func() bool { return s.Stats().Compacting > 0 })
			}
			took := make([]time.Duration, 0, 1<<20)
			copied := s.Stats().Compacted
			b.ResetTimer()
			for i := range b.N {
				k := i * 7919 % compactBenchKeys
				began := time.Now()
				if _, found, err := s.Get(ring.Partition(k%benchPartitions), keys[k]); !found || err != nil {
					b.Fatal(k, found, err)
				}
				if len(took) < cap(took) {
					took = append(took, time.Since(began))
				}
			}
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
			b.ReportMetric(float64(took[len(took)*999/1000].Nanoseconds()), "p99.9-ns")
			b.ReportMetric(float64(s.Stats().Compacted-copied)/b.Elapsed().Seconds()/1e6, "copied-MB/s")
		})
	}
}

// BenchmarkCompaction copies a file of 48 MiB at the usual pace, with nothing else
// to do, and tells what share of a core that takes.
func BenchmarkCompaction(b *testing.B) {
	s := benchApplied(b, compactOptions{every: time.Millisecond, floor: 1, share: -1})
	var before, after syscall.Rusage
	n, copied := s.Stats().Compactions, s.Stats().Compacted
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.ResetTimer()
	for s.Stats().Compactions < n+int64(b.N) {
		<-time.After(time.Millisecond)
	}
	b.StopTimer()
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	cpu := time.Duration(after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano())
	b.ReportMetric(100*cpu.Seconds()/b.Elapsed().Seconds(), "%core")
	b.ReportMetric(float64(s.Stats().Compacted-copied)/b.Elapsed().Seconds()/1e6, "copied-MB/s")
}
