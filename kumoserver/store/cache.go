package store

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// cache holds records that bbolt holds too and that are read again and again, so
// that reading them is no walk through its pages. The memory table stands before
// it, as it does before bbolt.
//
// A record may enter only as bbolt has it when it enters. Whoever reads bbolt
// takes the count of rounds before; whoever has changed bbolt counts a round, and
// then drops what it changed, before the memory table stops hiding it. So a record
// of before the change is either not let in, or dropped in time.
//
// A record enters when it is missed twice in a while, that a scan of many keys
// drives out nothing; and leaves by the clock algorithm (Corbató, 1968), when there
// is no room for another that enters.
type cache struct {
	rounds atomic.Uint64
	shards [cacheShards]cacheShard
	most   int // bytes in a shard; 0: nothing is kept
}

const (
	cacheShards = 16
	// cacheOverhead is about what a record costs beside key and value.
	cacheOverhead = 160
	// cacheDoor is how many misses a shard remembers.
	cacheDoor = 1 << 12
	// cacheShare: a record that is larger than this part of a shard never enters.
	cacheShare = 8
)

type cacheShard struct {
	mu    sync.Mutex
	at    map[uint64]int // places in slots by the key's hash
	slots []cached
	free  []int
	hand  int
	bytes int
	count map[ring.Partition]int
	door  []uint32 // of the keys that were missed lately, some bits
}

// cached is a place in a shard; its rec has no key when it is free. Records are
// never changed, and may be used by readers when they have left.
type cached struct {
	hash  uint64
	part  ring.Partition
	rec   subjects.Record
	again bool // it was read since the hand came by
}

func newCache(size int64) *cache { return &cache{most: int(max(size, 0)) / cacheShards} }

func (c *cache) shard(hash uint64) *cacheShard { return &c.shards[hash>>60] }

// get returns the record of a key.
func (c *cache) get(id ring.Partition, key []byte) (rec subjects.Record, ok bool) {
	if c.most == 0 {
		return rec, false
	}
	hash := ring.Hash(key)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.at[hash]
	if !ok {
		return rec, false
	}
	e := &s.slots[i]
	if e.part != id || !bytes.Equal(e.rec.Key, key) {
		return rec, false
	}
	e.again = true
	return e.rec, true
}

// offer takes a record that was read from bbolt after round, unless there was
// another since, or it was not missed before. It copies what it keeps.
func (c *cache) offer(id ring.Partition, rec *subjects.Record, round uint64) {
	size := len(rec.Key) + len(rec.Value) + cacheOverhead
	if size > c.most/cacheShare {
		return
	}
	hash := ring.Hash(rec.Key)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at, s.count = make(map[uint64]int), make(map[ring.Partition]int)
		s.door = make([]uint32, cacheDoor)
	}
	if met := &s.door[hash>>32%cacheDoor]; *met != uint32(hash) {
		*met = uint32(hash)
		return
	}
	if i, ok := s.at[hash]; ok { // of another key, or another reader was faster
		s.remove(i)
	}
	for s.bytes+size > c.most {
		s.evict()
	}
	// Nobody counts a round and drops its keys between here and the end.
	if c.rounds.Load() != round {
		return
	}
	kept := make([]byte, 0, len(rec.Key)+len(rec.Value))
	kept = append(append(kept, rec.Key...), rec.Value...)
	e := cached{hash: hash, part: id, rec: *rec}
	e.rec.Key, e.rec.Value = kept[:len(rec.Key):len(rec.Key)], kept[len(rec.Key):]
	i := len(s.slots)
	if n := len(s.free); n > 0 {
		i = s.free[n-1]
		s.free = s.free[:n-1]
		s.slots[i] = e
	} else {
		s.slots = append(s.slots, e)
	}
	s.at[hash] = i
	s.bytes += size
	s.count[id]++
}

// evict frees the place of one record. There is one.
func (s *cacheShard) evict() {
	for {
		if s.hand++; s.hand >= len(s.slots) {
			s.hand = 0
		}
		e := &s.slots[s.hand]
		if e.rec.Key != nil && !e.again {
			s.remove(s.hand)
			return
		}
		e.again = false
	}
}

func (s *cacheShard) remove(i int) {
	e := &s.slots[i]
	s.bytes -= len(e.rec.Key) + len(e.rec.Value) + cacheOverhead
	if s.count[e.part]--; s.count[e.part] == 0 {
		delete(s.count, e.part)
	}
	delete(s.at, e.hash)
	*e = cached{}
	s.free = append(s.free, i)
}

// changed drops keys whose records bbolt no longer has as they were, and with
// ranges all of the partition.
func (c *cache) changed(id ring.Partition, keys []string, ranges bool) {
	if c.most == 0 {
		return
	}
	c.rounds.Add(1)
	for _, k := range keys {
		hash := ring.Hash([]byte(k))
		s := c.shard(hash)
		s.mu.Lock()
		if i, ok := s.at[hash]; ok {
			s.remove(i)
		}
		s.mu.Unlock()
	}
	if !ranges {
		return
	}
	for i := range c.shards {
		c.shards[i].forget(id)
	}
}

func (s *cacheShard) forget(id ring.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(s.slots) && s.count[id] > 0; i++ {
		if e := &s.slots[i]; e.rec.Key != nil && e.part == id {
			s.remove(i)
		}
	}
}

// size tells how many records there are, and their bytes.
func (c *cache) size() (records, bytes int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		records += len(s.at)
		bytes += s.bytes
		s.mu.Unlock()
	}
	return records, bytes
}
