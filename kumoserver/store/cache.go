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
// While there is room, a record enters when it is missed. Later it does when it is
// missed twice in a while, that a scan of many keys drives out nothing, and in the
// place of one that leaves by the clock algorithm (Corbató, 1968). Then only one in a
// few enters: where more is read than there is room for, all evenly, an exchange gains
// nothing, and what is read far more often than others gets in all the same.
//
// Readers take no lock: where they wait for memory, the processor can then fetch
// what the next keys of a frame need.
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
	// cacheTurn: one in so many enters a shard that is full.
	cacheTurn = 8
	// cacheShare: a record that is larger than this part of a shard never enters.
	cacheShare = 8
)

// cacheShard is changed with mu held. Its table is read without.
type cacheShard struct {
	table atomic.Pointer[cacheTable]

	mu    sync.Mutex
	hand  int
	used  int // records
	bytes int
	turn  int // of those that could enter a full shard
	count map[ring.Partition]int
	door  []uint32 // of the keys that were missed lately, some bits
}

// cached is never changed, but for again, and may be used by readers when it has
// left.
type cached struct {
	hash  uint64
	part  ring.Partition
	again atomic.Bool // it was read since the hand came by
	rec   subjects.Record
}

func newCache(size int64) *cache { return &cache{most: int(max(size, 0)) / cacheShards} }

func (c *cache) shard(hash uint64) *cacheShard { return &c.shards[hash>>60] }

// get returns the record of a key.
func (c *cache) get(id ring.Partition, key []byte) (rec subjects.Record, ok bool) {
	if e := c.find(ring.Hash(key)); e.is(id, key) {
		return e.take(), true
	}
	return rec, false
}

// find returns what has a key's hash, nil if nothing has.
func (c *cache) find(hash uint64) *cached {
	if t := c.shard(hash).table.Load(); t != nil {
		return t.get(hash)
	}
	return nil
}

func (e *cached) is(id ring.Partition, key []byte) bool {
	return e != nil && e.part == id && bytes.Equal(e.rec.Key, key)
}

// take returns the record, which was read now.
func (e *cached) take() subjects.Record {
	if !e.again.Load() { // readers of one record share its line
		e.again.Store(true)
	}
	return e.rec
}

// offer takes a record that was read from bbolt after round, unless there was
// another since, or there is no room for it. It copies what it keeps.
func (c *cache) offer(id ring.Partition, rec *subjects.Record, round uint64) {
	size := len(rec.Key) + len(rec.Value) + cacheOverhead
	if size > c.most/cacheShare {
		return
	}
	hash := ring.Hash(rec.Key)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == nil {
		s.count = make(map[ring.Partition]int)
		s.door = make([]uint32, cacheDoor)
		s.table.Store(newCacheTable(cacheTableLeast))
	}
	if s.table.Load().get(hash).is(id, rec.Key) { // another reader was faster
		return
	}
	if s.bytes+size > c.most && !s.admits(hash) {
		return
	}
	// Nobody counts a round and drops its keys between here and the end.
	if c.rounds.Load() != round {
		return
	}
	s.remove(hash) // of another key
	for s.bytes+size > c.most {
		s.evict()
	}
	kept := make([]byte, 0, len(rec.Key)+len(rec.Value))
	kept = append(append(kept, rec.Key...), rec.Value...)
	e := &cached{hash: hash, part: id, rec: *rec}
	e.rec.Key, e.rec.Value = kept[:len(rec.Key):len(rec.Key)], kept[len(rec.Key):]
	s.used++
	s.bytes += size
	s.count[id]++
	t := s.table.Load()
	if 2*s.used > t.size() {
		t = t.grown()
		s.table.Store(t)
	}
	t.at(t.find(hash)).Store(e)
}

// admits tells whether a full shard takes a record that was missed.
func (s *cacheShard) admits(hash uint64) bool {
	if met := &s.door[hash>>32%cacheDoor]; *met != uint32(hash) {
		*met = uint32(hash)
		return false
	}
	s.turn++
	return s.turn%cacheTurn == 0
}

// evict removes one record. There is one.
func (s *cacheShard) evict() {
	t := s.table.Load()
	for left := 2 * t.size(); ; left-- {
		i := s.hand & t.mask
		switch e := t.at(i).Load(); {
		case e == nil:
		case left > 0 && e.again.Load():
			e.again.Store(false)
		default:
			s.removeAt(t, i) // where another may be now
			return
		}
		s.hand = i + 1
	}
}

// remove removes what has a hash, if anything has.
func (s *cacheShard) remove(hash uint64) {
	if t := s.table.Load(); t != nil {
		if i := t.find(hash); t.at(i).Load() != nil {
			s.removeAt(t, i)
		}
	}
}

func (s *cacheShard) removeAt(t *cacheTable, i int) {
	e := t.at(i).Load()
	s.used--
	s.bytes -= len(e.rec.Key) + len(e.rec.Value) + cacheOverhead
	if s.count[e.part]--; s.count[e.part] == 0 {
		delete(s.count, e.part)
	}
	t.remove(i)
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
		s.remove(hash)
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
	if s.count[id] == 0 {
		return
	}
	t := s.table.Load()
	for i := 0; s.count[id] > 0; {
		// One that takes the place of another is looked at, too, also where it comes
		// from the table's other end.
		if e := t.at(i & t.mask).Load(); e != nil && e.part == id {
			s.removeAt(t, i&t.mask)
		} else {
			i++
		}
	}
}

// size tells how many records there are, and their bytes.
func (c *cache) size() (records, bytes int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		records += s.used
		bytes += s.bytes
		s.mu.Unlock()
	}
	return records, bytes
}
