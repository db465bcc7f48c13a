package sim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/etolabo/kumofs/kumoserver/replica"
	"github.com/etolabo/kumofs/subjects"
	"github.com/etolabo/kumofs/subjects/ring"
)

// copyOf is what a store holds of one partition: in memory, or on disk.
type copyOf struct {
	promised   ring.Epoch
	base       subjects.Version // before the first entry that is kept
	entries    []*subjects.Entry
	outline    subjects.Outline
	commit     uint64
	incomplete bool
	cursor     []byte
	unclean    bool
	lost       bool // nothing is left of it
	data       map[string]subjects.Record
	sessions   subjects.Sessions
}

func empty() *copyOf {
	c := blank()
	c.outline = subjects.Outline{{}}
	return c
}

// blank is a copy that knows nothing, not even that it is empty.
func blank() *copyOf {
	return &copyOf{data: map[string]subjects.Record{}}
}

func (c *copyOf) clone() *copyOf {
	n := *c
	n.entries = slices.Clone(c.entries)
	n.outline = slices.Clone(c.outline)
	n.data = maps.Clone(c.data)
	n.sessions = subjects.Sessions{}
	if err := n.sessions.Decode(c.sessions.Append(nil)); err != nil {
		panic(err)
	}
	return &n
}

func (c *copyOf) tail() subjects.Version {
	if n := len(c.entries); n > 0 {
		return c.entries[n-1].Version
	}
	return c.base
}

// at returns the version of the entry with this seq; ok is false when it is not
// kept.
func (c *copyOf) at(seq uint64) (v subjects.Version, ok bool) {
	if seq == c.base.Seq {
		return c.base, true
	}
	if seq < c.base.Seq || seq > c.tail().Seq {
		return v, false
	}
	return c.entries[seq-c.base.Seq-1].Version, true
}

// do carries out one effect on the store.
func (c *copyOf) do(e replica.Effect) error {
	switch e := e.(type) {
	case replica.Append:
		if e.Prev != c.tail() {
			return fmt.Errorf("append %s after %s to a log that ends in %s", e.Version, e.Prev, c.tail())
		}
		c.entries = append(c.entries, e.Entry)
		c.outline = c.outline.Add(e.Version)
	case replica.Promise:
		return c.promise(e.Epoch)
	case replica.Cut:
		if e.After.Seq < c.commit {
			return fmt.Errorf("cut after %s, but %d is committed", e.After, c.commit)
		}
		if v, ok := c.at(e.After.Seq); !ok || v != e.After {
			return fmt.Errorf("cut after %s, which is not in the log (%s there)", e.After, v)
		}
		c.entries = slices.Clone(c.entries[:e.After.Seq-c.base.Seq])
		c.outline = c.outline.Cut(e.After)
		return c.promise(e.Epoch)
	case replica.Reset:
		p := c.promised
		*c = *blank()
		c.promised, c.base, c.outline, c.commit, c.incomplete = p, e.Base, subjects.Outline{e.Base}, e.Base.Seq, true
		return c.promise(e.Epoch)
	case replica.Clean:
		c.unclean = false
	case replica.Adopt:
		if len(c.outline) == 0 {
			c.outline = subjects.Outline{{}}
		}
		c.incomplete, c.cursor, c.unclean, c.lost = false, nil, false, false
	case replica.Install:
		return c.install(e.Range)
	case replica.Commit:
		return c.commitTo(e.Seq)
	case drop:
		p := c.promised
		*c = *empty()
		c.promised = p
	}
	return nil
}

// drop forgets a copy and keeps its promise.
type drop struct{}

func (c *copyOf) promise(e ring.Epoch) error {
	if e < c.promised {
		return fmt.Errorf("promise of %d lowered to %d", c.promised, e)
	}
	c.promised = e
	return nil
}

func (c *copyOf) install(m *subjects.Range) error {
	if !c.incomplete || !bytes.Equal(m.From, c.cursor) {
		return fmt.Errorf("install from %q, but incomplete is %v from %q", m.From, c.incomplete, c.cursor)
	}
	inside := func(k string) bool { return k >= string(m.From) && (m.Last || k < string(m.To)) }
	maps.DeleteFunc(c.data, func(k string, _ subjects.Record) bool { return inside(k) })
	for _, r := range m.Records {
		if !inside(string(r.Key)) {
			return fmt.Errorf("record %q is outside of its range", r.Key)
		}
		c.data[string(r.Key)] = r
	}
	if m.Last {
		var of subjects.Sessions
		if err := of.Decode(m.Sessions); err != nil {
			return fmt.Errorf("install sessions: %w", err)
		}
		c.sessions.Merge(&of)
	}
	c.incomplete, c.cursor = !m.Last, nil
	if !m.Last {
		c.cursor = bytes.Clone(m.To)
	}
	return nil
}

func (c *copyOf) commitTo(seq uint64) error {
	if seq > c.tail().Seq {
		return fmt.Errorf("commit of %d in a log that ends in %s", seq, c.tail())
	}
	for c.commit < seq {
		c.commit++
		e := c.entries[c.commit-c.base.Seq-1]
		c.sessions.Fold(e)
		if !c.incomplete || string(e.Key) < string(c.cursor) || e.Kind == subjects.EntryFlush {
			apply(c.data, e)
		}
	}
	return nil
}

// apply makes an entry visible in data.
func apply(data map[string]subjects.Record, e *subjects.Entry) {
	switch e.Kind {
	case subjects.EntryPut:
		data[string(e.Key)] = e.Record()
	case subjects.EntryDelete:
		delete(data, string(e.Key))
	case subjects.EntryFlush:
		clear(data)
	}
}

// trim drops entries through seq.
func (c *copyOf) trim(seq uint64) {
	if v, ok := c.at(seq); ok && seq > c.base.Seq {
		c.entries = slices.Clone(c.entries[seq-c.base.Seq:])
		c.base = v
	}
}

// state is what a process that begins finds.
func (c *copyOf) state() replica.State {
	return replica.State{
		Promised: c.promised, Outline: slices.Clone(c.outline), Commit: c.commit,
		Incomplete: c.incomplete, Cursor: c.cursor, Unclean: c.unclean,
	}
}

// Entries is part of replica.Log.
func (c *copyOf) Entries(from uint64, maxBytes int) ([]*subjects.Entry, bool) {
	if from <= c.base.Seq {
		return nil, false
	}
	if from > c.tail().Seq {
		return nil, true
	}
	all := c.entries[from-c.base.Seq-1:]
	n, size := 0, 0
	for n < len(all) && (n == 0 || size+len(all[n].Raw) <= maxBytes) {
		size += len(all[n].Raw)
		n++
	}
	return slices.Clone(all[:n]), true
}

// Get is part of replica.Log.
func (c *copyOf) Get(key []byte) (subjects.Record, bool, error) {
	r, ok := c.data[string(key)]
	return r, ok, nil
}

// Session is part of replica.Log.
func (c *copyOf) Session(op subjects.OpID) (subjects.Recorded, subjects.Past) {
	return c.sessions.Lookup(op)
}

// Sessions is part of replica.Log.
func (c *copyOf) Sessions() []byte { return c.sessions.Append(nil) }

// scan reads at most n committed records from a key on.
func (c *copyOf) scan(from []byte, n int) (recs []subjects.Record, next []byte, last bool) {
	keys := slices.Sorted(maps.Keys(c.data))
	i, _ := slices.BinarySearch(keys, string(from))
	keys = keys[i:]
	if len(keys) <= n {
		last, n = true, len(keys)
	} else {
		next = []byte(keys[n])
	}
	for _, k := range keys[:n] {
		recs = append(recs, c.data[k])
	}
	return recs, next, last
}

// print shows the data for comparison.
func print(data map[string]subjects.Record) string {
	b := &strings.Builder{}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		r := data[k]
		fmt.Fprintf(b, "%s=%s@%s ", k, r.Value, r.Version)
	}
	return b.String()
}
