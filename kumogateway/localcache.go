package kumogateway

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"github.com/etolabo/kumofs/kumogateway/memcache"
)

// localCache keeps values that were read through this gateway, so that reading them
// again asks no server. What it answers was the value at a time that is no longer ago
// than ttl, and is never older than a write that this gateway has answered: a write
// drops its key when it begins and when it ends, and a read that was under way
// meanwhile is not kept. It keeps no misses.
type localCache struct {
	ttl  time.Duration
	most int // bytes in a shard
	hits atomic.Uint64
	// writes counts, by some bits of the key's hash, what began or ended.
	writes [localMarks]atomic.Uint32
	shards [localShards]localShard
}

const (
	localMarks  = 1 << 12
	localShards = 16
	// localOverhead is about what a value costs beside its bytes and its key's.
	localOverhead = 200
	// localShare: a value that is larger than this part of a shard is not kept.
	localShare = 8
	// minLocalCache is the smallest cache in bytes.
	minLocalCache = 1 << 20
)

// localShard has the values whose hashes have the same upper bits, by their last use.
type localShard struct {
	mu    sync.Mutex
	at    map[uint64]*list.Element
	used  list.List // of *localValue, the last used first
	bytes int
}

// localValue is not changed, and may be used when it has left.
type localValue struct {
	hash  uint64
	key   string
	value []byte
	flags uint32
	until time.Time
}

func (v *localValue) size() int { return len(v.key) + len(v.value) + localOverhead }

// newLocalCache returns nil for no bytes.
func newLocalCache(bytes int64, ttl time.Duration) *localCache {
	if bytes == 0 {
		return nil
	}
	c := &localCache{ttl: ttl, most: int(bytes / localShards)}
	for i := range c.shards {
		c.shards[i].at = map[uint64]*list.Element{}
	}
	return c
}

// locally tells whether a request may be answered by the cache: it asks for a value,
// and for nothing that only the server knows or that a conditional write rests on.
// Answers of the binary protocol always tell the token.
func locally(r *memcache.Request) bool {
	if r.Op != memcache.OpGet || r.WantCAS || r.Syntax == memcache.SyntaxBinary {
		return false
	}
	if r.Meta == nil {
		return true
	}
	if r.Meta.Compare {
		return false
	}
	for _, letter := range r.Meta.Wanted() {
		switch letter {
		case 'f', 'k', 'O', 's':
		default:
			return false
		}
	}
	return true
}

func (c *localCache) shard(hash uint64) *localShard { return &c.shards[hash>>60] }

func (c *localCache) mark(hash uint64) *atomic.Uint32 { return &c.writes[hash>>32%localMarks] }

// get returns what is kept of a key; nil: nothing that may still be answered.
func (c *localCache) get(hash uint64, key []byte, now time.Time) *localValue {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.at[hash]
	if e == nil {
		return nil
	}
	v := e.Value.(*localValue)
	if v.key != string(key) {
		return nil
	}
	if !now.Before(v.until) {
		s.remove(e)
		return nil
	}
	s.used.MoveToFront(e)
	return v
}

// offer keeps a value that was asked for at a time, when the mark was seen.
func (c *localCache) offer(hash uint64, key, value []byte, flags uint32, asked time.Time, seen uint32) {
	v := &localValue{hash: hash, flags: flags, until: asked.Add(c.ttl)}
	if len(key)+len(value)+localOverhead > c.most/localShare {
		return
	}
	v.key, v.value = string(key), append([]byte(nil), value...)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Who has counted a write drops the key after that, and waits for us.
	if c.mark(hash).Load() != seen {
		return
	}
	if e := s.at[hash]; e != nil {
		s.remove(e)
	}
	for s.bytes+v.size() > c.most {
		s.remove(s.used.Back())
	}
	s.at[hash] = s.used.PushFront(v)
	s.bytes += v.size()
}

// wrote drops a key that is written, or was.
func (c *localCache) wrote(hash uint64) {
	c.mark(hash).Add(1)
	c.drop(hash)
}

func (c *localCache) drop(hash uint64) {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.at[hash]; e != nil {
		s.remove(e)
	}
}

// clear drops everything; of no cache it does nothing.
func (c *localCache) clear() {
	if c == nil {
		return
	}
	for i := range c.writes {
		c.writes[i].Add(1)
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		clear(s.at)
		s.used.Init()
		s.bytes = 0
		s.mu.Unlock()
	}
}

func (s *localShard) remove(e *list.Element) {
	v := s.used.Remove(e).(*localValue)
	delete(s.at, v.hash)
	s.bytes -= v.size()
}

// held is how many bytes are kept.
func (c *localCache) held() (n int64) {
	if c == nil {
		return 0
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += int64(s.bytes)
		s.mu.Unlock()
	}
	return n
}

// served is how many requests were answered by the cache.
func (c *localCache) served() uint64 {
	if c == nil {
		return 0
	}
	return c.hits.Load()
}

// began is told of an operation that is about to be sent.
func (c *localCache) began(o *op) {
	if o.write() {
		c.wrote(o.hash)
	} else {
		o.seen = c.mark(o.hash).Load()
	}
}

// ended is told of an operation's answer, before its client is. Whatever asked the
// server brings what is kept up to date.
func (c *localCache) ended(o *op, a *memcache.Reply) {
	switch {
	case o.write():
		c.wrote(o.hash)
	case o.req.Op != memcache.OpGet:
	case a.Status == memcache.StatusNotFound, a.Stale, a.Sent:
		c.drop(o.hash)
	case a.Status == memcache.StatusOK:
		c.offer(o.hash, o.fullKey(), a.Value, a.Flags, o.began(), o.seen)
	}
}

// fromCache answers a request by the cache, if it can: not while a write of the same
// key is outstanding on this connection, which it must not overtake. The first prefix
// bytes of the key are not the client's.
func (c *conn) fromCache(r *memcache.Request, hash uint64, key []byte, prefix int) bool {
	if !locally(r) {
		return false
	}
	v := c.g.cache.get(hash, key, time.Now())
	if v == nil {
		return false
	}
	c.mu.Lock()
	waits := c.conflict(hash, false)
	c.mu.Unlock()
	if waits {
		return false
	}
	o := c.reserve(r, 0, false, 0, 0)
	if o == nil {
		return true
	}
	c.g.cache.hits.Add(1)
	c.mu.Lock()
	o.body, o.nkey, o.nprefix = append(o.body[:0], key...), len(key), prefix
	o.reply, o.done = memcache.Reply{Flags: v.flags, Value: v.value}, true
	c.parked += len(v.value)
	c.stats.count(&o.req, &o.reply)
	c.drain()
	c.count()
	c.mu.Unlock()
	return true
}
