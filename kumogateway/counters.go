package kumogateway

import "github.com/etolabo/kumofs/kumogateway/memcache"

// counters are what memcached counts too. Each connection has its own, under
// its lock; those of closed connections are added up.
type counters struct {
	get, set, touch, flush, delete       uint64
	getHits, getMisses                   uint64
	deleteHits, deleteMisses             uint64
	incrHits, incrMisses                 uint64
	decrHits, decrMisses                 uint64
	casHits, casMisses, casBadval        uint64
	touchHits, touchMisses               uint64
	tooLarge, noMemory, timedOut, unsure uint64
	idleKicks                            uint64
	auth, authErrors, denied             uint64
	meta, metaStale, metaWon             uint64
	bytesRead, bytesWritten              uint64
}

// count counts a request and its outcome.
func (s *counters) count(r *memcache.Request, a *memcache.Reply) {
	if r.Syntax == memcache.SyntaxMeta {
		s.meta++
		if a.Stale {
			s.metaStale++
		}
		if a.Won {
			s.metaWon++
		}
	}
	hit, miss := a.Status == memcache.StatusOK, a.Status == memcache.StatusNotFound
	switch r.Op {
	case memcache.OpGet:
		s.get++
		tally(&s.getHits, &s.getMisses, hit, miss)
	case memcache.OpFetch:
		s.get++
		tally(&s.getHits, &s.getMisses, hit, miss)
		if r.Meta.Touch {
			s.touch++
			tally(&s.touchHits, &s.touchMisses, hit, miss)
		}
	case memcache.OpGetAndTouch:
		s.get++
		s.touch++
		tally(&s.getHits, &s.getMisses, hit, miss)
		tally(&s.touchHits, &s.touchMisses, hit, miss)
	case memcache.OpTouch:
		s.touch++
		tally(&s.touchHits, &s.touchMisses, hit, miss)
	case memcache.OpDelete:
		s.delete++
		tally(&s.deleteHits, &s.deleteMisses, hit, miss)
	case memcache.OpIncr:
		tally(&s.incrHits, &s.incrMisses, hit, miss)
	case memcache.OpDecr:
		tally(&s.decrHits, &s.decrMisses, hit, miss)
	case memcache.OpFlushAll:
		s.flush++
	case memcache.OpAuth:
		if hit {
			s.auth++
		}
	case memcache.OpCAS:
		s.set++
		tally(&s.casHits, &s.casMisses, hit, miss)
		if a.Status == memcache.StatusExists {
			s.casBadval++
		}
	case memcache.OpSet, memcache.OpAdd, memcache.OpReplace, memcache.OpAppend, memcache.OpPrepend:
		s.set++
	}
	switch a.Status {
	case memcache.StatusTooLarge:
		s.tooLarge++
	case memcache.StatusOutOfMemory, memcache.StatusBusy:
		s.noMemory++
	case memcache.StatusTimedOut:
		s.timedOut++
	case memcache.StatusAuthFailed:
		s.auth++
		s.authErrors++
	case memcache.StatusReadNotAllowed, memcache.StatusWriteNotAllowed, memcache.StatusNotAllowed:
		s.denied++
	case memcache.StatusOutcomeUnknown:
		s.unsure++
	}
}

func tally(hits, misses *uint64, hit, miss bool) {
	if hit {
		*hits++
	} else if miss {
		*misses++
	}
}

const numCounters = 31

// add adds another's counts.
func (s *counters) add(o *counters) {
	from := o.all()
	for i, p := range s.all() {
		*p += *from[i]
	}
}

// all lists the counters in the order of the struct. It is an array, since a slice
// would be allocated for each of ten thousand connections.
func (s *counters) all() [numCounters]*uint64 {
	return [...]*uint64{
		&s.get, &s.set, &s.touch, &s.flush, &s.delete,
		&s.getHits, &s.getMisses, &s.deleteHits, &s.deleteMisses,
		&s.incrHits, &s.incrMisses, &s.decrHits, &s.decrMisses,
		&s.casHits, &s.casMisses, &s.casBadval, &s.touchHits, &s.touchMisses,
		&s.tooLarge, &s.noMemory, &s.timedOut, &s.unsure, &s.idleKicks,
		&s.auth, &s.authErrors, &s.denied,
		&s.meta, &s.metaStale, &s.metaWon,
		&s.bytesRead, &s.bytesWritten,
	}
}
