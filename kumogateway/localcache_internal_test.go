package kumogateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
)

func TestLocalCacheBounds(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newLocalCache(1<<20, time.Second)
	key := func(i int) (uint64, []byte) {
		k := fmt.Appendf(nil, "key-%d", i)
		return xxhash.Sum64(k), k
	}
	value := make([]byte, 1000)
	first, firstKey := key(0)
	for i := range 5000 {
		hash, k := key(i)
		c.offer(hash, k, value, uint32(i), now, c.mark(hash).Load())
		if v := c.get(hash, k, now); v == nil || v.flags != uint32(i) || len(v.value) != 1000 {
			t.Fatalf("%s is not kept: %+v", k, v)
		}
		if c.get(first, firstKey, now) == nil {
			t.Fatalf("what is read again and again has left after %d others", i)
		}
		if c.held() > 1<<20 {
			t.Fatalf("%d bytes are kept", c.held())
		}
	}
	if c.held() < 900<<10 {
		t.Errorf("only %d bytes are kept", c.held())
	}
	if c.get(first, []byte("another"), now) != nil {
		t.Error("a key with the same hash gets its value")
	}
	if c.get(first, firstKey, now.Add(time.Second)) != nil || c.get(first, firstKey, now) != nil {
		t.Error("a value is kept beyond its time")
	}
	large, largeKey := key(-1)
	c.offer(large, largeKey, make([]byte, 1<<14), 0, now, c.mark(large).Load())
	if c.get(large, largeKey, now) != nil {
		t.Error("a large value drives out many others")
	}
	seen := c.mark(first).Load()
	c.wrote(first)
	c.offer(first, firstKey, value, 0, now, seen)
	if c.get(first, firstKey, now) != nil {
		t.Error("a value from before a write is kept")
	}
	seen = c.mark(first).Load()
	c.clear()
	c.offer(first, firstKey, value, 0, now, seen)
	if c.held() != 0 {
		t.Errorf("%d bytes are kept after all was dropped", c.held())
	}
	var none *localCache
	none.clear()
	if none.held()+int64(none.served()) != 0 || newLocalCache(0, time.Second) != nil {
		t.Error("there is a cache without bytes")
	}
}

func BenchmarkLocalCacheHit(b *testing.B) {
	c := newLocalCache(1<<20, time.Hour)
	key := []byte("key")
	hash := xxhash.Sum64(key)
	now := time.Now()
	c.offer(hash, key, make([]byte, 100), 0, now, c.mark(hash).Load())
	b.ReportAllocs()
	for b.Loop() {
		if c.get(hash, key, now) == nil {
			b.Fatal("it is gone")
		}
	}
}
