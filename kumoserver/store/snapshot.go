package store

import (
	"slices"
	"sort"

	"github.com/etolabo/kumofs/subjects"
)

// snapshot is what a sweep takes of one partition to bbolt: the values as they
// are at one moment, and the state that they make.
type snapshot struct {
	part  *part
	gen   uint64
	keys  []string // sorted
	vals  []*value
	masks []*mask
	extra int64
	need  uint64 // LSN that the log must be synced through before

	meta    partMeta // once all is applied
	prior   partMeta // what bbolt says until then
	written partMeta // by the last transaction
	items   int64    // counted along
	next    int      // of keys
	cleared int      // masks
}

// takeSnapshot returns nil when bbolt reflects the partition already.
func takeSnapshot(p *part) *snapshot {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.dirtyLSN == 0 || p.quiet() {
		return nil
	}
	n := &snapshot{
		part: p, gen: p.gen, masks: slices.Clone(p.mem.masks), extra: p.extra, need: p.endLSN,
		items: p.items, prior: p.stored,
	}
	n.keys = make([]string, 0, len(p.mem.vals))
	n.vals = make([]*value, 0, len(p.mem.vals))
	for k, v := range p.mem.vals {
		n.keys = append(n.keys, k)
		n.vals = append(n.vals, v)
	}
	order(n.keys, n.vals)
	n.meta = partMeta{
		promised: p.promised, applied: p.commit, seen: p.commit.Seq, base: p.base,
		outline:    outlineThrough(p.outline, p.commit),
		incomplete: p.incomplete, lost: p.lost, unclean: p.unclean, cursor: slices.Clone(p.cursor),
		sessions: p.sessions.Append(nil),
		// Not the log's end, of which a crash may leave less: positions are used
		// again then.
		lsn: p.endLSN,
	}
	return n
}

// quiet reports whether all that keeps the partition dirty are entries that have
// not committed, so that a sweep could do nothing.
func (p *part) quiet() bool {
	return p.stored.lsn >= p.changed && p.applied == p.commit && len(p.mem.vals) == 0 && len(p.mem.masks) == 0
}

// outlineThrough is the outline of the log through a committed version.
func outlineThrough(o subjects.Outline, v subjects.Version) subjects.Outline {
	if cut, ok := cutOutline(o, v); ok {
		return cut
	}
	return slices.Clone(o)
}

// state is what bbolt says of the copy after a step.
func (n *snapshot) state(whole bool) *partMeta {
	m := n.meta
	if !whole {
		m = n.prior
		m.promised = max(m.promised, n.meta.promised)
		m.torn, m.need = true, max(m.need, n.need)
		m.seen = max(m.seen, n.meta.seen)
	}
	m.items = n.items
	n.written = m
	return &m
}

// order sorts values by key, the order of the file.
func order(keys []string, vals []*value) { sort.Sort(byKey{keys, vals}) }

type byKey struct {
	keys []string
	vals []*value
}

func (b byKey) Len() int           { return len(b.keys) }
func (b byKey) Less(i, j int) bool { return b.keys[i] < b.keys[j] }
func (b byKey) Swap(i, j int) {
	b.keys[i], b.keys[j] = b.keys[j], b.keys[i]
	b.vals[i], b.vals[j] = b.vals[j], b.vals[i]
}
