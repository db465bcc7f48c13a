package store

import (
	"fmt"
	"testing"

	"github.com/etolabo/kumofs/subjects/ring"
)

// BenchmarkMiss reads keys that are not there from bbolt, beside values of 1 KiB;
// BenchmarkMiss/bbolt is what that costs without a look at the pages.
func BenchmarkMiss(b *testing.B) {
	o := small(b.TempDir())
	o.SegmentBytes, o.MemtableBytes, o.CacheBytes = 4<<20, 64<<20, -1
	s := open(b, o)
	m := &maker{p: 2, e: 1}
	const keys = 20_000
	for i := range keys {
		m.put(b, s, fmt.Sprintf("key-%06d", i), valueOf(i)+string(make([]byte, 900)))
	}
	flush(b, s)
	s.Commit(2, keys)
	eventually(b, "applied", applied(s))
	key := func(i int) (ring.Partition, []byte) { return 2, fmt.Appendf(nil, "key-%06d-", i*7919%keys) }
	b.Run("whole", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			id, k := key(i)
			if _, found, err := s.Get(id, k); found || err != nil {
				b.Fatal(found, err)
			}
		}
	})
	b.Run("bbolt", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			id, k := key(i)
			file := s.enter()
			tx, err := file.Begin(false)
			if err != nil {
				b.Fatal(err)
			}
			if v := tx.Bucket(bucketData).Get(appendUserKey(nil, id, k)); v != nil {
				b.Fatal("found")
			}
			tx.Rollback()
			file.used.RUnlock()
		}
	})
}
