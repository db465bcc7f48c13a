package store

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// BenchmarkCached reads 100 MB of records of 1 KiB in random order, alone and 32 at
// once, and copies them as answers do.
func BenchmarkCached(b *testing.B) {
	const n = 100_000
	s := benchFill(b, benchPartitions)
	s.cache = newCache(256 << 20)
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = []byte(keyOf(i))
		for range 2 {
			rec := subjects.Record{Key: keys[i], Value: bytes.Repeat([]byte{'v'}, 1024)}
			s.cache.offer(ring.Partition(i%benchPartitions), &rec, 0)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	answer := make([]byte, 0, 1<<10)
	b.Run("alone", func(b *testing.B) {
		for range b.N {
			k := r.IntN(n)
			rec, found, _ := s.Get(ring.Partition(k%benchPartitions), keys[k])
			if !found {
				b.Fatal(k)
			}
			answer = append(answer[:0], rec.Value...)
		}
	})
	b.Run("32", func(b *testing.B) {
		var ks [32]int
		for i := 0; i < b.N; i += len(ks) {
			for j := range ks {
				ks[j] = r.IntN(n)
			}
			s.GetMany(len(ks), func(j int) (ring.Partition, []byte) {
				return ring.Partition(ks[j] % benchPartitions), keys[ks[j]]
			}, func() {}, func(j int, rec subjects.Record, found bool, err error) {
				if !found {
					b.Fatal(ks[j])
				}
				answer = append(answer[:0], rec.Value...)
			})
		}
	})
}
