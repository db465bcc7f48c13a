package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

const benchPartitions = 256

func benchOptions(b *testing.B) Options {
	return Options{Dir: b.TempDir(), OSBoot: "boot-1", RetainBytes: 64 << 20}
}

// BenchmarkWrite appends and flushes in batches, commits, and lets the
// background apply: 1 KiB values over 256 partitions and 100,000 keys.
func BenchmarkWrite(b *testing.B) {
	for _, mode := range []SyncMode{SyncInterval, SyncAlways} {
		for _, batch := range []int{1, 32, 128} {
			b.Run(fmt.Sprintf("%s/%d", mode, batch), func(b *testing.B) { benchWrite(b, mode, batch) })
		}
	}
}

func benchWrite(b *testing.B, mode SyncMode, batch int) {
	o := benchOptions(b)
	o.Sync = mode
	s := open(b, o)
	raws := make([]*subjects.Entry, 4096) // decoded anew for each use
	value := strings.Repeat("v", 1024)
	var tails [benchPartitions]subjects.Version
	done := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; {
		b.StopTimer()
		n := min(len(raws), b.N-i)
		for j := range n {
			p := (i + j) * 7919 % benchPartitions
			m := &maker{p: ring.Partition(p), e: 1, tail: tails[p]}
			raws[j] = m.entry(subjects.EntryPut, fmt.Sprint("key", (i+j)*31%100000), value)
			tails[p] = m.tail
		}
		for s.Backlog() > s.opts.MemtableBytes {
			<-time.After(time.Millisecond)
		}
		b.StartTimer()
		for from := 0; from < n; from += batch {
			group := raws[from:min(from+batch, n)]
			for _, e := range group {
				if err := s.Append(e); err != nil {
					b.Fatal(err)
				}
			}
			if s.Flush(func(err error) { done <- err }) != Durable {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			for _, e := range group {
				s.Commit(e.Partition, e.Version.Seq)
			}
		}
		i += n
	}
	b.SetBytes(1024)
}

func benchFill(b *testing.B, n int) *Store {
	o := benchOptions(b)
	o.ApplyAfter = time.Hour
	s := open(b, o)
	value := strings.Repeat("v", 1024)
	var tails [benchPartitions]subjects.Version
	for i := range n {
		p := i % benchPartitions
		m := &maker{p: ring.Partition(p), e: 1, tail: tails[p]}
		m.put(b, s, keyOf(i), value)
		tails[p] = m.tail
		if i%128 == 0 {
			flush(b, s)
			s.Commit(ring.Partition(p), m.tail.Seq)
		}
	}
	flush(b, s)
	for p, v := range tails {
		s.Commit(ring.Partition(p), v.Seq)
	}
	return s
}

func BenchmarkGet(b *testing.B) {
	const n = 10000 // below what starts a sweep
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = []byte(keyOf(i))
	}
	s := benchFill(b, n)
	get := func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			k := i * 7919 % n
			if _, found, err := s.Get(ring.Partition(k%benchPartitions), keys[k]); !found || err != nil {
				b.Fatal(k, found, err)
			}
		}
	}
	many := func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; i < b.N; i += 32 {
			s.GetMany(32, func(j int) (ring.Partition, []byte) {
				k := (i + j) * 7919 % n
				return ring.Partition(k % benchPartitions), keys[k]
			}, func() {}, func(j int, _ subjects.Record, found bool, err error) {
				if !found || err != nil {
					b.Fatal(j, found, err)
				}
			})
		}
	}
	b.Run("memtable", get)
	b.Run("memtable/32", many)
	s.applier.kickNow()
	eventually(b, "applied", applied(s))
	s.cache = newCache(-1)
	b.Run("bbolt", get)
	b.Run("bbolt/32", many)
	s.cache = newCache(64 << 20)
	for range 2 {
		for k := range n {
			s.Get(ring.Partition(k%benchPartitions), keys[k])
		}
	}
	b.Run("cache", get)
	b.Run("cache/32", many)
}

// BenchmarkOpen reads a log of 64 MiB.
func BenchmarkOpen(b *testing.B) {
	o := benchOptions(b)
	o.ApplyAfter = time.Hour
	s := open(b, o)
	value := strings.Repeat("v", 1024)
	m := &maker{p: 1, e: 1}
	for i := range 60000 {
		m.put(b, s, keyOf(i%1000), value)
		if i%128 == 0 {
			flush(b, s)
		}
	}
	flush(b, s)
	s.CloseHard()
	b.ResetTimer()
	for range b.N {
		s, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		s.CloseHard()
	}
}
